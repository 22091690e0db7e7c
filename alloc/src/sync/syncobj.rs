//! A card that has syncobjs, and one handle of one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use drm::control::{Device as _, RawResourceHandle, syncobj};
use drm::{Device as _, DriverCapability};
use rustix::io::Errno;
use thiserror::Error;

use super::fence::fds_left;
use super::{Fence, FenceError, sys};

/// Why a timeline cannot be had, or does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The card or its kernel lacks something.
    #[error("{device} has no {what}; choose a card that has, or hand over sync_files")]
    Unsupported {
        /// The card's driver.
        device: String,
        /// What is missing.
        what: &'static str,
    },
    /// An fd from outside is no syncobj.
    #[error(
        "the fd is no syncobj ({device} answers {source}); whoever sent it has to export one by its handle, not as a sync_file"
    )]
    NotSyncobj {
        /// The card's driver.
        device: String,
        /// What the kernel answered.
        source: Errno,
    },
    /// Point 0 is none: the kernel would take the syncobj as binary.
    #[error(
        "0 is no point on a timeline: the kernel would take the syncobj as binary; points begin at 1"
    )]
    PointZero,
    /// Nobody has said yet what signals the point.
    #[error("nobody has submitted point {point} of a timeline yet; wait until somebody has")]
    NotSubmitted {
        /// The point; 0 for a binary syncobj.
        point: u64,
    },
    /// The kernel refused.
    #[error("{operation} on {device} failed: {source}{}", fds_left(*source))]
    Request {
        /// The card's driver.
        device: String,
        /// What was asked.
        operation: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The kernel's answer is no fence.
    #[error(transparent)]
    Fence(#[from] FenceError),
}

/// What a card can do with syncobjs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "three steps, each of which needs the one before"
)]
pub struct SyncAbility {
    /// Binary ones (DRM_CAP_SYNCOBJ).
    pub syncobj: bool,
    /// Those with points (DRM_CAP_SYNCOBJ_TIMELINE).
    pub timeline: bool,
    /// A point signals an eventfd, so that an event loop can wait for it, also before anybody has submitted it.
    pub eventfd: bool,
}

/// An open card or render node that has syncobjs. Clones share the file description, hence the handles.
#[derive(Clone, Debug)]
pub struct SyncDevice {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    fd: OwnedFd,
    driver: String,
    ability: SyncAbility,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
impl drm::Device for Node {}
impl drm::control::Device for Node {}

impl SyncDevice {
    /// Takes a node that is open, and asks what it can do. The fd is doubled.
    ///
    /// Syncobjs ask for no rights: a render node serves as well as a card.
    ///
    /// # Errors
    /// [`TimelineError::Request`] when the file is no DRM device.
    pub fn new(node: impl AsFd) -> Result<Self, TimelineError> {
        let failed = |operation, source| TimelineError::Request {
            device: "an fd that should be a DRM device".to_owned(),
            operation,
            source,
        };
        let fd = rustix::io::fcntl_dupfd_cloexec(node, 0).map_err(|error| failed("dup", error))?;
        let mut node = Node {
            fd,
            driver: String::new(),
            ability: SyncAbility::default(),
        };
        let driver = node
            .get_driver()
            .map_err(|error| failed("DRM_IOCTL_VERSION", errno(&error)))?;
        node.driver = driver.name().to_string_lossy().into_owned();
        let has = |capability| {
            node.get_driver_capability(capability)
                .is_ok_and(|value| value != 0)
        };
        let syncobj = has(DriverCapability::SyncObj);
        let timeline = syncobj && has(DriverCapability::TimelineSyncObj);
        node.ability = SyncAbility {
            syncobj,
            timeline,
            eventfd: timeline && node.has_eventfd(),
        };
        Ok(Self {
            node: Arc::new(node),
        })
    }

    /// What the card can do.
    #[must_use]
    pub fn ability(&self) -> SyncAbility {
        self.node.ability
    }

    /// The card's driver, as the kernel names it.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.node.driver
    }

    pub(super) fn unsupported(&self, what: &'static str) -> TimelineError {
        TimelineError::Unsupported {
            device: self.driver().to_owned(),
            what,
        }
    }

