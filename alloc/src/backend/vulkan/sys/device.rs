//! A Vulkan device with its queue, and the work that is still pending on it.

use std::any::Any;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ash::{ext, khr, vk};

use super::super::adopt::QueueLock;
use super::super::sync::{DeviceSync, RawFence, nanoseconds};
use super::physical::{DeviceProperties, Physical};

/// A device with one queue, and the functions of the extensions that dma-bufs require.
pub(crate) struct Device {
    pub(crate) physical: Physical,
    pub(crate) raw: ash::Device,
    pub(crate) memory_fd: khr::external_memory_fd::Device,
    pub(crate) modifier: ext::image_drm_format_modifier::Device,
    pub(crate) semaphore_fd: Option<khr::external_semaphore_fd::Device>,
    pub(crate) fence_fd: Option<khr::external_fence_fd::Device>,
    pub(crate) timeline: Option<TimelineFunctions>,
    pub(crate) sync: DeviceSync,
    /// Whether samplerYcbcrConversion is enabled.
    pub(crate) has_ycbcr: bool,
    pub(crate) family: u32,
    /// Whether the queue family supports graphics commands.
    pub(crate) has_graphics: bool,
    queue: Arc<dyn QueueLock>,
    /// Work whose values were dropped while the device still used their Vulkan objects. Each entry keeps an Arc of the device, so
    /// the list is empty when the device is dropped.
    pending: Mutex<Vec<PendingWork>>,
    /// Whether this crate created the device and has to destroy it. An application destroys its own device.
    is_owned: bool,
    /// The application's owner of the device. It is the last field, so that it is dropped last.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// The functions of timeline semaphores, whose names differ between VK_KHR_timeline_semaphore and Vulkan 1.2.
pub(crate) enum TimelineFunctions {
    /// The functions of Vulkan 1.2, in the device's own table.
    Core,
    /// The functions of VK_KHR_timeline_semaphore.
    Extension(khr::timeline_semaphore::Device),
}

/// The extensions and features that are enabled on a device.
pub(crate) struct EnabledOnDevice<'a> {
    pub(crate) extensions: &'a [&'a CStr],
    pub(crate) has_ycbcr: bool,
    pub(crate) timeline: Option<TimelineFunctions>,
    pub(crate) sync: DeviceSync,
}

/// A device and its queue.
pub(crate) struct DeviceAndQueue {
    pub(crate) raw: ash::Device,
    pub(crate) queue: Arc<dyn QueueLock>,
    pub(crate) family: u32,
    pub(crate) has_graphics: bool,
    pub(crate) owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// Objects that submitted work still uses, with the fence that is signalled when the work has finished.
pub(crate) struct PendingWork {
    pub(crate) completion: RawFence,
    pub(crate) _uses: Box<dyn Any + Send>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_owned {
            // SAFETY: every object of the device keeps an Arc of it, so all objects have been dropped; pending work keeps one
            // too, so none is left.
            unsafe { self.raw.destroy_device(None) };
        }
    }
}

