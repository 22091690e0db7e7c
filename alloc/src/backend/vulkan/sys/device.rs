//! A device with its queue, and what it still uses.

use std::any::Any;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ash::{ext, khr, vk};

use super::super::adopt::QueueLock;
use super::super::sync::{DeviceSync, RawFence, nanoseconds};
use super::physical::{Facts, Physical};

/// A device with one queue, and the functions of the extensions that dma-bufs need.
pub(crate) struct Device {
    pub(crate) physical: Physical,
    pub(crate) raw: ash::Device,
    pub(crate) memory_fd: khr::external_memory_fd::Device,
    pub(crate) modifier: ext::image_drm_format_modifier::Device,
    pub(crate) semaphore_fd: Option<khr::external_semaphore_fd::Device>,
    pub(crate) fence_fd: Option<khr::external_fence_fd::Device>,
    pub(crate) timeline: Option<TimelineFunctions>,
    pub(crate) moments: DeviceSync,
    /// Whether samplers that convert from Y'CbCr are switched on.
    pub(crate) has_ycbcr: bool,
    pub(crate) family: u32,
    /// Whether queues of this family draw.
    pub(crate) draws: bool,
    queue: Arc<dyn QueueLock>,
    /// What was dropped while the device used it. Each holds an Arc of the device, so nothing of it is left when that goes.
    kept: Mutex<Vec<Kept>>,
    /// Whether the device was made here; the application destroys its own.
    is_owned: bool,
    /// What the application keeps alive as long as this value. Declared last, so that it goes last.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// Where the functions of timelines are: an extension's have other names than those of Vulkan 1.2.
pub(crate) enum TimelineFunctions {
    /// The device's own, of Vulkan 1.2.
    Core,
    /// Those of VK_KHR_timeline_semaphore.
    Extension(khr::timeline_semaphore::Device),
}

/// What is switched on in a device.
pub(crate) struct Switched<'a> {
    pub(crate) extensions: &'a [&'a CStr],
    pub(crate) has_ycbcr: bool,
    pub(crate) timeline: Option<TimelineFunctions>,
    pub(crate) moments: DeviceSync,
}

/// The application's device and queue.
pub(crate) struct Given {
    pub(crate) raw: ash::Device,
    pub(crate) queue: Arc<dyn QueueLock>,
    pub(crate) family: u32,
    pub(crate) draws: bool,
    pub(crate) owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a device still uses, and how it is known when it does not any more.
pub(crate) struct Kept {
    pub(crate) last: RawFence,
    pub(crate) _uses: Box<dyn Any + Send>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_owned {
            // SAFETY: whatever was made of the device holds an Arc of it, and is gone; so is all work, which is waited for.
            unsafe { self.raw.destroy_device(None) };
        }
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
        let timeline = with_timeline.then(|| {
            TimelineFunctions::Extension(khr::timeline_semaphore::Device::new(instance, &raw))
        });
        let switched = Switched {
            extensions,
            has_ycbcr: facts.has_ycbcr,
            timeline,
            moments: facts.moments,
        };
        let given = Given {
            raw,
            queue: Arc::new(Mutex::new(queue)),
            family,
            draws,
            owner: None,
        };
        Ok(Self::assemble(physical, given, switched, true))
    }

    /// Wraps the application's device, which is never destroyed here.
    pub(crate) fn adopted(physical: &Physical, given: Given, switched: Switched<'_>) -> Arc<Self> {
        Self::assemble(physical, given, switched, false)
    }

    fn assemble(
        physical: &Physical,
        given: Given,
        switched: Switched<'_>,
        is_owned: bool,
    ) -> Arc<Self> {
        let (instance, raw) = (&physical.instance.raw, given.raw);
        let with = |name: &CStr| switched.extensions.contains(&name);
        Arc::new(Self {
            memory_fd: khr::external_memory_fd::Device::new(instance, &raw),
            modifier: ext::image_drm_format_modifier::Device::new(instance, &raw),
            semaphore_fd: with(khr::external_semaphore_fd::NAME)
                .then(|| khr::external_semaphore_fd::Device::new(instance, &raw)),
            fence_fd: with(khr::external_fence_fd::NAME)
                .then(|| khr::external_fence_fd::Device::new(instance, &raw)),
            timeline: switched.timeline,
            moments: switched.moments,
            has_ycbcr: switched.has_ycbcr,
            kept: Mutex::new(Vec::new()),
            physical: physical.clone(),
            raw,
            family: given.family,
            draws: given.draws,
            queue: given.queue,
            is_owned,
            _owner: given.owner,
        })
    }

    /// Does something with the queue while nobody else uses it.
    pub(crate) fn on_queue<T>(
        &self,
        act: impl FnOnce(vk::Queue) -> Result<T, vk::Result>,
    ) -> Result<T, vk::Result> {
        let mut act = Some(act);
        let mut answer = None;
        self.queue.with_queue(&mut |queue| {
            if let Some(act) = act.take() {
                answer = Some(act(queue));
            }
        });
        // An application's lock that calls nothing has submitted nothing.
        answer.unwrap_or(Err(vk::Result::ERROR_UNKNOWN))
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

    /// Waits until nothing is kept any more, and gives it back; `false` when something is still in use by then.
    pub(crate) fn finish(&self, patience: Duration) -> Result<bool, vk::Result> {
        let begun = Instant::now();
        let kept = {
            let mut list = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *list)
        };
        let mut answer = Ok(true);
        for one in kept {
            let left = patience.saturating_sub(begun.elapsed());
            match one.last.wait(nanoseconds(left)) {
                Ok(true) => drop(one),
                Ok(false) => {
                    answer = answer.map(|_| false);
                    self.keep(one);
                }
                // A device that is lost uses nothing any more.
                Err(error) => answer = Err(error),
            }
        }
        answer
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
