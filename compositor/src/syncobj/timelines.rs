//! Clients' timelines, as the compositor uses them: a card's, or a test's own.

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use covalent_alloc::sync::{
    Fence, PollFor, Pollable, SyncDevice, Timeline, TimelineError, Until, is_same_file,
};

/// Who makes timelines of the files that clients send.
pub trait Timelines: fmt::Debug {
    /// Imports a file as a timeline.
    ///
    /// # Errors
    ///
    /// When it is none, or the kernel refuses.
    fn import(&self, file: &OwnedFd) -> Result<Arc<dyn Points>, TimelineError>;

    /// Tells whether `wl_shm` buffers have points too. No card reads those; a test has no other buffers.
    fn supports_shm(&self) -> bool {
        false
    }
}

/// A timeline: numbered points, each of which is signalled once.
pub trait Points: fmt::Debug + Send + Sync {
    /// Tells whether a point is signalled, and never waits.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    fn is_signalled(&self, value: NonZeroU64) -> Result<bool, TimelineError>;

    /// Makes something that an event loop can wait for.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    fn wait(&self, value: NonZeroU64) -> Result<PointWait, TimelineError>;

    /// Signals a point now.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    fn signal(&self, value: NonZeroU64) -> Result<(), TimelineError>;

    /// Has a fence signal a point.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    fn signal_after(&self, value: NonZeroU64, fence: &Fence) -> Result<(), TimelineError>;
}

/// A point that an event loop waits for.
pub struct PointWait(Box<dyn Pollable>);

impl PointWait {
    /// Waits for what a timeline made.
    pub fn new(wait: impl Pollable + 'static) -> Self {
        Self(Box::new(wait))
    }
}

impl fmt::Debug for PointWait {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("PointWait").field(&self.as_fd()).finish()
    }
}

impl AsFd for PointWait {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Pollable for PointWait {
    fn poll_for(&self) -> PollFor {
        self.0.poll_for()
    }
}

impl Timelines for SyncDevice {
    fn import(&self, file: &OwnedFd) -> Result<Arc<dyn Points>, TimelineError> {
        Ok(Arc::new(Timeline::import(self, file)?))
    }
}

impl Points for Timeline {
    fn is_signalled(&self, value: NonZeroU64) -> Result<bool, TimelineError> {
        self.point(value.get())?.is_signalled()
    }

    fn wait(&self, value: NonZeroU64) -> Result<PointWait, TimelineError> {
        let wait = self.point(value.get())?.wait(Until::Signalled)?;
        Ok(PointWait::new(wait))
    }

    fn signal(&self, value: NonZeroU64) -> Result<(), TimelineError> {
        self.point(value.get())?.signal()
    }

    fn signal_after(&self, value: NonZeroU64, fence: &Fence) -> Result<(), TimelineError> {
        self.point(value.get())?.set_fence(fence)
    }
}

/// How many timelines of one client are kept, by whatever keeps them.
#[derive(Debug, Default)]
pub(super) struct Quota(AtomicUsize);

impl Quota {
    /// Counts one more; `None` when there are `most` already.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Option<Counted> {
        // One thread serves all clients.
        if self.0.load(Ordering::Relaxed) >= most {
            return None;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Counted(self.clone()))
    }
}

/// One timeline that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Quota>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A timeline that a client sent. It counts for the client for as long as anything keeps it: its object, a point that was set,
/// or a point that is owed.
#[derive(Clone, Debug)]
pub(super) struct Imported(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    points: Arc<dyn Points>,
    /// What it came as: the kernel gives each import a handle of its own, and only its file tells two of them for one.
    file: OwnedFd,
    _counted: Counted,
}

impl Imported {
    pub(super) fn new(points: Arc<dyn Points>, file: OwnedFd, counted: Counted) -> Self {
        Self(Arc::new(Kept {
            points,
            file,
            _counted: counted,
        }))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        is_same_file(&self.0.file, &other.0.file)
    }
}

/// One point on a client's timeline.
#[derive(Clone, Debug)]
pub struct Point {
    timeline: Imported,
    value: NonZeroU64,
}

impl Point {
    pub(super) fn new(timeline: Imported, value: NonZeroU64) -> Self {
        Self { timeline, value }
    }

    /// Tells whether it is signalled, and never waits.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn is_signalled(&self) -> Result<bool, TimelineError> {
        self.timeline.0.points.is_signalled(self.value)
    }

    /// Makes something that an event loop can wait for.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn wait(&self) -> Result<PointWait, TimelineError> {
        self.timeline.0.points.wait(self.value)
    }

    /// Signals it: now, or when `fence` is signalled.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub(super) fn signal(&self, fence: Option<&Fence>) -> Result<(), TimelineError> {
        let points = &self.timeline.0.points;
        match fence {
            Some(fence) => points.signal_after(self.value, fence),
            None => points.signal(self.value),
        }
    }
}
