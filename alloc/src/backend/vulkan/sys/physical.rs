//! Physical devices, and their properties and features.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use ash::{ext, khr, vk};

use super::super::sync::{DeviceSync, has_syncobj_timelines};
use super::instance::Instance;

/// The properties of a physical device.
pub(crate) struct DeviceProperties {
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) api_version: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) is_cpu: bool,
    pub(crate) is_discrete: bool,
    /// Major and minor number of the primary node and of the render node, if the driver names them.
    pub(crate) primary: Option<(u32, u32)>,
    pub(crate) render: Option<(u32, u32)>,
    pub(crate) has_ycbcr: bool,
    /// Whether the driver's timeline semaphores are exported as syncobjs.
    pub(crate) has_syncobj_timelines: bool,
    pub(crate) sync: DeviceSync,
}

/// The limits of a physical device for dma-buf images of one format, modifier and usage.
#[derive(Clone)]
pub(crate) struct ImageSupport {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) memory: vk::ExternalMemoryFeatureFlags,
}

/// The format, modifier, usage and flags of images.
#[derive(Clone, Copy)]
pub(crate) struct ImageKind {
    pub(crate) format: vk::Format,
    pub(crate) modifier: u64,
    pub(crate) usage: vk::ImageUsageFlags,
    pub(crate) flags: vk::ImageCreateFlags,
}

/// A physical device: a GPU, or a driver that renders on the CPU.
#[derive(Clone)]
pub(crate) struct Physical {
    pub(crate) instance: Arc<Instance>,
    pub(crate) raw: vk::PhysicalDevice,
}

impl Physical {
    pub(crate) fn list(instance: &Arc<Instance>) -> Result<Vec<Self>, vk::Result> {
        // SAFETY: the instance is valid.
        let devices = unsafe { instance.raw.enumerate_physical_devices() }?;
        Ok(devices
            .into_iter()
            .map(|raw| Self {
                instance: Arc::clone(instance),
                raw,
            })
            .collect())
    }

