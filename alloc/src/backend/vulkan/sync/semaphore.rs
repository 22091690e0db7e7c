//! A binary semaphore.

use std::fmt;

use ash::vk;

use super::sys::{RawSemaphore, SemaphoreKind};
use super::take_out;
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// One moment at a time: what work of a device waits for, or signals.
pub struct Semaphore {
    gpu: Gpu,
    pub(super) raw: RawSemaphore,
    /// Whether work was submitted that signals it.
    pub(super) is_given: bool,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Semaphore")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Makes a semaphore that work signals and that then leaves as a sync_file.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device's semaphores do not leave; [`VulkanError::Call`].
    pub fn semaphore(&self) -> Result<Semaphore, VulkanError> {
        self.needs(
            self.device_sync().semaphore_to_sync_file,
            "semaphore that leaves as a sync_file (VK_KHR_external_semaphore_fd)",
        )?;
        self.make_semaphore(true)
    }

    /// Makes a semaphore that is signalled when a fence is: what work has to wait for, whoever signals it.
    ///
    /// [`Gpu::submit`] does so by itself for [`Submission::after`](super::Submission::after). An application that submits its own
    /// work puts [`Semaphore::handle`] among what that work waits for, once: the wait takes the fence out again.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device's semaphores take no sync_files; [`VulkanError::Call`]. The fence is closed then.
    ///
    /// # References
    /// Vulkan, vkImportSemaphoreFdKHR with VK_SEMAPHORE_IMPORT_TEMPORARY_BIT.
    pub fn semaphore_after(&self, fence: Fence) -> Result<Semaphore, VulkanError> {
        self.needs(
            self.device_sync().semaphore_from_sync_file,
            "semaphore that takes a sync_file (VK_KHR_external_semaphore_fd)",
        )?;
        let semaphore = self.make_semaphore(false)?;
        semaphore
            .raw
            .take_sync_file(fence.into())
            .map_err(self.failed("vkImportSemaphoreFdKHR"))?;
        Ok(semaphore)
    }

    fn make_semaphore(&self, leaves: bool) -> Result<Semaphore, VulkanError> {
        let raw = RawSemaphore::new(self.device(), SemaphoreKind::Binary { leaves })
            .map_err(self.failed("vkCreateSemaphore"))?;
        Ok(Semaphore {
            gpu: self.clone(),
            raw,
            is_given: false,
        })
    }
}

impl Semaphore {
    /// The semaphore, for an application that submits work of its own. What was submitted with it ends before this value goes.
    #[must_use]
    pub fn handle(&self) -> vk::Semaphore {
        self.raw.raw
    }

    /// Takes the moment out that submitted work signals; `None` where it is over already. The semaphore is as new then.
    ///
    /// Waits with a device that says [`Gpu::exports_wait`].
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] when no work signals it; [`VulkanError::Call`]; [`VulkanError::Unusable`] where the
    /// driver gives something that is no fence.
    ///
    /// # References
    /// VUID-VkSemaphoreGetFdInfoKHR-handleType-03254: a signal must have been submitted.
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        take_out(&self.gpu, &mut self.is_given, "vkGetSemaphoreFdKHR", || {
            self.raw.give_sync_file()
        })
    }
}
