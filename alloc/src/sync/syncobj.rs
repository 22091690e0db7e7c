//! DRM devices that support syncobjs, and the handle of one syncobj.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use drm::control::{Device as _, RawResourceHandle, syncobj};
use drm::{Device as _, DriverCapability};
use rustix::io::Errno;
use thiserror::Error;

use super::fence::fd_limit_hint;
use super::{Fence, FenceError, sys};
use crate::SystemError;

/// Why a syncobj cannot be created, imported, queried or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The device or the kernel does not support a feature.
    #[error("{device} has no {what}; use a device that has, or pass sync_files instead")]
    Unsupported {
        /// The name of the device's driver.
        device: String,
        /// The feature that is not supported.
        what: &'static str,
    },
    /// A file descriptor that another process sent is not a syncobj.
    #[error(
        "the file descriptor is not a syncobj ({device} returned {source}); its sender has to export a syncobj by its handle, not a sync_file"
    )]
    NotSyncobj {
        /// The name of the device's driver.
        device: String,
        /// The kernel's error.
        source: SystemError,
    },
    /// The number of a point is 0, which the kernel uses for the fence of a binary syncobj.
    #[error(
        "0 is not a timeline point: by 0 the kernel means the fence of a binary syncobj; use a number from 1"
    )]
    PointZero,
    /// The point has no fence yet.
    #[error("point {point} of a timeline has no fence yet; wait until it is submitted")]
    NotSubmitted {
        /// The point; 0 for a binary syncobj.
        point: u64,
    },
    /// The kernel refused the request.
    #[error("{operation} on {device} failed: {source}{}", fd_limit_hint(*source))]
    Request {
        /// The name of the device's driver.
        device: String,
        /// The ioctl or system call that failed.
        operation: &'static str,
        /// The kernel's error.
        source: SystemError,
    },
    /// A request on a sync_file failed.
    #[error(transparent)]
    Fence(#[from] FenceError),
}

/// Which syncobj features a DRM device supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "each of the three capabilities of the kernel requires the previous one"
)]
#[non_exhaustive]
pub struct SyncobjSupport {
    /// Binary syncobjs (DRM_CAP_SYNCOBJ).
    pub syncobj: bool,
    /// Timeline syncobjs (DRM_CAP_SYNCOBJ_TIMELINE).
    pub timeline: bool,
    /// Timeline points can signal an eventfd (DRM_IOCTL_SYNCOBJ_EVENTFD, Linux 6.6), so that an event loop can wait for a point,
    /// even before the point has a fence.
    pub eventfd: bool,
}

/// An open primary or render node that supports syncobjs. Clones share the open file description and thus the syncobj handles.
#[derive(Clone, Debug)]
pub struct SyncDevice {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    fd: OwnedFd,
    driver: String,
    support: SyncobjSupport,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
impl drm::Device for Node {}
impl drm::control::Device for Node {}

impl SyncDevice {
    /// Duplicates the file descriptor of an open node, and queries what the device supports.
    ///
    /// Syncobj ioctls need no privilege, so `node` may be a render node or a primary node.
    ///
    /// # Errors
    /// [`TimelineError::Request`] if the file is not a DRM device.
    pub fn new(node: impl AsFd) -> Result<Self, TimelineError> {
        let failed = |operation, source: Errno| TimelineError::Request {
            device: "the given file descriptor (a DRM device is expected)".to_owned(),
            operation,
            source: source.into(),
        };
        let fd = rustix::io::fcntl_dupfd_cloexec(node, 0).map_err(|error| failed("dup", error))?;
        let mut node = Node {
            fd,
            driver: String::new(),
            support: SyncobjSupport::default(),
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
        node.support = SyncobjSupport {
            syncobj,
            timeline,
            eventfd: timeline && node.has_eventfd(),
        };
        Ok(Self {
            node: Arc::new(node),
        })
    }

    /// Returns what the device supports.
    #[must_use]
    pub fn support(&self) -> SyncobjSupport {
        self.node.support
    }

    /// Returns the name of the device's kernel driver.
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

    fn request_error(
        &self,
        operation: &'static str,
    ) -> impl Fn(std::io::Error) -> TimelineError + '_ {
        move |error| TimelineError::Request {
            device: self.driver().to_owned(),
            operation,
            source: errno(&error).into(),
        }
    }
}

impl Node {
    /// Returns whether the kernel has DRM_IOCTL_SYNCOBJ_EVENTFD, which returns ENOENT for a handle that does not exist.
    fn has_eventfd(&self) -> bool {
        // The kernel numbers handles from 1 and never reaches this number. It looks up the syncobj before the eventfd, so the fd
        // need not be an eventfd.
        let unused = syncobj::Handle::from(RawResourceHandle::MAX);
        self.syncobj_eventfd(unused, 1, self.as_fd(), false)
            .is_err_and(|error| errno(&error) == Errno::NOENT)
    }
}

/// A handle of a syncobj, which the drop closes. The syncobj exists as long as any handle or file descriptor refers to it.
#[derive(Debug)]
pub(super) struct Syncobj {
    device: SyncDevice,
    handle: syncobj::Handle,
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        if let Err(error) = self.device.node.destroy_syncobj(self.handle) {
            tracing::error!(%error, "DRM_IOCTL_SYNCOBJ_DESTROY failed; the handle stays open until the device is closed");
        }
    }
}

