//! The loader, an instance and a device: everything of Vulkan that is asked before an image is made.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::any::Any;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use ash::{ext, khr, vk};

use super::sync::{Moments, RawFence, speaks_syncobj};
use super::validation::{Complaints, LAYER, Listening, Switches};

/// The loader with one instance.
pub(super) struct Instance {
    // Keeps the library loaded.
    _entry: ash::Entry,
    raw: ash::Instance,
    listening: Option<Listening>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.end();
        }
        // SAFETY: whatever was made of the instance holds an Arc of it, and is gone.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// Why there is no instance.
pub(super) enum NoInstance {
    /// The loader is not on this machine.
    Loader(ash::LoadingError),
    /// The loader is of Vulkan 1.0.
    Old,
    /// The validation layer was asked for and is not on this machine.
    NoLayer,
    /// A call failed.
    Call(vk::Result),
}

impl Instance {
    /// Loads the machine's Vulkan loader, and makes an instance of Vulkan 1.1: without layers and extensions, or with the
    /// validation layer, whose complaints go to a list.
    pub(super) fn new(complaints: Option<&Complaints>) -> Result<Arc<Self>, NoInstance> {
        // SAFETY: the library is the system's loader by its fixed name, trusted as any library that a program links.
        let entry = unsafe { ash::Entry::load() }.map_err(NoInstance::Loader)?;
        // SAFETY: the entry is loaded.
        let version =
            unsafe { entry.try_enumerate_instance_version() }.map_err(NoInstance::Call)?;
        if version.is_none_or(|version| version < vk::API_VERSION_1_1) {
            return Err(NoInstance::Old);
        }
        let application = vk::ApplicationInfo::default()
            .application_name(c"covalent")
            .api_version(vk::API_VERSION_1_1);
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        let mut switches = complaints.map(Switches::new);
        let layers = [LAYER.as_ptr()];
        let extensions = Switches::EXTENSIONS.map(CStr::as_ptr);
        if let Some(switches) = &mut switches {
            if !has_layer(&entry).map_err(NoInstance::Call)? {
                return Err(NoInstance::NoLayer);
            }
            info = info
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions)
                .push_next(&mut switches.features)
                .push_next(&mut switches.messenger);
        }
        // SAFETY: the structures are complete and outlive the call.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(NoInstance::Call)?;
        let mut instance = Self {
            raw,
            listening: None,
            _entry: entry,
        };
        if let Some(complaints) = complaints {
            let listening = Listening::new(&instance._entry, &instance.raw, complaints.clone());
            instance.listening = Some(listening.map_err(NoInstance::Call)?);
        }
        Ok(Arc::new(instance))
    }
}

fn has_layer(entry: &ash::Entry) -> Result<bool, vk::Result> {
    // SAFETY: the entry is loaded.
    let listed = unsafe { entry.enumerate_instance_layer_properties() }?;
    Ok(listed
        .iter()
        .any(|layer| layer.layer_name_as_c_str() == Ok(LAYER)))
}

/// What a physical device says of itself.
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) api_version: u32,
    pub(super) uuid: [u8; 16],
    pub(super) is_processor: bool,
    /// Major and minor number of its primary and its render node, where it has them.
    pub(super) primary: Option<(u32, u32)>,
    pub(super) render: Option<(u32, u32)>,
    pub(super) has_ycbcr: bool,
    pub(super) moments: Moments,
}

/// What a physical device does with images of one kind.
#[derive(Clone)]
pub(super) struct ImageSupport {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) memory: vk::ExternalMemoryFeatureFlags,
}

/// One kind of image.
#[derive(Clone, Copy)]
pub(super) struct ImageKind {
    pub(super) format: vk::Format,
    pub(super) modifier: u64,
    pub(super) usage: vk::ImageUsageFlags,
    pub(super) flags: vk::ImageCreateFlags,
}

/// A GPU, or a driver that does its work on the processor.
#[derive(Clone)]
pub(super) struct Physical {
    instance: Arc<Instance>,
    raw: vk::PhysicalDevice,
}

impl Physical {
    pub(super) fn list(instance: &Arc<Instance>) -> Result<Vec<Self>, vk::Result> {
        // SAFETY: the instance lives.
        let found = unsafe { instance.raw.enumerate_physical_devices() }?;
        Ok(found
            .into_iter()
            .map(|raw| Self {
                instance: Arc::clone(instance),
                raw,
            })
            .collect())
    }

    pub(super) fn extensions(&self) -> Result<BTreeSet<CString>, vk::Result> {
        // SAFETY: the physical device is of this instance.
        let listed = unsafe {
            self.instance
                .raw
                .enumerate_device_extension_properties(self.raw)
        }?;
        Ok(listed
            .iter()
            .filter_map(|extension| extension.extension_name_as_c_str().ok())
            .map(CStr::to_owned)
            .collect())
    }

