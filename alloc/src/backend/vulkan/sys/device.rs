//! A device with its queue, and what it still uses.

use std::any::Any;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use ash::{ext, khr, vk};

use super::super::sync::{Moments, RawFence};
use super::physical::{Facts, Physical};
/// A device with one queue, and the functions of the extensions that dma-bufs need.
pub(crate) struct Device {
    pub(crate) physical: Physical,
    pub(crate) raw: ash::Device,
    pub(crate) memory_fd: khr::external_memory_fd::Device,
    pub(crate) modifier: ext::image_drm_format_modifier::Device,
    pub(crate) semaphore_fd: Option<khr::external_semaphore_fd::Device>,
    pub(crate) fence_fd: Option<khr::external_fence_fd::Device>,
    pub(crate) timeline: Option<khr::timeline_semaphore::Device>,
    pub(crate) moments: Moments,
    pub(crate) family: u32,
    /// Whether queues of this family draw.
    pub(crate) draws: bool,
    pub(crate) queue: Mutex<vk::Queue>,
    /// What was dropped while the device used it. Each holds an Arc of the device, so nothing of it is left when that goes.
    kept: Mutex<Vec<Kept>>,
}

/// What a device still uses, and how it is known when it does not any more.
pub(crate) struct Kept {
    pub(crate) last: RawFence,
    pub(crate) _uses: Box<dyn Any + Send>,
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: whatever was made of the device holds an Arc of it, and is gone; so is all work, which is waited for.
        unsafe { self.raw.destroy_device(None) };
    }
}

impl Device {
    /// Opens a device with these extensions, which it has.
    pub(crate) fn open(
        physical: &Physical,
        extensions: &[&CStr],
        facts: &Facts,
    ) -> Result<Arc<Self>, vk::Result> {
        let (family, draws) = physical
            .queue_family()
            .ok_or(vk::Result::ERROR_INITIALIZATION_FAILED)?;
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family)
            .queue_priorities(&[1.0])];
        let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
        let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default()
            .sampler_ycbcr_conversion(facts.has_ycbcr);
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
        // SAFETY: the structures are complete and outlive the call; the extensions and the features are there.
        let raw = unsafe { instance.create_device(physical.raw, &info, None) }?;
        // SAFETY: the device was made with one queue of this family.
        let queue = unsafe { raw.get_device_queue(family, 0) };
        Ok(Arc::new(Self {
            memory_fd: khr::external_memory_fd::Device::new(instance, &raw),
            modifier: ext::image_drm_format_modifier::Device::new(instance, &raw),
            semaphore_fd: with(khr::external_semaphore_fd::NAME)
                .then(|| khr::external_semaphore_fd::Device::new(instance, &raw)),
            fence_fd: with(khr::external_fence_fd::NAME)
                .then(|| khr::external_fence_fd::Device::new(instance, &raw)),
            timeline: with_timeline.then(|| khr::timeline_semaphore::Device::new(instance, &raw)),
            moments: facts.moments,
            kept: Mutex::new(Vec::new()),
            physical: physical.clone(),
            raw,
            family,
            draws,
            queue: Mutex::new(queue),
        }))
    }

    /// Keeps what is in use until it is not.
    pub(crate) fn keep(&self, kept: Kept) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
    }

    /// Gives back what is not in use any more.
    pub(crate) fn sweep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // An error is of a device that is lost: nothing of it works any more.
        let (busy, over): (Vec<_>, Vec<_>) = std::mem::take(&mut *kept)
            .into_iter()
            .partition(|kept| kept.last.is_signalled() == Ok(false));
        *kept = busy;
        drop(kept);
        drop(over);
    }

    /// The memory types as which a dma-buf can be imported, a bit each.
    pub(crate) fn types_of_fd(&self, fd: BorrowedFd<'_>) -> Result<u32, vk::Result> {
        let mut properties = vk::MemoryFdPropertiesKHR::default();
        // SAFETY: the fd is open and a dma-buf; the call does not take it.
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
