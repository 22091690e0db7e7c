//! Calls of Vulkan, in the process of a driver.
//!
//! The calls deliberately pass layouts that are not valid usage: which of them a driver refuses is the result of the trial.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};

use ash::{ext, khr, vk};

use super::super::message::{Failure, Plane, REQUIREMENTS};

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// The usage of the images: the one with which covalent-alloc declares a driver's modifiers.
const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw() | vk::ImageUsageFlags::TRANSFER_DST.as_raw(),
);

const EXTENSIONS: [&CStr; 4] = [
    khr::external_memory_fd::NAME,
    khr::image_format_list::NAME,
    ext::external_memory_dma_buf::NAME,
    ext::image_drm_format_modifier::NAME,
];

const ASPECTS: [vk::ImageAspectFlags; 4] = [
    vk::ImageAspectFlags::MEMORY_PLANE_0_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_1_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_2_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_3_EXT,
];

/// The device of the driver.
pub(crate) struct Device {
    // The order of the fields does not matter: nothing is destroyed, because the process ends with the device.
    _entry: ash::Entry,
    instance: ash::Instance,
    physical: vk::PhysicalDevice,
    raw: ash::Device,
    memory_fd: khr::external_memory_fd::Device,
    modifier: ext::image_drm_format_modifier::Device,
}

/// A modifier that the driver lists for a format.
pub(crate) struct Listed {
    pub(crate) modifier: u64,
    pub(crate) planes: u32,
}

fn failed(operation: &'static str) -> impl Fn(vk::Result) -> Failure {
    move |result| Failure {
        operation,
        why: result.to_string(),
    }
}

impl Device {
    /// Opens the first device of the process.
    pub(crate) fn open() -> Result<Self, Failure> {
        // SAFETY: the library is the system's loader with its fixed name.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| Failure {
            operation: "dlopen of the Vulkan loader",
            why: error.to_string(),
        })?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the structures are complete and outlive the call.
        let instance =
            unsafe { entry.create_instance(&info, None) }.map_err(failed("vkCreateInstance"))?;
        // SAFETY: the instance is valid.
        let listed = unsafe { instance.enumerate_physical_devices() }
            .map_err(failed("vkEnumeratePhysicalDevices"))?;
        let physical = *listed.first().ok_or_else(|| Failure {
            operation: "vkEnumeratePhysicalDevices",
            why: "the driver lists no device".to_owned(),
        })?;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let names = EXTENSIONS.map(CStr::as_ptr);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names);
        // SAFETY: the structures are complete and outlive the call. A driver without an extension refuses the call.
        let raw = unsafe { instance.create_device(physical, &info, None) }
            .map_err(failed("vkCreateDevice"))?;
        Ok(Self {
            memory_fd: khr::external_memory_fd::Device::new(&instance, &raw),
            modifier: ext::image_drm_format_modifier::Device::new(&instance, &raw),
            _entry: entry,
            instance,
            physical,
            raw,
        })
    }

    /// Lists the modifiers of a format with which dma-bufs are both exported and imported.
    pub(crate) fn modifiers(&self, format: vk::Format) -> Vec<Listed> {
        let mut found = [vk::DrmFormatModifierPropertiesEXT::default(); 64];
        let mut list = vk::DrmFormatModifierPropertiesListEXT::default()
            .drm_format_modifier_properties(&mut found);
        let mut properties = vk::FormatProperties2::default().push_next(&mut list);
        // SAFETY: the array has as many entries as the structure says, and outlives the call.
        unsafe {
            self.instance.get_physical_device_format_properties2(
                self.physical,
                format,
                &mut properties,
            );
        }
        let count = usize::try_from(list.drm_format_modifier_count).unwrap_or(0);
        let listed = found.iter().take(count).map(|own| Listed {
            modifier: own.drm_format_modifier,
            planes: own.drm_format_modifier_plane_count,
        });
        listed
            .filter(|own| self.is_shared(format, own.modifier))
            .collect()
    }

    fn is_shared(&self, format: vk::Format, modifier: u64) -> bool {
        let mut chosen = vk::PhysicalDeviceImageDrmFormatModifierInfoEXT::default()
            .drm_format_modifier(modifier)
            .sharing_mode(vk::SharingMode::EXCLUSIVE);
        let mut external =
            vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(DMA_BUF);
        let info = vk::PhysicalDeviceImageFormatInfo2::default()
            .format(format)
            .ty(vk::ImageType::TYPE_2D)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(USAGE)
            .push_next(&mut chosen)
            .push_next(&mut external);
        let mut memory = vk::ExternalImageFormatProperties::default();
        let mut properties = vk::ImageFormatProperties2::default().push_next(&mut memory);
        // SAFETY: the chains hold structures of Vulkan 1.1 and of an extension that the device has, and outlive the call.
        let result = unsafe {
            self.instance.get_physical_device_image_format_properties2(
                self.physical,
                &info,
                &mut properties,
            )
        };
        let both =
            vk::ExternalMemoryFeatureFlags::EXPORTABLE | vk::ExternalMemoryFeatureFlags::IMPORTABLE;
        let features = memory.external_memory_properties.external_memory_features;
        result.is_ok() && features.contains(both)
    }

    /// Creates an image without memory. Without planes the driver chooses the layout.
    pub(crate) fn image(
        &self,
        (format, modifier): (vk::Format, u64),
        (width, height): (u32, u32),
        planes: Option<&[Plane]>,
    ) -> Result<Image<'_>, Failure> {
        let layouts: Vec<vk::SubresourceLayout> = planes
            .into_iter()
            .flatten()
            .map(|plane| {
                vk::SubresourceLayout::default()
                    .offset(plane.offset)
                    .row_pitch(plane.pitch)
            })
            .collect();
        let modifiers = [modifier];
        let mut list =
            vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&modifiers);
        let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default()
            .drm_format_modifier(modifier)
            .plane_layouts(&layouts);
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(DMA_BUF);
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(format)
            .extent(vk::Extent3D {
                width,
                height,
                depth: 1,
            })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(USAGE)
            .sharing_mode(vk::SharingMode::EXCLUSIVE)
            .initial_layout(vk::ImageLayout::UNDEFINED)
            .push_next(&mut external);
        let info = if planes.is_some() {
            info.push_next(&mut explicit)
        } else {
            info.push_next(&mut list)
        };
        // SAFETY: the chain is complete and outlives the call. Values that are not valid usage end at worst this process.
        let raw = unsafe { self.raw.create_image(&info, None) }.map_err(failed("vkCreateImage"))?;
        Ok(Image {
            device: self,
            raw,
            memory: None,
        })
    }
}