    /// Asks who it is; `extensions` are those that it has.
    pub(super) fn facts(&self, extensions: &BTreeSet<CString>) -> Facts {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut identity = vk::PhysicalDeviceIDProperties::default();
        let mut nodes = vk::PhysicalDeviceDrmPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut identity);
        let has = |name: &CStr| extensions.contains(name);
        // Core since 1.2; as an extension before.
        let names_driver = has(khr::driver_properties::NAME);
        if names_driver {
            properties = properties.push_next(&mut driver);
        }
        let names_nodes = has(ext::physical_device_drm::NAME);
        if names_nodes {
            properties = properties.push_next(&mut nodes);
        }
        // SAFETY: the chain holds structures of Vulkan 1.1 and of extensions that the device has.
        unsafe {
            self.instance
                .raw
                .get_physical_device_properties2(self.raw, &mut properties);
        }
        let plain = properties.properties;
        let text = |words: Result<&CStr, std::ffi::FromBytesUntilNulError>| {
            words.map_or_else(
                |_| String::new(),
                |words| words.to_string_lossy().into_owned(),
            )
        };
        let number = |present: vk::Bool32, major: i64, minor: i64| {
            let there = names_nodes && present == vk::TRUE;
            there
                .then(|| Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?)))
                .flatten()
        };
        let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default();
        let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut ycbcr);
        if has(khr::timeline_semaphore::NAME) {
            features = features.push_next(&mut timeline);
        }
        // SAFETY: the chain holds structures of Vulkan 1.1 and of an extension that the device has.
        unsafe {
            self.instance
                .raw
                .get_physical_device_features2(self.raw, &mut features);
        }
        Facts {
            name: text(plain.device_name_as_c_str()),
            driver: text(driver.driver_name_as_c_str()),
            api_version: plain.api_version,
            uuid: identity.device_uuid,
            is_processor: plain.device_type == vk::PhysicalDeviceType::CPU,
            primary: number(nodes.has_primary, nodes.primary_major, nodes.primary_minor),
            render: number(nodes.has_render, nodes.render_major, nodes.render_minor),
            has_ycbcr: ycbcr.sampler_ycbcr_conversion == vk::TRUE,
            moments: self.moments(
                &has,
                timeline.timeline_semaphore == vk::TRUE,
                names_driver && speaks_syncobj(driver.driver_id),
            ),
        }
    }

    /// Asks in which files its moments travel.
    fn moments(
        &self,
        has: &impl Fn(&CStr) -> bool,
        timeline: bool,
        timeline_is_syncobj: bool,
    ) -> Moments {
        let mut moments = Moments {
            timeline,
            ..Moments::default()
        };
        if has(khr::external_semaphore_fd::NAME) {
            let sync_file = vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;
            let binary = self.semaphore_features(sync_file, false);
            moments.semaphore_from_sync_file =
                binary.contains(vk::ExternalSemaphoreFeatureFlags::IMPORTABLE);
            moments.semaphore_to_sync_file =
                binary.contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE);
            let opaque = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
            let both = vk::ExternalSemaphoreFeatureFlags::IMPORTABLE
                | vk::ExternalSemaphoreFeatureFlags::EXPORTABLE;
            moments.timeline_shared =
                timeline && self.semaphore_features(opaque, true).contains(both);
            moments.timeline_is_syncobj = moments.timeline_shared && timeline_is_syncobj;
        }
        if has(khr::external_fence_fd::NAME) {
            let info = vk::PhysicalDeviceExternalFenceInfo::default()
                .handle_type(vk::ExternalFenceHandleTypeFlags::SYNC_FD);
            let mut found = vk::ExternalFenceProperties::default();
            // SAFETY: both structures are of Vulkan 1.1 and outlive the call.
            unsafe {
                self.instance
                    .raw
                    .get_physical_device_external_fence_properties(self.raw, &info, &mut found);
            }
            let features = found.external_fence_features;
            moments.fence_from_sync_file =
                features.contains(vk::ExternalFenceFeatureFlags::IMPORTABLE);
            moments.fence_to_sync_file =
                features.contains(vk::ExternalFenceFeatureFlags::EXPORTABLE);
        }
        moments
    }

    fn semaphore_features(
        &self,
        handle: vk::ExternalSemaphoreHandleTypeFlags,
        is_timeline: bool,
    ) -> vk::ExternalSemaphoreFeatureFlags {
        let mut numbered =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let mut info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(handle);
        if is_timeline {
            info = info.push_next(&mut numbered);
        }
        let mut found = vk::ExternalSemaphoreProperties::default();
        // SAFETY: the chain holds structures of Vulkan 1.1 and of an extension that the device has, and outlives the call.
        unsafe {
            self.instance
                .raw
                .get_physical_device_external_semaphore_properties(self.raw, &info, &mut found);
        }
        found.external_semaphore_features
    }

    /// Lists the arrangements of a format. The device has VK_EXT_image_drm_format_modifier.
    pub(super) fn modifiers(&self, format: vk::Format) -> Vec<vk::DrmFormatModifierPropertiesEXT> {
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default();
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: without an array the call only counts.
        unsafe {
            self.instance.raw.get_physical_device_format_properties2(
                self.raw,
                format,
                &mut properties,
            );
        }
        let count = usize::try_from(list.drm_format_modifier_count).unwrap_or(0);
        let mut found = vec![vk::DrmFormatModifierPropertiesEXT::default(); count];
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default()
            .drm_format_modifier_properties(&mut found);
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: the array has as many entries as the structure says, and outlives the call.
        unsafe {
            self.instance.raw.get_physical_device_format_properties2(
                self.raw,
                format,
                &mut properties,
            );
        }
        let written = usize::try_from(list.drm_format_modifier_count).unwrap_or(0);
        found.truncate(written);
        found
    }

    /// Asks for images of one kind in dma-bufs; `None` where the device has none.
    pub(super) fn image_support(
        &self,
        kind: ImageKind,
    ) -> Result<Option<ImageSupport>, vk::Result> {
        let mut modifier = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default()
            .drm_format_modifier(kind.modifier)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default()
            .handle_type(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
        let info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(kind.format)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(kind.usage)
            .flags(kind.flags)
            .push_next(&mut modifier)
            .push_next(&mut external);
        let mut memory = vk::ExternalImageFormatProperties::default();
        let mut properties = vk::ImageFormatProperties2::default().push_next(&mut memory);
        // SAFETY: the chains hold structures of Vulkan 1.1 and of an extension that the device has, and outlive the call.
        let answer = unsafe {
            self.instance
                .raw
                .get_physical_device_image_format_properties2(self.raw, &info, &mut properties)
        };
        match answer {
            Ok(()) => {}
            Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) => return Ok(None),
            Err(error) => return Err(error),
        }
        let largest = properties.image_format_properties.max_extent;
        Ok(Some(ImageSupport {
            width: largest.width,
            height: largest.height,
            memory: memory.external_memory_properties.external_memory_features,
        }))
    }

    /// What each memory type is.
    pub(super) fn memory_types(&self) -> Vec<vk::MemoryPropertyFlags> {
        // SAFETY: the physical device is of this instance.
        let properties = unsafe {
            self.instance
                .raw
                .get_physical_device_memory_properties(self.raw)
        };
        properties
            .memory_types_as_slice()
            .iter()
            .map(|kind| kind.property_flags)
            .collect()
    }

    /// The first family of queues that draws, and else the first that copies images whole; and whether it draws.
    fn queue_family(&self) -> Option<(u32, bool)> {
        // SAFETY: the physical device is of this instance.
        let families = unsafe {
            self.instance
                .raw
                .get_physical_device_queue_family_properties(self.raw)
        };
        let first = |does: vk::QueueFlags| {
            families
                .iter()
                .position(|family| family.queue_flags.intersects(does) && family.queue_count > 0)
        };
        let copies = vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
        let draws = first(vk::QueueFlags::GRAPHICS);
        let family = draws.or_else(|| first(copies))?;
        Some((u32::try_from(family).ok()?, draws.is_some()))
    }
}