    pub(crate) fn extensions(&self) -> Result<BTreeSet<CString>, vk::Result> {
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

    /// Queries the properties; `extensions` are the extensions that the device has.
    pub(crate) fn properties(&self, extensions: &BTreeSet<CString>) -> DeviceProperties {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut identity = vk::PhysicalDeviceIDProperties::default();
        let mut nodes = vk::PhysicalDeviceDrmPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut identity);
        let has = |name: &CStr| extensions.contains(name);
        // The structure is a part of Vulkan since 1.2, and belongs to an extension before.
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
        let owned = |text: Result<&CStr, std::ffi::FromBytesUntilNulError>| {
            text.map_or_else(
                |_| String::new(),
                |text| text.to_string_lossy().into_owned(),
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
        let has_syncobj_timelines = names_driver && has_syncobj_timelines(driver.driver_id);
        DeviceProperties {
            name: owned(plain.device_name_as_c_str()),
            driver: owned(driver.driver_name_as_c_str()),
            api_version: plain.api_version,
            uuid: identity.device_uuid,
            is_cpu: plain.device_type == vk::PhysicalDeviceType::CPU,
            is_discrete: plain.device_type == vk::PhysicalDeviceType::DISCRETE_GPU,
            primary: number(nodes.has_primary, nodes.primary_major, nodes.primary_minor),
            render: number(nodes.has_render, nodes.render_major, nodes.render_minor),
            has_ycbcr: ycbcr.sampler_ycbcr_conversion == vk::TRUE,
            sync: self.device_sync(
                &has,
                timeline.timeline_semaphore == vk::TRUE,
                has_syncobj_timelines,
            ),
            has_syncobj_timelines,
        }
    }

    /// Queries which imports and exports semaphores and fences support. `has` returns whether an extension may be used, because
    /// the physical device supports it or the device has enabled it.
    pub(crate) fn device_sync(
        &self,
        has: &impl Fn(&CStr) -> bool,
        timeline: bool,
        timeline_is_syncobj: bool,
    ) -> DeviceSync {
        let mut sync = DeviceSync {
            timeline,
            ..DeviceSync::default()
        };
        if has(khr::external_semaphore_fd::NAME) {
            let sync_file = vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;
            let binary = self.semaphore_features(sync_file, false);
            sync.semaphore_from_sync_file =
                binary.contains(vk::ExternalSemaphoreFeatureFlags::IMPORTABLE);
            sync.semaphore_to_sync_file =
                binary.contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE);
            let opaque = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
            let import_and_export = vk::ExternalSemaphoreFeatureFlags::IMPORTABLE
                | vk::ExternalSemaphoreFeatureFlags::EXPORTABLE;
            sync.timeline_shared = timeline
                && self
                    .semaphore_features(opaque, true)
                    .contains(import_and_export);
            sync.timeline_is_syncobj = sync.timeline_shared && timeline_is_syncobj;
        }
        if has(khr::external_fence_fd::NAME) {
            let info = vk::PhysicalDeviceExternalFenceInfo::default()
                .handle_type(vk::ExternalFenceHandleTypeFlags::SYNC_FD);
            let mut fence_properties = vk::ExternalFenceProperties::default();
            // SAFETY: both structures are of Vulkan 1.1 and outlive the call.
            unsafe {
                self.instance
                    .raw
                    .get_physical_device_external_fence_properties(
                        self.raw,
                        &info,
                        &mut fence_properties,
                    );
            }
            let features = fence_properties.external_fence_features;
            sync.fence_from_sync_file =
                features.contains(vk::ExternalFenceFeatureFlags::IMPORTABLE);
            sync.fence_to_sync_file = features.contains(vk::ExternalFenceFeatureFlags::EXPORTABLE);
        }
        sync
    }

    fn semaphore_features(
        &self,
        handle: vk::ExternalSemaphoreHandleTypeFlags,
        is_timeline: bool,
    ) -> vk::ExternalSemaphoreFeatureFlags {
        let mut type_info =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let mut info = vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(handle);
        if is_timeline {
            info = info.push_next(&mut type_info);
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

    /// Lists the modifiers of a format. The device must have VK_EXT_image_drm_format_modifier.
    pub(crate) fn modifiers(&self, format: vk::Format) -> Vec<vk::DrmFormatModifierPropertiesEXT> {
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default();
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: without an array the call only returns the count.
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

    /// Queries the limits of dma-buf images with this format, modifier, usage and flags; `None` if the device does not support
    /// them.
    pub(crate) fn image_support(
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
        let result = unsafe {
            self.instance
                .raw
                .get_physical_device_image_format_properties2(self.raw, &info, &mut properties)
        };
        match result {
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

    /// Returns the property flags of each memory type.
    pub(crate) fn memory_types(&self) -> Vec<vk::MemoryPropertyFlags> {
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

    /// Returns the capabilities of a queue family; `None` if the device has no such family.
    pub(crate) fn family(&self, index: u32) -> Option<vk::QueueFlags> {
        // SAFETY: the physical device is of this instance.
        let families = unsafe {
            self.instance
                .raw
                .get_physical_device_queue_family_properties(self.raw)
        };
        let found = families.get(usize::try_from(index).ok()?)?;
        Some(found.queue_flags)
    }

    /// Returns the index of the first queue family with graphics, otherwise of the first that can copy whole images. The second
    /// value is whether the family has graphics.
    pub(crate) fn queue_family(&self) -> Option<(u32, bool)> {
        // SAFETY: the physical device is of this instance.
        let families = unsafe {
            self.instance
                .raw
                .get_physical_device_queue_family_properties(self.raw)
        };
        let first_family = |flags: vk::QueueFlags| {
            families
                .iter()
                .position(|family| family.queue_flags.intersects(flags) && family.queue_count > 0)
        };
        let copy_flags = vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
        let has_graphics = first_family(vk::QueueFlags::GRAPHICS);
        let family = has_graphics.or_else(|| first_family(copy_flags))?;
        Some((u32::try_from(family).ok()?, has_graphics.is_some()))
    }
}
