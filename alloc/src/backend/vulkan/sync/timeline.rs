//! A timeline of a device.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::nanoseconds;
use super::sys::{RawSemaphore, SemaphoreKind};
use crate::backend::vulkan::{Gpu, VulkanError};

/// Numbered moments of a device: a timeline semaphore. Clones are one.
///
/// Vulkan's numbers only rise: a signal of no larger number than the last is refused here, and none is waited for twice.
#[derive(Clone)]
pub struct DeviceTimeline {
    gpu: Gpu,
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
    /// Makes a timeline at 0, which other processes can share where the device lets them ([`DeviceSync::timeline_shared`](super::DeviceSync)).
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device has none; [`VulkanError::Call`].
    pub fn timeline(&self) -> Result<DeviceTimeline, VulkanError> {
        let moments = self.device_sync();
        self.needs(
            moments.timeline,
            "timeline semaphores (VK_KHR_timeline_semaphore)",
        )?;
        self.make_timeline(moments.timeline_shared)
    }

    /// Takes a timeline that [`DeviceTimeline::export`] gave, in this process or another; or, where the device says
    /// [`DeviceSync::timeline_is_syncobj`](super::DeviceSync), a syncobj ([`Timeline::export`](crate::sync::Timeline::export)).
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device shares none, or the fd is a syncobj and the device's timelines are not;
    /// [`VulkanError::Call`].
    ///
    /// # References
    /// VUID-VkImportSemaphoreFdInfoKHR-handleType-01143: the fd must be of a compatible driver.
    pub fn import_timeline(&self, fd: impl AsFd) -> Result<DeviceTimeline, VulkanError> {
        let moments = self.device_sync();
        self.needs(
            moments.timeline_shared,
            "timeline semaphores that are shared (opaque fds of VK_KHR_external_semaphore_fd)",
        )?;
        let is_syncobj = is_syncobj(&fd);
        self.needs(
            moments.timeline_is_syncobj || !is_syncobj,
            "timelines that are syncobjs; go by the sync_files of its points",
        )?;
        let own = fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| VulkanError::Unusable {
                device: self.name().to_owned(),
                why: format!("the timeline's fd cannot be doubled: {error}"),
            })?;
        let timeline = self.make_timeline(true)?;
        timeline
            .raw
            .take_opaque(own)
            .map_err(self.failed("vkImportSemaphoreFdKHR of a timeline"))?;
        Ok(timeline)
    }

    fn make_timeline(&self, shared: bool) -> Result<DeviceTimeline, VulkanError> {
        let raw = RawSemaphore::new(self.device(), SemaphoreKind::Timeline { shared })
            .map_err(self.failed("vkCreateSemaphore of a timeline"))?;
        Ok(DeviceTimeline {
            gpu: self.clone(),
            raw: Arc::new(raw),
        })
    }
}

impl DeviceTimeline {
    /// The semaphore, of type TIMELINE, for an application that submits work of its own. What was submitted with it ends before
    /// the last clone of this value goes.
    #[must_use]
    pub fn handle(&self) -> vk::Semaphore {
        self.raw.raw
    }

    /// Makes an fd for another process with the same driver.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device shares none; [`VulkanError::Call`].
    pub fn export(&self) -> Result<OwnedFd, VulkanError> {
        self.gpu.needs(
            self.gpu.device_sync().timeline_shared,
            "timeline semaphores that are shared (opaque fds of VK_KHR_external_semaphore_fd)",
        )?;
        self.raw
            .give_opaque()
            .map_err(self.gpu.failed("vkGetSemaphoreFdKHR of a timeline"))
    }

    /// The number that it has come to.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn value(&self) -> Result<u64, VulkanError> {
        self.raw
            .value()
            .map_err(self.gpu.failed("vkGetSemaphoreCounterValue"))
    }

    /// Brings it to a number from the processor.
    ///
    /// # Errors
    /// [`VulkanError::Backwards`] unless the number is larger than what it has; [`VulkanError::Call`].
    pub fn signal(&self, value: u64) -> Result<(), VulkanError> {
        let found = self.value()?;
        if value <= found {
            return Err(VulkanError::Backwards {
                device: self.gpu.name().to_owned(),
                asked: value,
                found,
            });
        }
        self.raw
            .signal(value)
            .map_err(self.gpu.failed("vkSignalSemaphore"))
    }

    /// Waits until it has come to a number; `false` when it has not by then. Not for an event loop.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, value: u64, patience: Duration) -> Result<bool, VulkanError> {
        self.raw
            .wait(value, nanoseconds(patience))
            .map_err(self.gpu.failed("vkWaitSemaphores"))
    }
}

/// Whether an fd is a syncobj, by the name that the kernel gives such files.
///
/// # References
/// Linux, `drivers/gpu/drm/drm_syncobj.c`, drm_syncobj_get_fd.
fn is_syncobj(fd: &impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(path).is_ok_and(|name| name.as_os_str() == "anon_inode:syncobj_file")
}
