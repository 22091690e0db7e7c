//! Binary syncobjs, each of which holds one fence at a time.

use std::os::fd::{AsFd, OwnedFd};

use super::syncobj::Syncobj;
use super::{Fence, SyncDevice, TimelineError};

/// A binary syncobj: it holds one fence, and processes and drivers can share it.
///
/// Mesa's drivers export Vulkan binary semaphores as binary syncobjs. The fence can be transferred to a timeline point, and back.
///
/// # References
/// `drm/drm.h`; kernel documentation, "DRM Sync Objects".
#[derive(Debug)]
pub struct BinarySyncobj {
    pub(super) syncobj: Syncobj,
}

impl BinarySyncobj {
    /// Creates a syncobj without a fence.
    ///
    /// # Errors
    /// [`TimelineError::Unsupported`], [`TimelineError::Request`].
    pub fn create(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(device, false)?;
        Ok(Self { syncobj })
    }

    /// Creates a syncobj whose fence is signalled.
    ///
    /// # Errors
    /// The errors of [`BinarySyncobj::create`].
    pub fn signalled(device: &SyncDevice) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::create(device, true)?;
        Ok(Self { syncobj })
    }

    /// Imports a syncobj that another process or driver exported.
    ///
    /// # Errors
    /// [`TimelineError::NotSyncobj`] for any other file; the errors of [`BinarySyncobj::create`].
    pub fn import(device: &SyncDevice, fd: impl AsFd) -> Result<Self, TimelineError> {
        let syncobj = Syncobj::import(device, fd)?;
        Ok(Self { syncobj })
    }

    /// Exports the syncobj itself, and not its present fence, as a file descriptor. An importer sees fences that are set later
    /// too.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn export(&self) -> Result<OwnedFd, TimelineError> {
        self.syncobj.export()
    }

    /// Returns the fence that the syncobj holds now.
    ///
    /// # Errors
    /// [`TimelineError::NotSubmitted`] when it holds no fence.
    pub fn fence(&self) -> Result<Fence, TimelineError> {
        self.syncobj.fence()
    }

    /// Replaces the fence.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn set_fence(&self, fence: &Fence) -> Result<(), TimelineError> {
        self.syncobj.set_fence(fence)
    }

    /// Replaces the fence by a fence that is signalled already.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn signal(&self) -> Result<(), TimelineError> {
        self.syncobj.signal_binary()
    }

    /// Removes the fence.
    ///
    /// # Errors
    /// [`TimelineError::Request`].
    pub fn reset(&self) -> Result<(), TimelineError> {
        self.syncobj.reset()
    }
}

impl Fence {
    /// Creates a fence that is signalled already, for an interface that requires a fence although there is nothing to wait for.
    ///
    /// # Errors
    /// The errors of [`BinarySyncobj::create`].
    pub fn signalled(device: &SyncDevice) -> Result<Self, TimelineError> {
        BinarySyncobj::signalled(device)?.fence()
    }
}
