//! Makes a [`Gpu`] of an application's own Vulkan instance, device and queue.

mod sys;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ash::vk;

use super::gpu::identity;
use super::requirement::{Capabilities, Enabled, Missing, Supported, missing_requirements};
use super::sys::{DeviceAndQueue, EnabledOnDevice, Instance, Physical, TimelineFunctions};
use super::{Gpu, VulkanError};
pub use sys::check;

/// The lock of a queue that an application shares with this crate: vkQueueSubmit requires external synchronization of the queue.
///
/// `Mutex<vk::Queue>` implements this trait. An application with another lock implements it such that `act` runs while the lock
/// is held.
///
/// ```
/// use covalent_alloc::backend::vulkan::QueueLock;
/// use covalent_alloc::backend::vulkan::ash::vk;
///
/// struct Engine {
///     frame_lock: std::sync::Mutex<()>,
///     queue: vk::Queue,
/// }
///
/// impl QueueLock for Engine {
///     fn with_queue(&self, act: &mut dyn FnMut(vk::Queue)) {
///         let _held = self.frame_lock.lock().unwrap();
///         act(self.queue);
///     }
/// }
/// ```
///
/// # References
/// Vulkan, "Threading Behavior"; vkQueueSubmit, "Host access to queue must be externally synchronized".
pub trait QueueLock: Send + Sync {
    /// Calls `act` once with the queue, and excludes other uses of the queue until it returns.
    ///
    /// `act` calls vkQueueSubmit, and, if the submission of the fence fails after the work was submitted, vkQueueWaitIdle. It
    /// does not call back into the application.
    fn with_queue(&self, act: &mut dyn FnMut(vk::Queue));
}

impl QueueLock for Mutex<vk::Queue> {
    fn with_queue(&self, act: &mut dyn FnMut(vk::Queue)) {
        act(*self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The Vulkan objects of an application, for [`Gpu::adopt`]. The application continues to own them.
pub struct ApplicationDevice<'a> {
    /// The instance of the application.
    pub instance: ash::Instance,
    /// The physical device from which the device was created.
    pub physical_device: vk::PhysicalDevice,
    /// The device of the application.
    pub device: ash::Device,
    /// A queue of the device, with the lock that every user of the queue takes.
    pub queue: Arc<dyn QueueLock>,
    /// The queue family of the queue.
    pub queue_family: u32,
    /// The extensions and features that are enabled in the instance and the device.
    pub enabled: Enabled<'a>,
    /// A value that owns the instance and the device. It is dropped after the last object that was created from the device, so an
    /// application that passes it need not drop the objects first. `None` if the application itself destroys the device last.
    pub owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for ApplicationDevice<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ApplicationDevice")
            .field("queue_family", &self.queue_family)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// Checks that everything that `wanted` requires is enabled, and returns one error that lists everything that is missing.
///
/// # Errors
/// [`VulkanError::Missing`].
fn require(
    wanted: Capabilities,
    enabled: &Enabled<'_>,
    supported: &Supported,
) -> Result<(), VulkanError> {
    let missing = missing_requirements(wanted, enabled, supported);
    if missing.is_empty() {
        return Ok(());
    }
    Err(VulkanError::Missing {
        device: supported.name.clone(),
        missing,
    })
}

/// Returns the list of missing requirements for an error message, each on a line of its own.
pub(super) fn missing_list(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|one| format!("\n  {one}"))
        .collect::<Vec<_>>()
        .concat()
}

/// Wraps an application's device. The handles are valid, as [`Gpu::adopt`] requires.
fn adopted(
    application: ApplicationDevice<'_>,
    wanted: Capabilities,
    supported: &Supported,
) -> Result<Gpu, VulkanError> {
    let enabled = application.enabled;
    require(wanted, &enabled, supported)?;
    let physical = Physical {
        instance: Instance::adopted(application.instance),
        raw: application.physical_device,
    };
    let device = || supported.name.clone();
    let family = application.queue_family;
    let flags = physical
        .family(family)
        .ok_or_else(|| VulkanError::Unusable {
            device: device(),
            why: format!(
                "the device has no queue family {family}; pass the queue family from which the queue was created"
            ),
        })?;
    let has_graphics = flags.contains(vk::QueueFlags::GRAPHICS);
    if !has_graphics && !flags.intersects(vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER) {
        return Err(VulkanError::Unusable {
            device: device(),
            why: format!(
                "queue family {family} cannot copy images; pass a queue with graphics, compute or transfer"
            ),
        });
    }
    let version = enabled.api_version.min(supported.api_version);
    let names = enabled.device_extensions;
    let timeline = if !enabled.features.timeline_semaphore {
        None
    } else if names.contains(&ash::khr::timeline_semaphore::NAME) {
        Some(TimelineFunctions::Extension(
            ash::khr::timeline_semaphore::Device::new(&physical.instance.raw, &application.device),
        ))
    } else if version >= vk::API_VERSION_1_2 {
        Some(TimelineFunctions::Core)
    } else {
        None
    };
    let mut properties = physical.properties(&supported.extensions);
    // An extension that the driver supports cannot be used if the application has not enabled it.
    properties.sync = physical.device_sync(
        &|name| names.contains(&name),
        timeline.is_some(),
        properties.has_syncobj_timelines,
    );
    let (identity, import) = identity(&properties, &supported.extensions);
    let enabled_on_device = EnabledOnDevice {
        extensions: names,
        has_ycbcr: enabled.features.sampler_ycbcr_conversion,
        timeline,
        sync: properties.sync,
    };
    let device_and_queue = DeviceAndQueue {
        raw: application.device,
        queue: application.queue,
        family,
        has_graphics,
        owner: application.owner,
    };
    let device = super::sys::Device::adopted(&physical, device_and_queue, enabled_on_device);
    let has_foreign = names.contains(&ash::ext::queue_family_foreign::NAME);
    Ok(Gpu::of(device, properties, identity, import, has_foreign))
}

impl Gpu {
    /// Waits for submitted work whose objects were dropped before it finished, and then destroys these objects; returns `false`
    /// if some of the work has not finished after `timeout`.
    ///
    /// An application calls this before it destroys a device that it passed to [`Gpu::adopt`]: if a value such as
    /// [`Submitted`](super::Submitted) is dropped before the work has finished, its Vulkan objects exist until then.
    ///
    /// # Errors
    /// [`VulkanError::Call`], for example for a lost device. The objects are destroyed in that case too.
    pub fn finish(&self, timeout: Duration) -> Result<bool, VulkanError> {
        self.device()
            .finish(timeout)
            .map_err(self.failed("vkWaitForFences (pending work)"))
    }
}
