//! Timeline syncobjs and their points.

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::syncobj::Syncobj;
use super::{BinarySyncobj, Fence, Pollable, SyncDevice, TimelineError};

/// A timeline syncobj, which processes and drivers can share. Clones share one handle, which is closed with the last clone.
///
/// A point is signalled when its own fence and the fences of all points before it are signalled. A point can be waited for before
/// it has a fence.
///
/// # References
/// `drm/drm.h`; kernel documentation, "DRM Sync Objects"; Wayland's `linux-drm-syncobj-v1`.
#[derive(Clone, Debug)]
pub struct Timeline {
    syncobj: Arc<Syncobj>,
}

impl Timeline {
    /// Creates a timeline at point 0.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`], [`TimelineError::Request`].
    pub fn create(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(supporting(device)?, false)?;
        Ok(Self {
            syncobj: Arc::new(syncobj),
        })
    }

    /// Imports a timeline that another process or driver exported.
    ///
    /// Each import of the same timeline creates a handle of its own, which the drop of the value closes.
    ///
    /// # Errors
    /// [`TimelineError::NotSyncobj`] for any other file; the errors of [`Timeline::create`].
    pub fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::import(supporting(device)?, fd)?;
        Ok(Self {
            syncobj: Arc::new(syncobj),
        })
    }

    /// Exports the timeline as a file descriptor for another process or driver.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn export(&self) -> Result<OwnedFd, TimelineError> {
        self.syncobj.export()
    }

    /// Returns the point with this number. Numbers begin at 1.
    ///
    /// # Errors
    /// [`TimelineError::PointZero`].
    pub fn point(&self, value: u64) -> Result<Point, TimelineError> {
        Ok(Point {
            timeline: self.clone(),
            value: NonZeroU64::new(value).ok_or(TimelineError::PointZero)?,
        })
    }

    /// Returns an eventfd that can be used for one point of this timeline after another.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`] on a kernel before 6.6; [`TimelineError::Request`].
    pub fn eventfd(&self) -> Result<TimelineEventfd, TimelineError> {
        Ok(TimelineEventfd {
            eventfd: self.create_eventfd()?,
            timeline: self.clone(),
        })
    }

    fn create_eventfd(&self) -> Result<OwnedFd, TimelineError> {
        let device = self.syncobj.device();
        if !device.support().eventfd {
            return Err(device.unsupported("eventfds for timeline points (Linux 6.6)"));
        }
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|source| {
            TimelineError::Request {
                device: device.driver().to_owned(),
                operation: "eventfd",
                source: source.into(),
            }
        })
    }

    /// Returns the number of the last signalled point; 0 if no point is signalled.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn last_signalled(&self) -> Result<u64, TimelineError> {
        self.syncobj.query(false)
    }

    /// Returns the number of the last point that has a fence; 0 if no point has one.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn last_submitted(&self) -> Result<u64, TimelineError> {
        self.syncobj.query(true)
    }
}

/// Returns the device if it supports timeline syncobjs, and otherwise an error.
fn supporting(device: &SyncDevice) -> Result<&SyncDevice, TimelineError> {
    if device.support().timeline {
        Ok(device)
    } else {
        Err(device.unsupported("timelines"))
    }
}

/// The condition that [`Point::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The point has a fence, which [`Point::fence`] returns.
    Submitted,
    /// The point is signalled.
    Signalled,
}

/// A point on a timeline.
#[derive(Clone, Debug)]
pub struct Point {
    timeline: Timeline,
    value: NonZeroU64,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "point {}", self.value)
    }
}

