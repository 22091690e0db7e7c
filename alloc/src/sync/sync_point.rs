//! The fence of an ended access, and its conversion for the mechanism by which the next accessor waits.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use thiserror::Error;

use super::reservation::{DmabufWait, ReservationError};
use super::{
    Access, Fence, FenceError, FenceState, FenceStatus, PollFor, Pollable, PriorAccess,
    TrackedFence,
};
#[cfg(feature = "syncobj")]
use super::{Point, PointWait, TimelineError, Until};
use crate::buffer::Buffer;
use crate::constraint::SyncMechanism;

/// A sync_file or a timeline point that signals when an access has finished.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncPoint {
    /// A sync_file.
    Fence(Arc<Fence>),
    /// A timeline point, which need not have a fence yet.
    #[cfg(feature = "syncobj")]
    Point(Point),
}

impl From<Fence> for SyncPoint {
    fn from(fence: Fence) -> Self {
        Self::Fence(Arc::new(fence))
    }
}

#[cfg(feature = "syncobj")]
impl From<Point> for SyncPoint {
    fn from(point: Point) -> Self {
        Self::Point(point)
    }
}

/// Why a sync point cannot be waited for or converted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncPointError {
    /// A request on a sync_file failed.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// A request on the implicit fences of a dma-buf failed.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// A request on a timeline failed.
    #[cfg(feature = "syncobj")]
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The next accessor waits for timeline points, and the caller passed no unused point to set the fence on.
    #[error(
        "the next accessor waits for a timeline point, and no unused point was passed; pass a point on a timeline that the accessor has"
    )]
    NoPoint,
    /// This version of the crate does not support the mechanism, which a later version of the solver added.
    #[error(
        "fences cannot be converted for the mechanism {0:?}; use sync_file, timeline or implicit"
    )]
    UnsupportedMechanism(SyncMechanism),
}

impl TrackedFence for SyncPoint {
    /// A fence whose query fails counts as pending, so that no access begins before the fence is signalled.
    fn state(&self) -> FenceState {
        match self {
            Self::Fence(fence) => match fence.status() {
                Ok(FenceStatus::Unsignalled) => FenceState::Pending,
                Ok(FenceStatus::Signalled) => FenceState::Signalled,
                Ok(FenceStatus::Failed(_)) => FenceState::Failed,
                Err(error) => {
                    tracing::warn!(%error, "a fence's state could not be read; it counts as pending");
                    FenceState::Pending
                }
            },
            // The state is never `Failed`, because Linux does not report errors of timeline points.
            #[cfg(feature = "syncobj")]
            Self::Point(point) => match point.is_signalled() {
                Ok(true) => FenceState::Signalled,
                Ok(false) => FenceState::Pending,
                Err(error) => {
                    tracing::warn!(%error, "a timeline point's state could not be read; it counts as pending");
                    FenceState::Pending
                }
            },
        }
    }
}

impl SyncPoint {
    /// Merges the implicit fences of a buffer for which a later access of the kind `before` has to wait. Call this function after
    /// work was submitted to a driver that synchronises only implicitly.
    ///
    /// # Errors
    /// [`SyncPointError::Reservation`].
    pub fn implicit(buffer: &Buffer, before: Access) -> Result<Self, SyncPointError> {
        Ok(buffer.reservation().fence_before(before)?.into())
    }

    /// Returns a wait for an event loop. Its file descriptor is new, so an event loop can have two waits for one sync point.
    ///
    /// # Errors
    /// [`SyncPointError`].
    pub fn wait(&self) -> Result<SyncPointWait, SyncPointError> {
        match self {
            Self::Fence(fence) => Ok(SyncPointWait::Fence(fence.try_clone()?)),
            #[cfg(feature = "syncobj")]
            Self::Point(point) => Ok(SyncPointWait::Point(point.wait(Until::Signalled)?)),
        }
    }