/// A device with one queue, and the functions of the extensions that dma-bufs need.
pub(super) struct Device {
    pub(super) physical: Physical,
    pub(super) raw: ash::Device,
    pub(super) memory_fd: khr::external_memory_fd::Device,
    pub(super) modifier: ext::image_drm_format_modifier::Device,
    pub(super) semaphore_fd: Option<khr::external_semaphore_fd::Device>,
    pub(super) fence_fd: Option<khr::external_fence_fd::Device>,
    pub(super) timeline: Option<khr::timeline_semaphore::Device>,
    pub(super) moments: Moments,
    pub(super) family: u32,
    /// Whether queues of this family draw.
    pub(super) draws: bool,
    pub(super) queue: Mutex<vk::Queue>,
    /// What was dropped while the device used it. Each holds an Arc of the device, so nothing of it is left when that goes.
    kept: Mutex<Vec<Kept>>,
}

/// What a device still uses, and how it is known when it does not any more.
pub(super) struct Kept {
    pub(super) last: RawFence,
    pub(super) _uses: Box<dyn Any + Send>,
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: whatever was made of the device holds an Arc of it, and is gone; so is all work, which is waited for.
        unsafe { self.raw.destroy_device(None) };
    }
}

impl Device {
    /// Opens a device with these extensions, which it has.
    pub(super) fn open(
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
    pub(super) fn keep(&self, kept: Kept) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
    }

    /// Gives back what is not in use any more.
    pub(super) fn sweep(&self) {
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
    pub(super) fn types_of_fd(&self, fd: BorrowedFd<'_>) -> Result<u32, vk::Result> {
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
