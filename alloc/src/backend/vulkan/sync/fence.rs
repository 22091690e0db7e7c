//! A fence of a Vulkan device (VkFence), for which the CPU can wait.

use std::fmt;
use std::time::Duration;

use ash::vk;

use super::sys::RawFence;
use super::{export_payload, nanoseconds};
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// A VkFence of a Vulkan device. [`Fence`], in contrast, is a sync_file of the kernel.
pub struct DeviceFence {
    pub(super) gpu: Gpu,
    pub(super) raw: RawFence,
    /// Whether work that signals the fence was submitted, or a sync_file was imported.
    pub(super) signal_submitted: bool,
}

impl fmt::Debug for DeviceFence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceFence")
            .field("gpu", &self.gpu)
            .field("signal_submitted", &self.signal_submitted)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Creates a fence that submitted work signals ([`Submission::fence`](super::Submission::fence)) and that can be exported as
    /// a sync_file.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device cannot export fences; [`VulkanError::Call`].
    pub fn fence(&self) -> Result<DeviceFence, VulkanError> {
        self.needs(
            self.device_sync().fence_to_sync_file,
            "fence that can be exported as a sync_file (VK_KHR_external_fence_fd)",
        )?;
        self.make_fence(true)
    }

    /// Creates a fence with an imported sync_file; it is signalled when the sync_file is signalled.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device's fences cannot import sync_files; [`VulkanError::Call`]. `fence` is closed in that
    /// case.
    ///
    /// # References
    /// Vulkan, vkImportFenceFdKHR with VK_FENCE_IMPORT_TEMPORARY_BIT.
    pub fn fence_from_sync_file(&self, fence: Fence) -> Result<DeviceFence, VulkanError> {
        self.needs(
            self.device_sync().fence_from_sync_file,
            "fence that can import a sync_file (VK_KHR_external_fence_fd)",
        )?;
        let mut device_fence = self.make_fence(false)?;
        device_fence
            .raw
            .import_sync_file(fence.into())
            .map_err(self.failed("vkImportFenceFdKHR"))?;
        device_fence.signal_submitted = true;
        Ok(device_fence)
    }

    fn make_fence(&self, exportable: bool) -> Result<DeviceFence, VulkanError> {
        let raw = RawFence::new(self.device(), exportable).map_err(self.failed("vkCreateFence"))?;
        Ok(DeviceFence {
            gpu: self.clone(),
            raw,
            signal_submitted: false,
        })
    }
}

impl DeviceFence {
    /// Returns the VkFence, for an application that submits work of its own. This value must outlive that work.
    #[must_use]
    pub fn handle(&self) -> vk::Fence {
        self.raw.raw
    }

    /// Returns whether the fence is signalled, without waiting.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn is_signalled(&self) -> Result<bool, VulkanError> {
        self.raw
            .is_signalled()
            .map_err(self.gpu.failed("vkGetFenceStatus"))
    }

    /// Waits until the fence is signalled; returns `false` after `timeout`. It blocks, so an event loop must not call it.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, timeout: Duration) -> Result<bool, VulkanError> {
        self.raw
            .wait(nanoseconds(timeout))
            .map_err(self.gpu.failed("vkWaitForFences"))
    }

    /// Exports the fence's payload as a sync_file; `None` if it is already signalled.
    ///
    /// On a device for which [`Gpu::exports_wait`] is true, the call blocks until the fence is signalled.
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] if no submitted work signals the fence; [`VulkanError::Call`]; [`VulkanError::Unusable`] if
    /// the driver returns an fd that is not a sync_file.
    ///
    /// # References
    /// VUID-VkFenceGetFdInfoKHR-handleType-01454.
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        export_payload(
            &self.gpu,
            &mut self.signal_submitted,
            "vkGetFenceFdKHR",
            || self.raw.export_sync_file(),
        )
    }
}
