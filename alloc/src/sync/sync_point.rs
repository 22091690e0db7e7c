//! The moments that a ledger keeps, and how the next party is told of them in its own language.

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

/// The moment behind which a party is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncPoint {
    /// A sync_file.
    Fence(Arc<Fence>),
    /// A point on a timeline, also one that nobody has submitted yet.
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

/// Why a moment cannot be waited for or told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncPointError {
    /// Of a fence.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// Of the fences that a dma-buf carries.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// Of a timeline.
    #[cfg(feature = "syncobj")]
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The next party wants a point, and none was given to be used.
    #[error(
        "the next party is told by a point, and there is none to be used; give one of its timeline"
    )]
    NoPoint,
    /// The language is of a later version.
    #[error("nobody here speaks {0:?}")]
    Language(SyncMechanism),
}

impl TrackedFence for SyncPoint {
    /// A moment that cannot be asked is pending: nobody goes on because a question failed.
    fn state(&self) -> FenceState {
        match self {
            Self::Fence(fence) => match fence.status() {
                Ok(FenceStatus::Unsignalled) => FenceState::Pending,
                Ok(FenceStatus::Signalled) => FenceState::Over,
                Ok(FenceStatus::Failed(_)) => FenceState::Failed,
                Err(error) => {
                    tracing::warn!(%error, "a fence does not answer");
                    FenceState::Pending
                }
            },
            // A point does not tell of failures: Linux leaves them out.
            #[cfg(feature = "syncobj")]
            Self::Point(point) => match point.is_signalled() {
                Ok(true) => FenceState::Over,
                Ok(false) => FenceState::Pending,
                Err(error) => {
                    tracing::warn!(%error, "a timeline does not answer");
                    FenceState::Pending
                }
            },
        }
    }
}

impl SyncPoint {
    /// The moment behind which everybody is done who uses a buffer by the fences that it carries: for drivers that speak no
    /// other language, after their work was submitted.
    ///
    /// # Errors
    /// [`SyncPointError::Reservation`].
    pub fn carried(buffer: &Buffer, before: Access) -> Result<Self, SyncPointError> {
        Ok(buffer.reservation().fence_before(before)?.into())
    }

    /// Makes something that an event loop can wait for. The fd is its own: one moment may be waited for twice.
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

    /// Its sync_file, or, where nobody has submitted the point yet, what to wait for until then.
    fn fence(&self) -> Result<Result<Arc<Fence>, SyncPointWait>, SyncPointError> {
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

/// A moment that an event loop polls.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncPointWait {
    /// Until a fence signals.
    Fence(Fence),
    /// Until a point is there.
    #[cfg(feature = "syncobj")]
    Point(PointWait),
    /// Until a dma-buf's own fences have.
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

/// What the next party is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Acquire {
    /// There is nothing to wait for.
    Nothing,
    /// The dma-bufs carry the fences now.
    Carried,
    /// To wait for this sync_file.
    Fence(Fence),
    /// To wait for this point.
    #[cfg(feature = "syncobj")]
    Point(Point),
    /// It cannot be told yet: nobody has submitted these points. Poll them in the event loop, and tell again.
    NotYet(Vec<SyncPointWait>),
}

/// Where a party that is told by points gets them.
#[cfg(feature = "syncobj")]
pub type WaitPoint<'point> = Option<&'point Point>;
/// Where a party that is told by points would get them.
#[cfg(not(feature = "syncobj"))]
pub type WaitPoint<'point> = Option<&'point std::convert::Infallible>;

/// Says in the next party's language what it has to wait for: what [`AccessDecision::Now`](super::AccessDecision::Now) came with.
///
/// `room` is a point that nobody has used, on a timeline that the party knows; it is used where no single point says it all.
/// Timelines are never waited for here: a single point is handed on before anybody has submitted it.
///
/// # Errors
/// [`SyncPointError`].
pub fn export_wait(
    buffer: &Buffer,
    after: &[PriorAccess<SyncPoint>],
    language: SyncMechanism,
    room: WaitPoint<'_>,
) -> Result<Acquire, SyncPointError> {
    if after.is_empty() {
        return Ok(Acquire::Nothing);
    }
    #[cfg(feature = "syncobj")]
    if let (SyncMechanism::Timeline, [past]) = (language, after) {
        if let SyncPoint::Point(point) = &past.moment {
            return Ok(Acquire::Point(point.clone()));
        }
    }
    let (mut fences, mut waits) = (Vec::new(), Vec::new());
    for past in after {
        match past.moment.fence()? {
            Ok(fence) => fences.push((fence, past.access)),
            Err(wait) => waits.push(wait),
        }
    }
    if !waits.is_empty() {
        return Ok(Acquire::NotYet(waits));
    }
    if language == SyncMechanism::Implicit {
        for (fence, access) in &fences {
            buffer.reservation().add(fence, *access)?;
        }
        return Ok(Acquire::Carried);
    }
    let merged = Fence::merge_all(fences.iter().map(|(fence, _)| fence.as_ref()))?;
    let Some(merged) = merged else {
        return Ok(Acquire::Nothing);
    };
    match (language, room) {
        (SyncMechanism::SyncFile, _) => Ok(Acquire::Fence(merged)),
        #[cfg(feature = "syncobj")]
        (SyncMechanism::Timeline, Some(room)) => {
            room.set_fence(&merged)?;
            Ok(Acquire::Point(room.clone()))
        }
        #[cfg(not(feature = "syncobj"))]
        (SyncMechanism::Timeline, Some(room)) => match *room {},
        (SyncMechanism::Timeline, None) => Err(SyncPointError::NoPoint),
        (language, _) => Err(SyncPointError::Language(language)),
    }
}
