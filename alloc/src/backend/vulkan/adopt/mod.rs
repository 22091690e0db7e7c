//! The application's own instance, device and queue, on which a [`Gpu`] then works.

mod sys;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ash::vk;

use super::gpu::identity;
use super::requirement::{Capabilities, Enabled, Missing, Offered, missing_requirements};
use super::sys::{Given, Instance, Physical, Switched, TimelineFunctions};
use super::{Gpu, VulkanError};
pub use sys::check;

/// The lock of a queue that an application shares: vkQueueSubmit must not be called twice at once with one queue.
///
/// `Mutex<vk::Queue>` implements it. An application that has a lock of its own implements it so that `act` runs while that lock
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
    /// Calls `act` once with the queue, and lets nobody else use the queue until it returns.
    ///
    /// `act` calls vkQueueSubmit, and in one case vkQueueWaitIdle. It does not call back into the application.
    fn with_queue(&self, act: &mut dyn FnMut(vk::Queue));
}

impl QueueLock for Mutex<vk::Queue> {
    fn with_queue(&self, act: &mut dyn FnMut(vk::Queue)) {
        act(*self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What an application has made and keeps: see [`Gpu::adopt`].
pub struct ApplicationDevice<'a> {
    /// The instance.
    pub instance: ash::Instance,
    /// The physical device that the device is made of.
    pub physical_device: vk::PhysicalDevice,
    /// The device.
    pub device: ash::Device,
    /// A queue of the device, with the lock that everybody takes who uses the queue.
    pub queue: Arc<dyn QueueLock>,
    /// The family of the queue.
    pub queue_family: u32,
    /// What the instance and the device were made with.
    pub enabled: Enabled<'a>,
    /// Dropped when the last object that was made of the device is gone. An application that puts the owner of its device here
    /// need not order its drops. `None` where the application takes care of that itself.
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

/// Makes the one error that lists everything that is missing.
///
/// # Errors
/// [`VulkanError::Missing`].
fn require(
    wanted: Capabilities,
    enabled: &Enabled<'_>,
    offered: &Offered,
) -> Result<(), VulkanError> {
    let missing = missing_requirements(wanted, enabled, offered);
    if missing.is_empty() {
        return Ok(());
    }
    Err(VulkanError::Missing {
        device: offered.name.clone(),
        missing,
    })
}

/// The lines of an error, one for each thing that is missing.
pub(super) fn lines(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|one| format!("\n  {one}"))
        .collect::<Vec<_>>()
        .concat()
}

/// Wraps what an application has. The handles are valid, as [`Gpu::adopt`] asks for.
fn adopted(
    application: ApplicationDevice<'_>,
    wanted: Capabilities,
    offered: &Offered,
) -> Result<Gpu, VulkanError> {
    let enabled = application.enabled;
    require(wanted, &enabled, offered)?;
    let physical = Physical {
        instance: Instance::adopted(application.instance),
        raw: application.physical_device,
    };
    let device = || offered.name.clone();
    let family = application.queue_family;
    let does = physical
        .family(family)
        .ok_or_else(|| VulkanError::Unusable {
            device: device(),
            why: format!("it has no queue family {family}; pass the family of the queue"),
        })?;
    let draws = does.contains(vk::QueueFlags::GRAPHICS);
    if !draws && !does.intersects(vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER) {
        return Err(VulkanError::Unusable {
            device: device(),
            why: format!(
                "queues of family {family} copy no images; pass one that draws, computes or copies"
            ),
        });
    }
    let version = enabled.api_version.min(offered.api_version);
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
    let mut facts = physical.facts(&offered.extensions);
    // What the driver has and the application has not enabled is of no use here.
    facts.moments = physical.device_sync(
        &|name| names.contains(&name),
        timeline.is_some(),
        facts.speaks_syncobj,
    );
    let (identity, import) = identity(&facts, &offered.extensions);
    let switched = Switched {
        extensions: names,
        has_ycbcr: enabled.features.sampler_ycbcr_conversion,
        timeline,
        moments: facts.moments,
    };
    let given = Given {
        raw: application.device,
        queue: application.queue,
        family,
        draws,
        owner: application.owner,
    };
    let device = super::sys::Device::adopted(&physical, given, switched);
    let has_foreign = names.contains(&ash::ext::queue_family_foreign::NAME);
    Ok(Gpu::of(device, facts, identity, import, has_foreign))
}

impl Gpu {
    /// Waits until the device has finished everything that was dropped while the device used it, and gives that back; `false`
    /// when something is still in use when `patience` is over.
    ///
    /// An application calls it before it destroys a device that it lent by [`Gpu::adopt`]: a value such as
    /// [`Submitted`](super::Submitted) that is dropped early leaves its fence and its memory with the device until then.
    ///
    /// # Errors
    /// [`VulkanError::Call`], such as for a device that is lost. Everything was given back then too.
    pub fn finish(&self, patience: Duration) -> Result<bool, VulkanError> {
        self.device()
            .finish(patience)
            .map_err(self.failed("vkWaitForFences of what was dropped early"))
    }
}
