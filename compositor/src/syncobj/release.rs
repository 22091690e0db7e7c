//! The release point of a buffer, which is signalled when the buffer is no longer in use.

use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::sync::{Fence, Pollable, TimelineError};

use super::timelines::Point;
use crate::transient::{FaultKind, retry_transient};

/// Release points whose signalling failed transiently. A timer signals them later.
#[derive(Clone, Debug, Default)]
pub(super) struct DeferredReleases(Arc<Mutex<Vec<DeferredRelease>>>);

/// A release point that is signalled later, by the fence if there is one.
#[derive(Debug)]
struct DeferredRelease {
    point: Point,
    fence: Option<Fence>,
}

impl DeferredReleases {
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Signals all of these points. Those whose signalling fails again stay in the list.
    pub(super) fn signal_all(&self) {
        let deferred = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for deferred in deferred {
            self.signal(deferred);
        }
    }

    /// Signals a point. If this fails transiently, the point stays in the list.
    fn signal(&self, mut deferred: DeferredRelease) {
        // If the fence is signalled already, the point is signalled directly.
        if deferred
            .fence
            .as_ref()
            .is_some_and(|fence| fence.is_signalled().unwrap_or(false))
        {
            deferred.fence = None;
        }
        match retry_transient(|| deferred.point.signal(deferred.fence.as_ref())) {
            Ok(()) => {}
            Err(error) if is_retryable(&error) || deferred.fence.is_some() => {
                tracing::debug!(%error, "signalling a release point failed, and is tried again");
                self.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(deferred);
            }
            // The signalling fails permanently if, for example, the card was removed.
            Err(error) => tracing::warn!(%error, "a release point cannot be signalled"),
        }
    }
}

fn is_retryable(error: &TimelineError) -> bool {
    FaultKind::of(error).is_transient()
}

/// Signals a release point when it is dropped: immediately, or when the fence of the GPU's last read of the buffer is signalled.
#[derive(Debug)]
pub struct ReleasePoint {
    point: Point,
    /// The fence of the GPU's last read. Earlier reads by the same GPU have finished when it is signalled.
    read_fence: Mutex<Option<Fence>>,
    deferred: DeferredReleases,
}

impl ReleasePoint {
    /// Creates the value that signals `point` when it is dropped.
    pub(super) fn new(point: Point, deferred: DeferredReleases) -> Self {
        Self {
            point,
            read_fence: Mutex::new(None),
            deferred,
        }
    }

    /// Sets the fence that is signalled when the GPU has finished reading the buffer.
    pub fn set_read_fence(&self, fence: Fence) {
        *self
            .read_fence
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(fence);
    }
}

impl Drop for ReleasePoint {
    fn drop(&mut self) {
        let read_fence = self
            .read_fence
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        self.deferred.signal(DeferredRelease {
            point: self.point.clone(),
            fence: read_fence.take(),
        });
    }
}