impl Syncobj {
    pub(super) fn create(device: &SyncDevice, signalled: bool) -> Result<Self, TimelineError> {
        if !device.support().syncobj {
            return Err(device.unsupported("syncobjs"));
        }
        let handle = device
            .node
            .create_syncobj(signalled)
            .map_err(device.request_error("DRM_IOCTL_SYNCOBJ_CREATE"))?;
        Ok(Self {
            device: device.clone(),
            handle,
        })
    }

    /// Imports a syncobj. Each import creates a new handle, also for the same syncobj.
    pub(super) fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        if !device.support().syncobj {
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
                    source: source.into(),
                }),
                _ => Err(device.request_error("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE")(
                    error,
                )),
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
            .map_err(self.device.request_error("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD"))
    }

    /// Returns the fence that a binary syncobj holds now.
    pub(super) fn fence(&self) -> Result<Fence, TimelineError> {
        match self.device.node.syncobj_to_fd(self.handle, true) {
            Ok(fd) => Ok(Fence::from_kernel(fd)),
            Err(error) if errno(&error) == Errno::INVAL => {
                Err(TimelineError::NotSubmitted { point: 0 })
            }
            Err(error) => Err(self.device.request_error("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD")(
                error,
            )),
        }
    }

    /// Sets the fence of a binary syncobj.
    pub(super) fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        sys::syncobj_import_sync_file(self.device.node.as_fd(), self.handle.into(), fence.as_fd())
            .map_err(|error| {
                self.device.request_error("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE")(error.into())
            })
    }

    pub(super) fn signal_binary(&self) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_signal(&[self.handle])
            .map_err(self.device.request_error("DRM_IOCTL_SYNCOBJ_SIGNAL"))
    }

    pub(super) fn reset(&self) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_reset(&[self.handle])
            .map_err(self.device.request_error("DRM_IOCTL_SYNCOBJ_RESET"))
    }

    pub(super) fn signal(&self, point: u64) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_timeline_signal(&[self.handle], &[point])
            .map_err(
                self.device
                    .request_error("DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL"),
            )
    }

    /// Returns the last signalled point of the timeline; with `submitted` the last point that has a fence.
    pub(super) fn query(&self, submitted: bool) -> Result<u64, TimelineError> {
        let mut points = [0];
        self.device
            .node
            .syncobj_timeline_query(&[self.handle], &mut points, submitted)
            .map_err(self.device.request_error("DRM_IOCTL_SYNCOBJ_QUERY"))?;
        Ok(points[0])
    }

    /// Copies the fence of a point to a point of another syncobj (DRM_IOCTL_SYNCOBJ_TRANSFER). Point 0 means the fence of a
    /// binary syncobj.
    pub(super) fn transfer(
        &self,
        point: u64,
        to: &Self,
        to_point: u64,
    ) -> Result<(), TimelineError> {
        let node = &self.device.node;
        if !Arc::ptr_eq(node, &to.device.node) {
            // If the other syncobj belongs to another open file description, it is imported first, because a handle is valid only
            // in the file description that created it.
            let fd = to.export()?;
            let imported = Self::import(&self.device, fd)?;
            return self.transfer(point, &imported, to_point);
        }
        let transferred = loop {
            match node.syncobj_timeline_transfer(self.handle, to.handle, point, to_point) {
                Err(error) if matches!(errno(&error), Errno::INTR | Errno::AGAIN) => {}
                done => break done,
            }
        };
        transferred.map_err(|error| match errno(&error) {
            Errno::INVAL => TimelineError::NotSubmitted { point },
            _ => self.device.request_error("DRM_IOCTL_SYNCOBJ_TRANSFER")(error),
        })
    }

    /// Requests that the kernel increments an eventfd once: when the point has a fence if `submitted`, otherwise when the point
    /// is signalled.
    pub(super) fn notify(
        &self,
        point: u64,
        eventfd: BorrowedFd<'_>,
        submitted: bool,
    ) -> Result<(), TimelineError> {
        self.device
            .node
            .syncobj_eventfd(self.handle, point, eventfd, submitted)
            .map_err(self.device.request_error("DRM_IOCTL_SYNCOBJ_EVENTFD"))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
