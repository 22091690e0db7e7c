//! Clients' timelines. Tests can replace the card's syncobj timelines by another implementation of these traits.

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::sync::{
    Fence, PollFor, Pollable, SyncDevice, Timeline, TimelineError, Until, is_same_file,
};

use crate::limits::Charge;

/// A device that imports timelines.
pub trait TimelineDevice: fmt::Debug {
    /// Imports a syncobj file descriptor as a timeline.
    ///
    /// # Errors
    ///
    /// When the file descriptor is not a syncobj, or the kernel rejects the import.
    fn import(&self, file: &OwnedFd) -> Result<Arc<dyn SyncTimeline>, TimelineError>;

    /// Returns whether `wl_shm` buffers support explicit synchronisation. Only tests return `true`, because they have no
    /// dma-bufs.
    fn supports_shm(&self) -> bool {
        false
    }
}

/// A timeline of numbered points, each of which is signalled once.
pub trait SyncTimeline: fmt::Debug + Send + Sync {
    /// Returns whether a point is signalled, without waiting.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    fn is_signalled(&self, value: NonZeroU64) -> Result<bool, TimelineError>;

    /// Returns a wait for the point, which an event loop can poll.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    fn wait(&self, value: NonZeroU64) -> Result<PointWait, TimelineError>;

    /// Signals a point now.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    fn signal(&self, value: NonZeroU64) -> Result<(), TimelineError>;

    /// Attaches a fence to a point, so that the point is signalled when the fence is signalled.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    fn signal_after(&self, value: NonZeroU64, fence: &Fence) -> Result<(), TimelineError>;
}

/// A wait for a point or a fence, which an event loop can poll.
pub struct PointWait(Box<dyn Pollable>);

impl PointWait {
    /// Wraps a file descriptor that becomes readable when the point or fence is signalled.
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

impl TimelineDevice for SyncDevice {
    fn import(&self, file: &OwnedFd) -> Result<Arc<dyn SyncTimeline>, TimelineError> {
        Ok(Arc::new(Timeline::import(self, file)?))
    }
}

impl SyncTimeline for Timeline {
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

/// The number of timelines that were imported so far, from which each import gets its number.
static IMPORTS: AtomicU64 = AtomicU64::new(0);

/// A timeline that a client has imported. It counts against the client's limit until all of its users are dropped: the timeline
/// object, every point that was set, and every release point that is not signalled yet.
#[derive(Clone, Debug)]
pub(super) struct ImportedTimeline(Arc<TimelineInner>);

/// What all clones of an imported timeline share.
#[derive(Debug)]
struct TimelineInner {
    timeline: Arc<dyn SyncTimeline>,
    /// The imported syncobj file. The kernel creates a new handle for each import, so two imports of one timeline can be
    /// recognised only by the file.
    file: OwnedFd,
    /// A number that identifies the import. Unlike an address, it is never reused.
    number: u64,
    /// The number of the import with which this one was last compared, and the result. The result is cached because a client uses
    /// the same two timelines in each commit.
    compared: Mutex<Option<(u64, bool)>>,
    _charge: Charge,
}

impl ImportedTimeline {
    pub(super) fn new(timeline: Arc<dyn SyncTimeline>, file: OwnedFd, charge: Charge) -> Self {
        Self(Arc::new(TimelineInner {
            timeline,
            file,
            number: IMPORTS.fetch_add(1, Ordering::Relaxed),
            compared: Mutex::default(),
            _charge: charge,
        }))
    }

    /// Returns whether both imports refer to the same timeline.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        let mut compared = self
            .0
            .compared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *compared {
            Some((number, is_same)) if number == other.0.number => is_same,
            _ => {
                let is_same = is_same_file(&self.0.file, &other.0.file);
                *compared = Some((other.0.number, is_same));
                is_same
            }
        }
    }
}

/// One point on a client's timeline.
#[derive(Clone, Debug)]
pub struct Point {
    timeline: ImportedTimeline,
    value: NonZeroU64,
}

impl Point {
    pub(super) fn new(timeline: ImportedTimeline, value: NonZeroU64) -> Self {
        Self { timeline, value }
    }

    /// Returns whether the point is signalled, without waiting.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    pub fn is_signalled(&self) -> Result<bool, TimelineError> {
        self.timeline.0.timeline.is_signalled(self.value)
    }

    /// Returns a wait for the point, which an event loop can poll.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    pub fn wait(&self) -> Result<PointWait, TimelineError> {
        self.timeline.0.timeline.wait(self.value)
    }

    /// Signals the point now, or attaches `fence` to it.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    pub(super) fn signal(&self, fence: Option<&Fence>) -> Result<(), TimelineError> {
        let timeline = &self.timeline.0.timeline;
        match fence {
            Some(fence) => timeline.signal_after(self.value, fence),
            None => timeline.signal(self.value),
        }
    }
}
