//! A timeline semaphore of a Vulkan device.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::nanoseconds;
use super::sys::{RawSemaphore, SemaphoreKind};
use crate::backend::vulkan::{Gpu, VulkanError};

/// A timeline semaphore of a device. Clones share one semaphore.
///
/// The value of a Vulkan timeline must only increase, so a signal with a value that is not larger than the current value returns
/// an error.
#[derive(Clone)]
pub struct DeviceTimeline {
    pub(super) gpu: Gpu,
    pub(super) raw: Arc<RawSemaphore>,
}

impl fmt::Debug for DeviceTimeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceTimeline")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Creates a timeline with value 0. Other processes can share it if the device allows that
    /// ([`DeviceSync::timeline_shared`](super::DeviceSync)).
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device has no timeline semaphores; [`VulkanError::Call`].
    pub fn timeline(&self) -> Result<DeviceTimeline, VulkanError> {
        let sync = self.device_sync();
        self.needs(
            sync.timeline,
            "timeline semaphores (VK_KHR_timeline_semaphore)",
        )?;
        self.make_timeline(sync.timeline_shared)
    }

    /// Imports a timeline that [`DeviceTimeline::export`] exported in this process or another. If
    /// [`DeviceSync::timeline_is_syncobj`](super::DeviceSync) is set, it also imports a syncobj
    /// ([`Timeline::export`](crate::sync::Timeline::export)).
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device cannot share timelines, or if the fd is a syncobj and the device's timelines are not;
    /// [`VulkanError::Call`].
    ///
    /// # References
    /// VUID-VkImportSemaphoreFdInfoKHR-handleType-01143: the fd must be of a compatible driver.
    pub fn import_timeline(&self, fd: impl AsFd) -> Result<DeviceTimeline, VulkanError> {
        let sync = self.device_sync();
        self.needs(
            sync.timeline_shared,
            "shared timeline semaphores (opaque fds of VK_KHR_external_semaphore_fd)",
        )?;
        let is_syncobj = is_syncobj(&fd);
        self.needs(
            sync.timeline_is_syncobj || !is_syncobj,
            "timeline semaphores that are syncobjs (for a syncobj, import the sync_files of its points)",
        )?;
        let duplicate_fd =
            fd.as_fd()
                .try_clone_to_owned()
                .map_err(|error| VulkanError::Unusable {
                    device: self.name().to_owned(),
                    why: format!("the timeline's fd cannot be duplicated: {error}"),
                })?;
        let timeline = self.make_timeline(true)?;
        timeline
            .raw
            .import_opaque(duplicate_fd)
            .map_err(self.failed("vkImportSemaphoreFdKHR (timeline)"))?;
        Ok(timeline)
    }

    fn make_timeline(&self, shared: bool) -> Result<DeviceTimeline, VulkanError> {
        let raw = RawSemaphore::new(self.device(), SemaphoreKind::Timeline { shared })
            .map_err(self.failed("vkCreateSemaphore (timeline)"))?;
        Ok(DeviceTimeline {
            gpu: self.clone(),
            raw: Arc::new(raw),
        })
    }
}

impl DeviceTimeline {
    /// Returns the VkSemaphore of type TIMELINE, for an application that submits work of its own. The last clone of this value
    /// must outlive that work.
    #[must_use]
    pub fn handle(&self) -> vk::Semaphore {
        self.raw.raw
    }

    /// Exports an fd for another process with the same driver.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device cannot share timelines; [`VulkanError::Call`].
    pub fn export(&self) -> Result<OwnedFd, VulkanError> {
        self.gpu.needs(
            self.gpu.device_sync().timeline_shared,
            "shared timeline semaphores (opaque fds of VK_KHR_external_semaphore_fd)",
        )?;
        self.raw
            .export_opaque()
            .map_err(self.gpu.failed("vkGetSemaphoreFdKHR (timeline)"))
    }

    /// Returns the current value.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn value(&self) -> Result<u64, VulkanError> {
        self.raw
            .value()
            .map_err(self.gpu.failed("vkGetSemaphoreCounterValue"))
    }

    /// Sets the timeline to a larger value from the CPU (vkSignalSemaphore).
    ///
    /// # Errors
    /// [`VulkanError::NotIncreasing`] if the value is not larger than the current one; [`VulkanError::Call`].
    pub fn signal(&self, value: u64) -> Result<(), VulkanError> {
        let current = self.value()?;
        if value <= current {
            return Err(VulkanError::NotIncreasing {
                device: self.gpu.name().to_owned(),
                requested: value,
                current,
            });
        }
        self.raw
            .signal(value)
            .map_err(self.gpu.failed("vkSignalSemaphore"))
    }

    /// Waits until the timeline reaches a value; returns `false` after `timeout`. It blocks, so an event loop must not call it.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, value: u64, timeout: Duration) -> Result<bool, VulkanError> {
        self.raw
            .wait(value, nanoseconds(timeout))
            .map_err(self.gpu.failed("vkWaitSemaphores"))
    }
}

/// Whether an fd is a DRM syncobj, which is found out by the name that the kernel gives to such files.
///
/// # References
/// Linux, `drivers/gpu/drm/drm_syncobj.c`, drm_syncobj_get_fd.
fn is_syncobj(fd: &impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(path).is_ok_and(|name| name.as_os_str() == "anon_inode:syncobj_file")
}
