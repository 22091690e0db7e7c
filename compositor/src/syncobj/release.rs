//! The point that gives a buffer back to its client.

use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::sync::{Fence, Pollable, TimelineError};

use super::timelines::Point;
use crate::transient::{FaultKind, persist};

/// Points that could not be signalled when they were due; they are signalled later.
#[derive(Clone, Debug, Default)]
pub(super) struct LateReleases(Arc<Mutex<Vec<Late>>>);

#[derive(Debug)]
struct Late {
    point: Point,
    fence: Option<Fence>,
}

impl LateReleases {
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Tries all of them again; those that fail once more stay.
    pub(super) fn signal_all(&self) {
        let late = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for late in late {
            self.signal(late);
        }
    }

    fn signal(&self, mut late: Late) {
        // A fence that is over needs no help of the kernel's.
        if late
            .fence
            .as_ref()
            .is_some_and(|fence| fence.is_signalled().unwrap_or(false))
        {
            late.fence = None;
        }
        match persist(|| late.point.signal(late.fence.as_ref())) {
            Ok(()) => {}
            Err(error) if is_worth_another(&error) || late.fence.is_some() => {
                tracing::debug!(%error, "a buffer goes back to its client later");
                self.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(late);
            }
            // The card may be gone, and the client with it.
            Err(error) => tracing::warn!(%error, "a buffer was not given back to its client"),
        }
    }
}

fn is_worth_another(error: &TimelineError) -> bool {
    FaultKind::of(error).is_transient()
}

/// Signals a point when it is dropped: at once, or when the GPU has done reading.
#[derive(Debug)]
pub struct Release {
    point: Point,
    /// The last reading that may still be under way; earlier ones of the same GPU end before it.
    reading: Mutex<Option<Fence>>,
    late: LateReleases,
}

impl Release {
    /// Owes the client this point.
    pub(super) fn new(point: Point, late: LateReleases) -> Self {
        Self {
            point,
            reading: Mutex::new(None),
            late,
        }
    }

    /// Notes that the GPU reads the buffer until a fence is signalled.
    pub fn read_until(&self, fence: Fence) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let reading = self
            .reading
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        self.late.signal(Late {
            point: self.point.clone(),
            fence: reading.take(),
        });
    }
}
