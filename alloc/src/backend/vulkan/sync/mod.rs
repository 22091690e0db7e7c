//! Semaphores, fences and timelines of a Vulkan device: import from and export to sync_files, and sharing between processes.
//!
//! | object | imported by | exported by |
//! | --- | --- | --- |
//! | [`Semaphore`] | [`Submission::wait_fences`], from a sync_file | [`Submitted::export`], to a sync_file |
//! | [`DeviceFence`] | [`Gpu::fence_from_sync_file`], from a sync_file | [`DeviceFence::export`], to a sync_file |
//! | [`DeviceTimeline`] | [`Gpu::import_timeline`], from an fd of the same driver, or a syncobj if the driver's timelines are syncobjs | [`DeviceTimeline::export`] |
//!
//! If the driver's timelines are not syncobjs, a point of a syncobj is converted to and from a sync_file, which every driver can
//! import and export ([`Point::fence`](crate::sync::Point::fence), [`Point::set_fence`](crate::sync::Point::set_fence)).
//!
//! A driver that renders on the CPU creates a sync_file only when the work has finished: lavapipe blocks in the export and
//! returns a sync_file that is signalled already. [`Gpu::exports_wait`] reports this. A program with an event loop then calls
//! [`Submitted::wait`] on another thread before the export.

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

/// The imports and exports of semaphores and fences, and the sharing of timelines, that a device supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSync {
    /// Semaphores import sync_files.
    pub semaphore_from_sync_file: bool,
    /// Semaphores can be exported as sync_files.
    pub semaphore_to_sync_file: bool,
    /// Fences import sync_files.
    pub fence_from_sync_file: bool,
    /// Fences can be exported as sync_files.
    pub fence_to_sync_file: bool,
    /// The device has timeline semaphores.
    pub timeline: bool,
    /// Timeline semaphores can be shared with other processes that use the same driver.
    pub timeline_shared: bool,
    /// Shared timeline semaphores are DRM syncobjs, which other drivers can import too.
    pub timeline_is_syncobj: bool,
}

impl Gpu {
    /// Returns which imports and exports of semaphores and fences, and which sharing of timelines, the device supports.
    #[must_use]
    pub fn device_sync(&self) -> DeviceSync {
        self.device().sync
    }

    /// Returns whether an export of a sync_file blocks until the work has finished, as with drivers that render on the CPU.
    ///
    /// An event loop must not export from such a device before the work has finished.
    #[must_use]
    pub fn exports_wait(&self) -> bool {
        self.is_cpu()
    }

    /// Makes the error for a feature that the device lacks.
    fn lacks(&self, what: &str) -> VulkanError {
        VulkanError::Lacks {
            device: self.name().to_owned(),
            lacks: what.to_owned(),
        }
    }

    /// Returns an error if the device lacks an ability.
    fn needs(&self, ability: bool, what: &str) -> Result<(), VulkanError> {
        if ability {
            Ok(())
        } else {
            Err(self.lacks(what))
        }
    }
}

/// Exports the payload of a semaphore or fence as a sync_file; `None` if the payload is already signalled. Each submitted signal
/// can be exported once. `export` calls the driver, and `call` is the name of the Vulkan function for errors.
fn export_payload(
    gpu: &Gpu,
    signal_submitted: &mut bool,
    call: &'static str,
    give: impl FnOnce() -> Result<Option<OwnedFd>, vk::Result>,
) -> Result<Option<Fence>, VulkanError> {
    if !std::mem::take(signal_submitted) {
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

/// Converts a timeout to Vulkan's nanoseconds.
pub(super) fn nanoseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether the opaque fds of a driver's timeline semaphores are DRM syncobjs.
///
/// Vulkan does not specify what an opaque fd refers to. Mesa's drivers for hardware with a DRM device export syncobjs, and
/// compositors rely on that.
///
/// # References
/// Mesa, `src/vulkan/runtime/vk_drm_syncobj.c`.
pub(super) fn has_syncobj_timelines(driver: vk::DriverId) -> bool {
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
    fn timeout_larger_than_vulkan_can_express_is_clamped() {
        assert_eq!(nanoseconds(Duration::from_millis(2)), 2_000_000);
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn driver_without_a_drm_device_has_no_syncobj_timelines() {
        assert!(!has_syncobj_timelines(vk::DriverId::MESA_LLVMPIPE));
        assert!(!has_syncobj_timelines(vk::DriverId::NVIDIA_PROPRIETARY));
        assert!(has_syncobj_timelines(vk::DriverId::MESA_RADV));
    }
}
