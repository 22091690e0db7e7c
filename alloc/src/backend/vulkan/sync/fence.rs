//! A fence of a device: what the processor waits for.

use std::fmt;
use std::time::Duration;

use ash::vk;

use super::sys::RawFence;
use super::{nanoseconds, take_out};
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// A moment that the processor asks for: VkFence. (A [`Fence`] is the kernel's.)
pub struct DeviceFence {
    gpu: Gpu,
    pub(super) raw: RawFence,
    /// Whether somebody has said what signals it.
    pub(super) is_given: bool,
}

impl fmt::Debug for DeviceFence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceFence")
            .field("gpu", &self.gpu)
            .field("is_given", &self.is_given)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Makes a fence that work signals ([`Submission::fence`](super::Submission::fence)) and that can leave as a sync_file.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device's fences do not leave; [`VulkanError::Call`].
    pub fn fence(&self) -> Result<DeviceFence, VulkanError> {
        self.needs(
            self.device_sync().fence_to_sync_file,
            "fence that leaves as a sync_file (VK_KHR_external_fence_fd)",
        )?;
        self.make_fence(true)
    }

    /// Makes a fence that signals with a sync_file.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device's fences take no sync_files; [`VulkanError::Call`]. The fence is closed then.
    ///
    /// # References
    /// Vulkan, vkImportFenceFdKHR with VK_FENCE_IMPORT_TEMPORARY_BIT.
    pub fn fence_after(&self, fence: Fence) -> Result<DeviceFence, VulkanError> {
        self.needs(
            self.device_sync().fence_from_sync_file,
            "fence that takes a sync_file (VK_KHR_external_fence_fd)",
        )?;
        let mut made = self.make_fence(false)?;
        made.raw
            .take_sync_file(fence.into())
            .map_err(self.failed("vkImportFenceFdKHR"))?;
        made.is_given = true;
        Ok(made)
    }

    fn make_fence(&self, leaves: bool) -> Result<DeviceFence, VulkanError> {
        let raw = RawFence::new(self.device(), leaves).map_err(self.failed("vkCreateFence"))?;
        Ok(DeviceFence {
            gpu: self.clone(),
            raw,
            is_given: false,
        })
    }
}

impl DeviceFence {
    /// The fence, for an application that submits work of its own. What was submitted with it ends before this value goes.
    #[must_use]
    pub fn handle(&self) -> vk::Fence {
        self.raw.raw
    }

    /// Asks whether it is signalled, and never waits.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn is_over(&self) -> Result<bool, VulkanError> {
        self.raw
            .is_signalled()
            .map_err(self.gpu.failed("vkGetFenceStatus"))
    }

    /// Waits until it is signalled; `false` when it is not by then. Not for an event loop.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, patience: Duration) -> Result<bool, VulkanError> {
        self.raw
            .wait(nanoseconds(patience))
            .map_err(self.gpu.failed("vkWaitForFences"))
    }

    /// Takes the moment out; `None` where it is over already.
    ///
    /// Waits with a device that says [`Gpu::exports_wait`].
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] when nobody has said what signals it; [`VulkanError::Call`];
    /// [`VulkanError::Unusable`] where the driver gives something that is no fence.
    ///
    /// # References
    /// VUID-VkFenceGetFdInfoKHR-handleType-01454.
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        take_out(&self.gpu, &mut self.is_given, "vkGetFenceFdKHR", || {
            self.raw.give_sync_file()
        })
    }
}