impl Point {
    /// Returns the timeline.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Returns the number of the point, which is at least 1.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value.get()
    }

    /// Queries whether the point is signalled. It does not wait.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn is_signalled(&self) -> Result<bool, TimelineError> {
        Ok(self.timeline.last_signalled()? >= self.value())
    }

    /// Queries whether the point has a fence. It does not wait.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn is_submitted(&self) -> Result<bool, TimelineError> {
        Ok(self.timeline.last_submitted()? >= self.value())
    }

    /// Signals the point from the CPU.
    ///
    /// The kernel also accepts a point before the last one; the timeline's value does not change then.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn signal(&self) -> Result<(), TimelineError> {
        self.timeline.syncobj.signal(self.value())
    }

    /// Returns a wait for an event loop. The point need not have a fence yet.
    ///
    /// Keep the returned wait and do not create another one for the same point: the kernel keeps each wait in memory until its
    /// condition is met or the timeline is destroyed, also if the wait is dropped.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`] on a kernel before 6.6; [`TimelineError::Request`].
    ///
    /// # References
    /// `drm/drm.h`, DRM_IOCTL_SYNCOBJ_EVENTFD.
    pub fn wait(&self, until: Until) -> Result<PointWait, TimelineError> {
        let eventfd = self.timeline.create_eventfd()?;
        let syncobj = &self.timeline.syncobj;
        syncobj.notify(self.value(), eventfd.as_fd(), until == Until::Submitted)?;
        Ok(PointWait {
            eventfd,
            point: self.clone(),
        })
    }

    /// Returns the fence of the point as a sync_file.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] if the point has no fence yet. [`Point::wait`] waits until it has one.
    pub fn fence(&self) -> Result<Fence, TimelineError> {
        let binary = BinarySyncobj::create(self.timeline.syncobj.device())?;
        self.transfer_to_binary(&binary)?;
        binary.fence()
    }

    /// Sets the fence of the point. The sync_file may come from any driver.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        let binary = BinarySyncobj::create(self.timeline.syncobj.device())?;
        binary.set_fence(fence)?;
        self.transfer_from_binary(&binary)
    }

    /// Copies the fence of the point to a binary syncobj.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] if the point has no fence yet.
    pub fn transfer_to_binary(&self, binary: &BinarySyncobj) -> Result<(), TimelineError> {
        self.timeline
            .syncobj
            .transfer(self.value(), &binary.syncobj, 0)
    }

    /// Sets the fence of the point to the present fence of a binary syncobj.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when the syncobj holds no fence.
    pub fn transfer_from_binary(&self, binary: &BinarySyncobj) -> Result<(), TimelineError> {
        binary
            .syncobj
            .transfer(0, &self.timeline.syncobj, self.value())
    }

    /// Copies the fence of this point to another point, on the same timeline or on another timeline.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] if this point has no fence yet.
    pub fn transfer_to(&self, other: &Self) -> Result<(), TimelineError> {
        self.timeline
            .syncobj
            .transfer(self.value(), &other.timeline.syncobj, other.value())
    }
}

/// An eventfd that becomes readable when a point meets its condition, and stays readable.
///
/// The value keeps the timeline open. The kernel drops all waits with the timeline's last handle, and the eventfd would never
/// become readable then.
#[derive(Debug)]
pub struct PointWait {
    eventfd: OwnedFd,
    point: Point,
}

impl PointWait {
    /// Returns the point that is waited for.
    #[must_use]
    pub fn point(&self) -> &Point {
        &self.point
    }
}

impl AsFd for PointWait {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl Pollable for PointWait {}

/// An eventfd for one point of a timeline after another. The kernel increments its counter once for each call of
/// [`arm`](Self::arm), when the point meets its condition.
///
/// An event loop registers the eventfd once, edge-triggered: every increment is an event, and the counter need not be read. If a
/// caller arms only one point at a time, each event belongs to that point, and no query is necessary.
///
/// The value keeps the timeline open, because the kernel drops all waits with the timeline's last handle.
#[derive(Debug)]
pub struct TimelineEventfd {
    eventfd: OwnedFd,
    timeline: Timeline,
}

impl TimelineEventfd {
    /// Requests an event for the point with this number, in addition to earlier ones. The point need not have a fence yet.
    ///
    /// # Errors
    /// [`TimelineError::PointZero`], [`TimelineError::Request`].
    ///
    /// # References
    /// `drm/drm.h`, DRM_IOCTL_SYNCOBJ_EVENTFD.
    pub fn arm(&self, value: u64, until: Until) -> Result<(), TimelineError> {
        let value = NonZeroU64::new(value).ok_or(TimelineError::PointZero)?;
        let syncobj = &self.timeline.syncobj;
        syncobj.notify(value.get(), self.eventfd.as_fd(), until == Until::Submitted)
    }
}

impl AsFd for TimelineEventfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