impl Device {
    /// Creates a device with these extensions, which the physical device has.
    pub(crate) fn open(
        physical: &Physical,
        extensions: &[&CStr],
        properties: &DeviceProperties,
    ) -> Result<Arc<Self>, vk::Result> {
        let (family, has_graphics) = physical
            .queue_family()
            .ok_or(vk::Result::ERROR_INITIALIZATION_FAILED)?;
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family)
            .queue_priorities(&[1.0])];
        let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
        let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default()
            .sampler_ycbcr_conversion(properties.has_ycbcr);
        let mut timeline =
            vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
        let mut info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut ycbcr);
        let with = |name: &CStr| extensions.contains(&name);
        let with_timeline = with(khr::timeline_semaphore::NAME);
        if with_timeline {
            info = info.push_next(&mut timeline);
        }
        let instance = &physical.instance.raw;
        // SAFETY: the structures are complete and outlive the call; the physical device has the extensions and the features.
        let raw = unsafe { instance.create_device(physical.raw, &info, None) }?;
        // SAFETY: the device was created with one queue of this family.
        let queue = unsafe { raw.get_device_queue(family, 0) };
        let timeline = with_timeline.then(|| {
            TimelineFunctions::Extension(khr::timeline_semaphore::Device::new(instance, &raw))
        });
        let enabled_on_device = EnabledOnDevice {
            extensions,
            has_ycbcr: properties.has_ycbcr,
            timeline,
            sync: properties.sync,
        };
        let device_and_queue = DeviceAndQueue {
            raw,
            queue: Arc::new(Mutex::new(queue)),
            family,
            has_graphics,
            owner: None,
        };
        Ok(Self::assemble(
            physical,
            device_and_queue,
            enabled_on_device,
            true,
        ))
    }

    /// Wraps an application's device, which this crate never destroys.
    pub(crate) fn adopted(
        physical: &Physical,
        device_and_queue: DeviceAndQueue,
        enabled_on_device: EnabledOnDevice<'_>,
    ) -> Arc<Self> {
        Self::assemble(physical, device_and_queue, enabled_on_device, false)
    }

    /// Loads the function tables of the extensions that are enabled on the device.
    fn assemble(
        physical: &Physical,
        device_and_queue: DeviceAndQueue,
        enabled_on_device: EnabledOnDevice<'_>,
        is_owned: bool,
    ) -> Arc<Self> {
        let (instance, raw) = (&physical.instance.raw, device_and_queue.raw);
        let with = |name: &CStr| enabled_on_device.extensions.contains(&name);
        Arc::new(Self {
            memory_fd: khr::external_memory_fd::Device::new(instance, &raw),
            modifier: ext::image_drm_format_modifier::Device::new(instance, &raw),
            semaphore_fd: with(khr::external_semaphore_fd::NAME)
                .then(|| khr::external_semaphore_fd::Device::new(instance, &raw)),
            fence_fd: with(khr::external_fence_fd::NAME)
                .then(|| khr::external_fence_fd::Device::new(instance, &raw)),
            timeline: enabled_on_device.timeline,
            sync: enabled_on_device.sync,
            has_ycbcr: enabled_on_device.has_ycbcr,
            pending: Mutex::new(Vec::new()),
            physical: physical.clone(),
            raw,
            family: device_and_queue.family,
            has_graphics: device_and_queue.has_graphics,
            queue: device_and_queue.queue,
            is_owned,
            _owner: device_and_queue.owner,
        })
    }

    /// Calls `act` with the queue, under the queue's lock.
    pub(crate) fn on_queue<T>(
        &self,
        act: impl FnOnce(vk::Queue) -> Result<T, vk::Result>,
    ) -> Result<T, vk::Result> {
        let mut act = Some(act);
        let mut result = None;
        self.queue.with_queue(&mut |queue| {
            if let Some(act) = act.take() {
                result = Some(act(queue));
            }
        });
        // If the application's lock did not call `act`, no work was submitted.
        result.unwrap_or(Err(vk::Result::ERROR_UNKNOWN))
    }

    /// Keeps the objects of pending work until it has finished.
    pub(crate) fn keep(&self, pending: PendingWork) {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pending);
    }

    /// Destroys the objects of work that has finished.
    pub(crate) fn release_finished(&self) {
        let mut list = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // Work counts as finished if the query fails, because that means that the device is lost and executes nothing any more.
        let (busy, finished): (Vec<_>, Vec<_>) = std::mem::take(&mut *list)
            .into_iter()
            .partition(|pending| pending.completion.is_signalled() == Ok(false));
        *list = busy;
        drop(list);
        drop(finished);
    }

    /// Waits for the pending work and destroys its objects; returns `false` if some work has not finished after `timeout`.
    pub(crate) fn finish(&self, timeout: Duration) -> Result<bool, vk::Result> {
        let begun = Instant::now();
        let pending = {
            let mut list = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *list)
        };
        let mut all_finished = Ok(true);
        for one in pending {
            let left = timeout.saturating_sub(begun.elapsed());
            match one.completion.wait(nanoseconds(left)) {
                Ok(true) => drop(one),
                Ok(false) => {
                    all_finished = all_finished.map(|_| false);
                    self.keep(one);
                }
                // The device is lost, so the work has ended and its objects are destroyed.
                Err(error) => all_finished = Err(error),
            }
        }
        all_finished
    }

    /// Returns the bit mask of the memory types as which a dma-buf can be imported (vkGetMemoryFdPropertiesKHR).
    pub(crate) fn types_of_fd(&self, fd: BorrowedFd<'_>) -> Result<u32, vk::Result> {
        let mut properties = vk::MemoryFdPropertiesKHR::default();
        // SAFETY: the fd is an open dma-buf; the call does not take ownership of it.
        unsafe {
            self.memory_fd.get_memory_fd_properties(
                vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
                fd.as_raw_fd(),
                &mut properties,
            )
        }?;
        Ok(properties.memory_type_bits)
    }
}