    /// Returns the fence as a sync_file. If a timeline point has no fence yet, the inner error is a wait until it has one.
    fn sync_file(&self) -> Result<Result<Arc<Fence>, SyncPointWait>, SyncPointError> {
        match self {
            Self::Fence(fence) => Ok(Ok(Arc::clone(fence))),
            #[cfg(feature = "syncobj")]
            Self::Point(point) => match point.fence() {
                Ok(fence) => Ok(Ok(Arc::new(fence))),
                Err(TimelineError::NotSubmitted { .. }) => {
                    Ok(Err(SyncPointWait::Point(point.wait(Until::Submitted)?)))
                }
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// A wait that an event loop polls.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncPointWait {
    /// Waits until a fence signals.
    Fence(Fence),
    /// Waits until a timeline point has a fence or is signalled.
    #[cfg(feature = "syncobj")]
    Point(PointWait),
    /// Waits until the implicit fences of a dma-buf are signalled.
    Dmabuf(DmabufWait),
}

impl AsFd for SyncPointWait {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Fence(fence) => fence.as_fd(),
            #[cfg(feature = "syncobj")]
            Self::Point(wait) => wait.as_fd(),
            Self::Dmabuf(wait) => wait.as_fd(),
        }
    }
}

impl Pollable for SyncPointWait {
    fn poll_for(&self) -> PollFor {
        match self {
            Self::Fence(fence) => fence.poll_for(),
            #[cfg(feature = "syncobj")]
            Self::Point(wait) => wait.poll_for(),
            Self::Dmabuf(wait) => wait.poll_for(),
        }
    }
}

/// The result of [`export_wait`]: what the next accessor has to wait for, in the form that its mechanism needs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Acquire {
    /// There is nothing to wait for.
    NoWait,
    /// The fences were added to the implicit fences of the dma-bufs.
    Implicit,
    /// The accessor has to wait for this sync_file.
    Fence(Fence),
    /// The accessor has to wait for this timeline point.
    #[cfg(feature = "syncobj")]
    Point(Point),
    /// Some timeline points have no fence yet, so they cannot be converted. Poll these waits in the event loop and try again.
    NotSubmitted(Vec<SyncPointWait>),
}

/// An unused timeline point that [`export_wait`] may set a fence on.
#[cfg(feature = "syncobj")]
pub type WaitPoint<'point> = Option<&'point Point>;
/// An unused timeline point that [`export_wait`] may set a fence on. Without the feature `syncobj` the value is always `None`.
#[cfg(not(feature = "syncobj"))]
pub type WaitPoint<'point> = Option<&'point std::convert::Infallible>;

/// Converts the fences of earlier accesses into the form for which the next accessor can wait.
///
/// `prior` comes from [`AccessDecision::Granted`](super::AccessDecision::Granted). `unused_point` is a point without a fence, on
/// a timeline that the accessor has imported. For an accessor that waits for timeline points, a single prior point is returned as
/// it is, even before it has a fence; otherwise the merged fence is set on `unused_point`. The function never blocks.
///
/// # Errors
/// [`SyncPointError`].
pub fn export_wait(
    buffer: &Buffer,
    prior: &[PriorAccess<SyncPoint>],
    mechanism: SyncMechanism,
    unused_point: WaitPoint<'_>,
) -> Result<Acquire, SyncPointError> {
    if prior.is_empty() {
        return Ok(Acquire::NoWait);
    }
    #[cfg(feature = "syncobj")]
    if let (SyncMechanism::Timeline, [single]) = (mechanism, prior) {
        if let SyncPoint::Point(point) = &single.fence {
            return Ok(Acquire::Point(point.clone()));
        }
    }
    let (mut fences, mut waits) = (Vec::new(), Vec::new());
    for earlier in prior {
        match earlier.fence.sync_file()? {
            Ok(fence) => fences.push((fence, earlier.access)),
            Err(wait) => waits.push(wait),
        }
    }
    if !waits.is_empty() {
        return Ok(Acquire::NotSubmitted(waits));
    }
    if mechanism == SyncMechanism::Implicit {
        for (fence, access) in &fences {
            buffer.reservation().add(fence, *access)?;
        }
        return Ok(Acquire::Implicit);
    }
    let merged = Fence::merge_all(fences.iter().map(|(fence, _)| fence.as_ref()))?;
    let Some(merged) = merged else {
        return Ok(Acquire::NoWait);
    };
    match (mechanism, unused_point) {
        (SyncMechanism::SyncFile, _) => Ok(Acquire::Fence(merged)),
        #[cfg(feature = "syncobj")]
        (SyncMechanism::Timeline, Some(point)) => {
            point.set_fence(&merged)?;
            Ok(Acquire::Point(point.clone()))
        }
        #[cfg(not(feature = "syncobj"))]
        (SyncMechanism::Timeline, Some(point)) => match *point {},
        (SyncMechanism::Timeline, None) => Err(SyncPointError::NoPoint),
        (mechanism, _) => Err(SyncPointError::UnsupportedMechanism(mechanism)),
    }
}