/// An image, with the memory that is bound to it.
pub(crate) struct Image<'a> {
    device: &'a Device,
    raw: vk::Image,
    memory: Option<vk::DeviceMemory>,
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: image and memory belong to this device, and no work uses them.
        unsafe {
            self.device.raw.destroy_image(self.raw, None);
            if let Some(memory) = self.memory {
                self.device.raw.free_memory(memory, None);
            }
        }
    }
}

impl Image<'_> {
    /// Returns the modifier of the image.
    pub(crate) fn modifier(&self) -> Result<u64, Failure> {
        let mut found = vk::ImageDrmFormatModifierPropertiesEXT::default();
        // SAFETY: the image is of this device and was created with DRM_FORMAT_MODIFIER tiling.
        unsafe {
            self.device
                .modifier
                .get_image_drm_format_modifier_properties(self.raw, &mut found)
        }
        .map_err(failed("vkGetImageDrmFormatModifierPropertiesEXT"))?;
        Ok(found.drm_format_modifier)
    }

    /// Returns the places of the first planes of the image.
    pub(crate) fn planes(&self, count: usize) -> Vec<Plane> {
        let planes = ASPECTS.iter().take(count).map(|aspect| {
            let subresource = vk::ImageSubresource::default().aspect_mask(*aspect);
            // SAFETY: the image was created with DRM_FORMAT_MODIFIER tiling, and its modifier has this plane.
            let found = unsafe {
                self.device
                    .raw
                    .get_image_subresource_layout(self.raw, subresource)
            };
            Plane {
                offset: found.offset,
                pitch: found.row_pitch,
            }
        });
        planes.collect()
    }

    fn requirements(&self) -> (vk::MemoryRequirements, bool) {
        let info = vk::ImageMemoryRequirementsInfo2::default().image(self.raw);
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut found = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        // SAFETY: the image is of this device, and the chain outlives the call.
        unsafe {
            self.device
                .raw
                .get_image_memory_requirements2(&info, &mut found);
        }
        let found = found.memory_requirements;
        let wants_dedicated = dedicated.prefers_dedicated_allocation == vk::TRUE
            || dedicated.requires_dedicated_allocation == vk::TRUE;
        (found, wants_dedicated)
    }

    /// Allocates memory for the image, binds it and exports it.
    pub(crate) fn export(&mut self) -> Result<OwnedFd, Failure> {
        let (needed, _) = self.requirements();
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().image(self.raw);
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(DMA_BUF);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needed.size)
            .memory_type_index(needed.memory_type_bits.trailing_zeros())
            .push_next(&mut export)
            .push_next(&mut dedicated);
        let memory = self.allocate(&info)?;
        self.bind(memory)?;
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(memory)
            .handle_type(DMA_BUF);
        // SAFETY: the memory was allocated with this export handle type.
        let number = unsafe { self.device.memory_fd.get_memory_fd(&info) }
            .map_err(failed("vkGetMemoryFdKHR"))?;
        // SAFETY: the call succeeded, so the number is a new fd that no other value owns.
        (number >= 0)
            .then(|| unsafe { OwnedFd::from_raw_fd(number) })
            .ok_or_else(|| Failure {
                operation: "vkGetMemoryFdKHR",
                why: format!("success and the file descriptor {number}"),
            })
    }

    /// Imports a buffer as the memory of the image, and binds it.
    pub(crate) fn import(&mut self, fd: BorrowedFd<'_>, size_bytes: u64) -> Result<(), Failure> {
        let (needed, wants_dedicated) = self.requirements();
        if needed.size > size_bytes {
            return Err(Failure {
                operation: REQUIREMENTS,
                why: format!(
                    "the image needs {} bytes, and the buffer has {size_bytes}",
                    needed.size
                ),
            });
        }
        let mut found = vk::MemoryFdPropertiesKHR::default();
        // SAFETY: the fd is open, and the structure outlives the call.
        unsafe {
            self.device
                .memory_fd
                .get_memory_fd_properties(DMA_BUF, fd.as_raw_fd(), &mut found)
        }
        .map_err(failed("vkGetMemoryFdPropertiesKHR"))?;
        let types = found.memory_type_bits & needed.memory_type_bits;
        if types == 0 {
            return Err(Failure {
                operation: "vkGetMemoryFdPropertiesKHR",
                why: format!(
                    "the memory types {:#b} of the buffer and {:#b} of the image have none in common",
                    found.memory_type_bits, needed.memory_type_bits
                ),
            });
        }
        let owned = fd.try_clone_to_owned().map_err(|error| Failure {
            operation: "dup",
            why: error.to_string(),
        })?;
        let number = owned.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(DMA_BUF)
            .fd(number);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().image(self.raw);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(if wants_dedicated {
                needed.size
            } else {
                size_bytes
            })
            .memory_type_index(types.trailing_zeros())
            .push_next(&mut import);
        if wants_dedicated {
            info = info.push_next(&mut dedicated);
        }
        let memory = self.allocate(&info).inspect_err(|_| {
            // SAFETY: a failed import does not take ownership of the fd.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        })?;
        self.bind(memory)
    }

    fn allocate(&mut self, info: &vk::MemoryAllocateInfo<'_>) -> Result<vk::DeviceMemory, Failure> {
        // SAFETY: the chain is complete and outlives the call.
        let memory = unsafe { self.device.raw.allocate_memory(info, None) }
            .map_err(failed("vkAllocateMemory"))?;
        self.memory = Some(memory);
        Ok(memory)
    }

    fn bind(&self, memory: vk::DeviceMemory) -> Result<(), Failure> {
        // SAFETY: the image has no memory yet, and both are of this device.
        unsafe { self.device.raw.bind_image_memory(self.raw, memory, 0) }
            .map_err(failed("vkBindImageMemory"))
    }
}
