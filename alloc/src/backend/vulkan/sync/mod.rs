//! DeviceSync of a Vulkan device: to and from sync_files, and shared with others of its kind.
//!
//! | moment | comes in by | goes out by |
//! | --- | --- | --- |
//! | [`Semaphore`] | [`Submission::after`], a sync_file | [`Submitted::export`], a sync_file |
//! | [`DeviceFence`] | [`Gpu::fence_after`], a sync_file | [`DeviceFence::export`], a sync_file |
//! | [`DeviceTimeline`] | [`Gpu::import_timeline`], an fd of the same driver, or a syncobj where the driver's timelines are such | [`DeviceTimeline::export`] |
//!
//! A point of a syncobj goes in and out by its sync_file ([`Point::fence`](crate::sync::Point::fence),
//! [`Point::set_fence`](crate::sync::Point::set_fence)) with every driver.
//!
//! Drivers that work on the processor make a sync_file only when the work is done: lavapipe waits in the export, and hands out one that
//! is signalled. [`Gpu::exports_wait`] says so; with those, who has an event loop asks [`Submitted::wait`] on another thread.

mod fence;
mod semaphore;
mod submit;
mod sys;
mod timeline;

use std::os::fd::OwnedFd;
use std::time::Duration;

use ash::vk;

pub use fence::DeviceFence;
pub use semaphore::Semaphore;
pub(super) use submit::{Commands, submit};
pub use submit::{Submission, Submitted};
pub(super) use sys::RawFence;
pub use timeline::DeviceTimeline;

use super::{Gpu, VulkanError};
use crate::sync::Fence;

/// What a device does with moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSync {
    /// Its semaphores wait for sync_files.
    pub semaphore_from_sync_file: bool,
    /// Its semaphores leave as sync_files.
    pub semaphore_to_sync_file: bool,
    /// Its fences signal with sync_files.
    pub fence_from_sync_file: bool,
    /// Its fences leave as sync_files.
    pub fence_to_sync_file: bool,
    /// It has timelines.
    pub timeline: bool,
    /// Other processes with the same driver share its timelines.
    pub timeline_shared: bool,
    /// Its shared timelines are syncobjs, which other drivers share too.
    pub timeline_is_syncobj: bool,
}

impl Gpu {
    /// What the device does with moments.
    #[must_use]
    pub fn device_sync(&self) -> DeviceSync {
        self.device().moments
    }

    /// Whether a moment leaves this device only when it is over, so that an export waits: it works on the processor.
    ///
    /// Such an export has no place in an event loop.
    #[must_use]
    pub fn exports_wait(&self) -> bool {
        self.is_processor()
    }

    fn lacks(&self, what: &str) -> VulkanError {
        VulkanError::Lacks {
            device: self.name().to_owned(),
            lacks: what.to_owned(),
        }
    }

    fn needs(&self, ability: bool, what: &str) -> Result<(), VulkanError> {
        if ability {
            Ok(())
        } else {
            Err(self.lacks(what))
        }
    }
}

/// Takes out of a device, once, a moment that submitted work signals: `give` asks the driver for its sync_file, and `call` is how
/// Vulkan names that. `None` where it is over already.
fn take_out(
    gpu: &Gpu,
    is_given: &mut bool,
    call: &'static str,
    give: impl FnOnce() -> Result<Option<OwnedFd>, vk::Result>,
) -> Result<Option<Fence>, VulkanError> {
    if !std::mem::take(is_given) {
        return Err(VulkanError::NotSubmitted {
            device: gpu.name().to_owned(),
        });
    }
    give()
        .map_err(gpu.failed(call))?
        .map(Fence::import)
        .transpose()
        .map_err(|error| VulkanError::Unusable {
            device: gpu.name().to_owned(),
            why: error.to_string(),
        })
}

/// A deadline as Vulkan counts it.
pub(super) fn nanoseconds(patience: Duration) -> u64 {
    u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether the fds of a driver's timelines are syncobjs of the kernel.
///
/// Vulkan leaves open what an opaque fd is. Mesa's drivers for hardware with a DRM device give out syncobjs, and compositors rely on it.
///
/// # References
/// Mesa, `src/vulkan/runtime/vk_drm_syncobj.c`.
pub(super) fn speaks_syncobj(driver: vk::DriverId) -> bool {
    [
        vk::DriverId::MESA_RADV,
        vk::DriverId::INTEL_OPEN_SOURCE_MESA,
        vk::DriverId::MESA_TURNIP,
        vk::DriverId::MESA_V3DV,
        vk::DriverId::MESA_PANVK,
        vk::DriverId::MESA_NVK,
    ]
    .contains(&driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_beyond_what_vulkan_counts_is_the_longest() {
        assert_eq!(nanoseconds(Duration::from_millis(2)), 2_000_000);
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn driver_without_a_kernel_device_speaks_no_syncobj() {
        assert!(!speaks_syncobj(vk::DriverId::MESA_LLVMPIPE));
        assert!(!speaks_syncobj(vk::DriverId::NVIDIA_PROPRIETARY));
        assert!(speaks_syncobj(vk::DriverId::MESA_RADV));
    }
}
