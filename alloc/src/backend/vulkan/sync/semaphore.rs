//! A binary semaphore of a Vulkan device (VkSemaphore).

use std::fmt;

use ash::vk;

use super::export_payload;
use super::sys::{RawSemaphore, SemaphoreKind};
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// A binary semaphore that work of a device waits for, or signals.
pub struct Semaphore {
    gpu: Gpu,
    pub(super) raw: RawSemaphore,
    /// Whether work that signals the semaphore was submitted.
    pub(super) signal_submitted: bool,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Semaphore")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Creates a semaphore that submitted work signals and that can then be exported as a sync_file.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device cannot export semaphores; [`VulkanError::Call`].
    pub fn semaphore(&self) -> Result<Semaphore, VulkanError> {
        self.needs(
            self.device_sync().semaphore_to_sync_file,
            "semaphore that can be exported as a sync_file (VK_KHR_external_semaphore_fd)",
        )?;
        self.make_semaphore(true)
    }

    /// Creates a semaphore with an imported sync_file, for work that has to wait for that fence. The fence can come from any
    /// device.
    ///
    /// [`Gpu::submit`] does this itself for [`Submission::wait_fences`](super::Submission::wait_fences). An application that
    /// submits its own work adds [`Semaphore::handle`] to the wait semaphores of one submission: the wait consumes the imported
    /// payload.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device's semaphores cannot import sync_files; [`VulkanError::Call`]. `fence` is closed in
    /// that case.
    ///
    /// # References
    /// Vulkan, vkImportSemaphoreFdKHR with VK_SEMAPHORE_IMPORT_TEMPORARY_BIT.
    pub fn semaphore_from_sync_file(&self, fence: Fence) -> Result<Semaphore, VulkanError> {
        self.needs(
            self.device_sync().semaphore_from_sync_file,
            "semaphore that can import a sync_file (VK_KHR_external_semaphore_fd)",
        )?;
        let semaphore = self.make_semaphore(false)?;
        semaphore
            .raw
            .import_sync_file(fence.into())
            .map_err(self.failed("vkImportSemaphoreFdKHR"))?;
        Ok(semaphore)
    }

    fn make_semaphore(&self, exportable: bool) -> Result<Semaphore, VulkanError> {
        let raw = RawSemaphore::new(self.device(), SemaphoreKind::Binary { exportable })
            .map_err(self.failed("vkCreateSemaphore"))?;
        Ok(Semaphore {
            gpu: self.clone(),
            raw,
            signal_submitted: false,
        })
    }
}

impl Semaphore {
    /// Returns the VkSemaphore, for an application that submits work of its own. This value must outlive that work.
    #[must_use]
    pub fn handle(&self) -> vk::Semaphore {
        self.raw.raw
    }

    /// Exports the payload that submitted work signals as a sync_file; `None` if it is already signalled. Afterwards the
    /// semaphore is unsignalled and can be used again.
    ///
    /// On a device for which [`Gpu::exports_wait`] is true, the call blocks until the work has finished.
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] if no submitted work signals the semaphore; [`VulkanError::Call`]; [`VulkanError::Unusable`]
    /// if the driver returns an fd that is not a sync_file.
    ///
    /// # References
    /// VUID-VkSemaphoreGetFdInfoKHR-handleType-03254: a signal must have been submitted.
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        export_payload(
            &self.gpu,
            &mut self.signal_submitted,
            "vkGetSemaphoreFdKHR",
            || self.raw.export_sync_file(),
        )
    }
}
