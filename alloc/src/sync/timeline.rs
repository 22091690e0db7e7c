//! DeviceSync that have numbers: a syncobj with points.

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::syncobj::Syncobj;
use super::{Binary, Fence, Pollable, SyncDevice, TimelineError};

/// Numbered moments that processes and drivers share: a timeline syncobj. Clones are one handle, which dies with the last.
///
/// A point is signalled when its own fence and those of all points before it are. It can be waited for before anybody has
/// said what signals it.
///
/// # References
/// `drm/drm.h`; kernel documentation, "DRM Sync Objects"; Wayland's `linux-drm-syncobj-v1`.
#[derive(Clone, Debug)]
pub struct Timeline {
    syncobj: Arc<Syncobj>,
}

impl Timeline {
    /// Makes a timeline at point 0.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`], [`TimelineError::Request`].
    pub fn create(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(supporting(device)?, false)?;
        Ok(Self {
            syncobj: Arc::new(syncobj),
        })
    }

    /// Takes a timeline that another process or driver exported.
    ///
    /// The same timeline twice is two handles; both are closed when they are dropped.
    ///
    /// # Errors
    /// [`TimelineError::NotSyncobj`] for any other file; as [`Timeline::create`].
    pub fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::import(supporting(device)?, fd)?;
        Ok(Self {
            syncobj: Arc::new(syncobj),
        })
    }

    /// Makes an fd for another process or driver.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn export(&self) -> Result<OwnedFd, TimelineError> {
        self.syncobj.export()
    }

    /// The point of a number.
    ///
    /// # Errors
    /// [`TimelineError::PointZero`].
    pub fn point(&self, value: u64) -> Result<Point, TimelineError> {
        Ok(Point {
            timeline: self.clone(),
            value: NonZeroU64::new(value).ok_or(TimelineError::PointZero)?,
        })
    }

    /// The last point that is signalled; 0 before the first.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn last_signalled(&self) -> Result<u64, TimelineError> {
        self.syncobj.query(false)
    }

    /// The last point of which somebody has said what signals it; 0 before the first.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn last_submitted(&self) -> Result<u64, TimelineError> {
        self.syncobj.query(true)
    }
}

fn supporting(device: &SyncDevice) -> Result<&SyncDevice, TimelineError> {
    if device.ability().timeline {
        Ok(device)
    } else {
        Err(device.unsupported("timelines"))
    }
}

/// For what a point is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Somebody has said what signals it: [`Point::fence`] then gives a fence.
    Submitted,
    /// It is signalled.
    Signalled,
}

/// One moment on a timeline.
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
    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Its number, from 1.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value.get()
    }

    /// Asks whether it is signalled, and never waits.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn is_signalled(&self) -> Result<bool, TimelineError> {
        Ok(self.timeline.last_signalled()? >= self.value())
    }

    /// Asks whether somebody has said what signals it, and never waits.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn is_submitted(&self) -> Result<bool, TimelineError> {
        Ok(self.timeline.last_submitted()? >= self.value())
    }

    /// Signals it from the processor.
    ///
    /// The kernel takes a point below the last one too, and the timeline stays where it is.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn signal(&self) -> Result<(), TimelineError> {
        self.timeline.syncobj.signal(self.value())
    }

    /// Makes something that an event loop can wait for, also before anybody has submitted the point.
    ///
    /// Keep it until the point is there: the kernel keeps a note of each wait until then, or until the timeline is gone.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`] on a kernel before 6.6; [`TimelineError::Request`].
    ///
    /// # References
    /// `drm/drm.h`, DRM_IOCTL_SYNCOBJ_EVENTFD.
    pub fn wait(&self, until: Until) -> Result<PointWait, TimelineError> {
        let syncobj = &self.timeline.syncobj;
        let device = syncobj.device();
        if !device.ability().eventfd {
            return Err(device.unsupported("eventfds of points"));
        }
        let eventfd =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|source| {
                TimelineError::Request {
                    device: device.driver().to_owned(),
                    operation: "eventfd",
                    source,
                }
            })?;
        syncobj.notify(self.value(), eventfd.as_fd(), until == Until::Submitted)?;
        Ok(PointWait {
            eventfd,
            point: self.clone(),
        })
    }

    /// The fence that signals it, as a sync_file.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when there is none yet: [`Point::wait`] for it first.
    pub fn fence(&self) -> Result<Fence, TimelineError> {
        let binary = Binary::create(self.timeline.syncobj.device())?;
        self.put_into(&binary)?;
        binary.fence()
    }

    /// Says what signals it: a sync_file of any driver.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        let binary = Binary::create(self.timeline.syncobj.device())?;
        binary.set_fence(fence)?;
        self.take_from(&binary)
    }

    /// Makes a binary syncobj hold what signals the point.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when there is nothing yet.
    pub fn put_into(&self, binary: &Binary) -> Result<(), TimelineError> {
        self.timeline
            .syncobj
            .transfer(self.value(), &binary.syncobj, 0)
    }

    /// Says that what a binary syncobj holds now signals the point.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when it holds nothing.
    pub fn take_from(&self, binary: &Binary) -> Result<(), TimelineError> {
        binary
            .syncobj
            .transfer(0, &self.timeline.syncobj, self.value())
    }

    /// Says that this point signals another one, on the same timeline or another.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when this point has nothing yet.
    pub fn forward_to(&self, other: &Self) -> Result<(), TimelineError> {
        self.timeline
            .syncobj
            .transfer(self.value(), &other.timeline.syncobj, other.value())
    }
}

/// An eventfd that becomes readable when a point is there, and stays so.
///
/// It keeps the timeline: the kernel would forget the wait with the timeline's last handle, and the eventfd would stay silent
/// for ever.
#[derive(Debug)]
pub struct PointWait {
    eventfd: OwnedFd,
    point: Point,
}

impl PointWait {
    /// What is waited for.
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
