//! A syncobj with one fence at a time.

use std::os::fd::{AsFd, OwnedFd};

use super::syncobj::Syncobj;
use super::{Fence, SyncDevice, TimelineError};

/// A place for one fence, shared between processes and drivers: a binary syncobj.
///
/// Vulkan's binary semaphores are these. What it holds can be put on a timeline, and taken from one.
///
/// # References
/// `drm/drm.h`; kernel documentation, "DRM Sync Objects".
#[derive(Debug)]
pub struct Binary {
    pub(super) syncobj: Syncobj,
}

impl Binary {
    /// Makes one that holds no fence.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`], [`TimelineError::Request`].
    pub fn create(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(device, false)?;
        Ok(Self { syncobj })
    }

    /// Makes one whose fence is signalled.
    ///
    /// # Errors
    /// As [`Binary::create`].
    pub fn signalled(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(device, true)?;
        Ok(Self { syncobj })
    }

    /// Takes one that another process or driver exported.
    ///
    /// # Errors
    /// [`TimelineError::NotSyncobj`] for any other file; as [`Binary::create`].
    pub fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::import(device, fd)?;
        Ok(Self { syncobj })
    }

    /// Makes an fd for another process or driver. It is no fence: what is put in later is seen there too.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn export(&self) -> Result<OwnedFd, TimelineError> {
        self.syncobj.export()
    }

    /// The fence that it holds now.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when it holds none.
    pub fn fence(&self) -> Result<Fence, TimelineError> {
        self.syncobj.fence()
    }

    /// Puts a fence in, and the one that it held out.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        self.syncobj.set_fence(fence)
    }

    /// Puts a signalled fence in.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn signal(&self) -> Result<(), TimelineError> {
        self.syncobj.signal_binary()
    }

    /// Leaves it without a fence.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn reset(&self) -> Result<(), TimelineError> {
        self.syncobj.reset()
    }
}

impl Fence {
    /// Makes a fence that is signalled already, for who wants one where there is nothing to wait for.
    ///
    /// # Errors
    /// As [`Binary::create`].
    pub fn signalled(device: &SyncDevice) -> Result<Self, TimelineError> {
        Binary::signalled(device)?.fence()
    }
}