    fn asked(&self, operation: &'static str) -> impl Fn(std::io::Error) -> TimelineError + '_ {
        move |error| TimelineError::Request {
            device: self.driver().to_owned(),
            operation,
            source: errno(&error),
        }
    }
}

impl Node {
    /// A kernel that knows the request misses the syncobj; an older one does not know the request.
    fn has_eventfd(&self) -> bool {
        // The kernel counts handles from 1 and never as far as this. It looks for the syncobj before it looks at the eventfd.
        let nobody = syncobj::Handle::from(RawResourceHandle::MAX);
        self.syncobj_eventfd(nobody, 1, self.as_fd(), false)
            .is_err_and(|error| errno(&error) == Errno::NOENT)
    }
}

/// One handle of a syncobj, which dies with this value. The syncobj itself lives on where others have it.
#[derive(Debug)]
pub(super) struct Syncobj {
    device: SyncDevice,
    handle: syncobj::Handle,
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        if let Err(error) = self.device.node.destroy_syncobj(self.handle) {
            tracing::error!(%error, "a syncobj's handle could not be closed");
        }
    }
}

impl Syncobj {
    pub(super) fn create(device: &SyncDevice, signalled: bool) -> Result<Self, TimelineError> {
        if !device.ability().syncobj {
            return Err(device.unsupported("syncobjs"));
        }
        let handle = device
            .node
            .create_syncobj(signalled)
            .map_err(device.asked("DRM_IOCTL_SYNCOBJ_CREATE"))?;
        Ok(Self {
            device: device.clone(),
            handle,
        })
    }

    /// Each import makes a handle of its own, of the same syncobj too.
    pub(super) fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        if !device.ability().syncobj {
            return Err(device.unsupported("syncobjs"));
        }
        match device.node.fd_to_syncobj(fd.as_fd(), false) {
            Ok(handle) => Ok(Self {
                device: device.clone(),
                handle,
            }),
            Err(error) => match errno(&error) {
                source @ (Errno::INVAL | Errno::BADF) => Err(TimelineError::NotSyncobj {
                    device: device.driver().to_owned(),
                    source,
                }),
                _ => Err(device.asked("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE")(error)),
            },
        }
    }

    pub(super) fn device(&self) -> &SyncDevice {
        &self.device
    }

    pub(super) fn export(&self) -> Result<OwnedFd, TimelineError> {
        self.device
            .node
            .syncobj_to_fd(self.handle, false)
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD"))
    }

    /// The fence that a binary syncobj holds now.
    pub(super) fn fence(&self) -> Result<Fence, TimelineError> {
        match self.device.node.syncobj_to_fd(self.handle, true) {
            Ok(fd) => Ok(Fence::trusted(fd)),
            Err(error) if errno(&error) == Errno::INVAL => {
                Err(TimelineError::NotSubmitted { point: 0 })
            }
            Err(error) => Err(self.device.asked("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD")(error)),
        }
    }

    /// Makes a binary syncobj hold a fence.
    pub(super) fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        sys::syncobj_import_sync_file(self.device.node.as_fd(), self.handle.into(), fence.as_fd())
            .map_err(|error| self.device.asked("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE")(error.into()))
    }

    pub(super) fn signal_binary(&self) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_signal(&[self.handle])
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_SIGNAL"))
    }

    pub(super) fn reset(&self) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_reset(&[self.handle])
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_RESET"))
    }

    pub(super) fn signal(&self, point: u64) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_timeline_signal(&[self.handle], &[point])
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL"))
    }

    pub(super) fn query(&self, submitted: bool) -> Result<u64, TimelineError> {
        let mut points = [0];
        self.device
            .node
            .syncobj_timeline_query(&[self.handle], &mut points, submitted)
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_QUERY"))?;
        Ok(points[0])
    }

    /// Makes a point of another syncobj signal when this one's does; 0 is a binary syncobj's own.
    pub(super) fn transfer(
        &self,
        point: u64,
        to: &Self,
        to_point: u64,
    ) -> Result<(), TimelineError> {
        let node = &self.device.node;
        if !Arc::ptr_eq(node, &to.device.node) {
            // Handles are of one file description: another's mean nothing here, or something else.
            let fd = to.export()?;
            let there = Self::import(&self.device, fd)?;
            return self.transfer(point, &there, to_point);
        }
        let transferred = loop {
            match node.syncobj_timeline_transfer(self.handle, to.handle, point, to_point) {
                Err(error) if matches!(errno(&error), Errno::INTR | Errno::AGAIN) => {}
                done => break done,
            }
        };
        transferred.map_err(|error| match errno(&error) {
            Errno::INVAL => TimelineError::NotSubmitted { point },
            _ => self.device.asked("DRM_IOCTL_SYNCOBJ_TRANSFER")(error),
        })
    }

    /// Has an eventfd counted up once, when the point is there.
    pub(super) fn notify(
        &self,
        point: u64,
        eventfd: BorrowedFd<'_>,
        submitted: bool,
    ) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_eventfd(self.handle, point, eventfd, submitted)
            .map_err(self.device.asked("DRM_IOCTL_SYNCOBJ_EVENTFD"))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
