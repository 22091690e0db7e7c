//! Vulkan images and their device memory.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use ash::vk;

use crate::backend::vulkan::sys::{Device, ImageKind};

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// The layout of an image's planes at creation.
pub(super) enum PlaneLayouts<'a> {
    /// The driver chooses the layout (VkImageDrmFormatModifierListCreateInfoEXT).
    DriverChosen,
    /// The caller gives the layout (VkImageDrmFormatModifierExplicitCreateInfoEXT).
    Explicit(&'a [vk::SubresourceLayout]),
}

/// The memory requirements of an image, or of one memory plane.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::vulkan) struct Requirements {
    pub(in crate::backend::vulkan) size_bytes: u64,
    pub(in crate::backend::vulkan) type_bits: u32,
    pub(in crate::backend::vulkan) wants_dedicated: bool,
}

/// An owned VkImage with its memory.
pub(in crate::backend::vulkan) struct RawImage {
    pub(in crate::backend::vulkan) device: Arc<Device>,
    pub(in crate::backend::vulkan) raw: vk::Image,
    device_memory: Vec<vk::DeviceMemory>,
}

impl Drop for RawImage {
    fn drop(&mut self) {
        // SAFETY: image and memory belong to this device, and no pending work uses them, since it would keep this value.
        unsafe {
            self.device.raw.destroy_image(self.raw, None);
            for memory in &self.device_memory {
                self.device.raw.free_memory(*memory, None);
            }
        }
    }
}

const ASPECTS: [vk::ImageAspectFlags; 4] = [
    vk::ImageAspectFlags::MEMORY_PLANE_0_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_1_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_2_EXT,
    vk::ImageAspectFlags::MEMORY_PLANE_3_EXT,
];

fn aspect(plane: usize) -> vk::ImageAspectFlags {
    ASPECTS.get(plane).copied().unwrap_or_default()
}

impl RawImage {
    /// Creates an image and binds no memory to it. The caller has checked that the device supports this kind of image.
    pub(super) fn new(
        device: &Arc<Device>,
        kind: ImageKind,
        (width, height): (u32, u32),
        plane_layouts: &PlaneLayouts<'_>,
    ) -> Result<Self, vk::Result> {
        let modifiers = [kind.modifier];
        let mut list =
            vk::ImageDrmFormatModifierListCreateInfoEXT::default().drm_format_modifiers(&modifiers);
        let mut explicit = vk::ImageDrmFormatModifierExplicitCreateInfoEXT::default()
            .drm_format_modifier(kind.modifier);
        let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(DMA_BUF);
        let info = vk::ImageCreateInfo::default()
            .flags(kind.flags)
            .image_type(vk::ImageType::TYPE_2D)
            .format(kind.format)
            .extent(vk::Extent3D {
                width,
                height,
                depth: 1,
            })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .tiling(vk::ImageTiling::DRM_FORMAT_MODIFIER_EXT)
            .usage(kind.usage)
            .sharing_mode(vk::SharingMode::EXCLUSIVE)
            .initial_layout(vk::ImageLayout::UNDEFINED)
            .push_next(&mut external);
        let info = match plane_layouts {
            PlaneLayouts::DriverChosen => info.push_next(&mut list),
            PlaneLayouts::Explicit(planes) => {
                explicit = explicit.plane_layouts(planes);
                info.push_next(&mut explicit)
            }
        };
        // SAFETY: the chain is complete and outlives the call; support for the kind was queried before. The driver checks
        // explicit plane layouts itself.
        let raw = unsafe { device.raw.create_image(&info, None) }?;
        Ok(Self {
            device: Arc::clone(device),
            raw,
            device_memory: Vec::new(),
        })
    }

    /// Returns the modifier that the driver chose.
    pub(super) fn modifier(&self) -> Result<u64, vk::Result> {
        let mut properties = vk::ImageDrmFormatModifierPropertiesEXT::default();
        // SAFETY: the image is of this device and was created with DRM_FORMAT_MODIFIER tiling.
        unsafe {
            self.device
                .modifier
                .get_image_drm_format_modifier_properties(self.raw, &mut properties)
        }?;
        Ok(properties.drm_format_modifier)
    }

    /// Returns the layout of a memory plane.
    pub(super) fn plane(&self, plane: usize) -> vk::SubresourceLayout {
        let subresource = vk::ImageSubresource::default().aspect_mask(aspect(plane));
        // SAFETY: the image was created with DRM_FORMAT_MODIFIER tiling, for which these aspects are valid; callers pass planes
        // that it has.
        unsafe {
            self.device
                .raw
                .get_image_subresource_layout(self.raw, subresource)
        }
    }

    /// Returns the memory requirements of the image, or of one memory plane of a disjoint image.
    pub(in crate::backend::vulkan) fn requirements(&self, plane: Option<usize>) -> Requirements {
        let mut plane_info = vk::ImagePlaneMemoryRequirementsInfo::default()
            .plane_aspect(aspect(plane.unwrap_or(0)));
        let mut info = vk::ImageMemoryRequirementsInfo2::default().image(self.raw);
        if plane.is_some() {
            info = info.push_next(&mut plane_info);
        }
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        // SAFETY: the image is of this device; a plane is only passed for disjoint images.
        unsafe {
            self.device
                .raw
                .get_image_memory_requirements2(&info, &mut requirements);
        }
        let plain = requirements.memory_requirements;
        Requirements {
            size_bytes: plain.size,
            type_bits: plain.memory_type_bits,
            wants_dedicated: dedicated.prefers_dedicated_allocation == vk::TRUE
                || dedicated.requires_dedicated_allocation == vk::TRUE,
        }
    }

    /// Allocates exportable memory for the image, binds it, and exports it as a dma-buf.
    pub(in crate::backend::vulkan) fn allocate(
        &mut self,
        size_bytes: u64,
        memory_type: u32,
        dedicated: bool,
    ) -> Result<OwnedFd, vk::Result> {
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(DMA_BUF);
        let mut dedicated_info = vk::MemoryDedicatedAllocateInfo::default().image(self.raw);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(size_bytes)
            .memory_type_index(memory_type)
            .push_next(&mut export);
        if dedicated {
            info = info.push_next(&mut dedicated_info);
        }
        // SAFETY: the chain is complete and outlives the call; the memory type is one of the image's, and the size is sufficient.
        let memory = unsafe { self.device.raw.allocate_memory(&info, None) }?;
        self.device_memory.push(memory);
        // SAFETY: the image has no memory yet, and this memory was allocated for it.
        unsafe { self.device.raw.bind_image_memory(self.raw, memory, 0) }?;
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(memory)
            .handle_type(DMA_BUF);
        // SAFETY: the memory was allocated with this export handle type.
        let fd = unsafe { self.device.memory_fd.get_memory_fd(&info) }?;
        // If the process can open no more file descriptors, lavapipe returns VK_SUCCESS and the fd -1.
        if fd < 0 {
            return Err(vk::Result::ERROR_TOO_MANY_OBJECTS);
        }
        // SAFETY: the call succeeded, so the number is a new fd that no other value owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Imports a dma-buf as memory of this image. [`RawImage::bind`] binds it.
    pub(super) fn import(
        &mut self,
        fd: OwnedFd,
        size_bytes: u64,
        memory_type: u32,
        dedicated: bool,
    ) -> Result<(), vk::Result> {
        let number = fd.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default()
            .handle_type(DMA_BUF)
            .fd(number);
        let mut dedicated_info = vk::MemoryDedicatedAllocateInfo::default().image(self.raw);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(size_bytes)
            .memory_type_index(memory_type)
            .push_next(&mut import);
        if dedicated {
            info = info.push_next(&mut dedicated_info);
        }
        // SAFETY: the chain is complete and outlives the call. The fd is owned, and ownership passes to the driver.
        match unsafe { self.device.raw.allocate_memory(&info, None) } {
            Ok(memory) => {
                self.device_memory.push(memory);
                Ok(())
            }
            Err(error) => {
                // SAFETY: a failed import does not take ownership of the fd (VkImportMemoryFdInfoKHR).
                drop(unsafe { OwnedFd::from_raw_fd(number) });
                Err(error)
            }
        }
    }

    /// Binds the imported memory: one VkDeviceMemory for the whole image, or one for each memory plane of a disjoint image.
    pub(super) fn bind(&self, disjoint: bool) -> Result<(), vk::Result> {
        let mut planes: Vec<_> = ASPECTS
            .iter()
            .map(|aspect| vk::BindImagePlaneMemoryInfo::default().plane_aspect(*aspect))
            .collect();
        let binds: Vec<_> = self
            .device_memory
            .iter()
            .zip(&mut planes)
            .map(|(memory, plane)| {
                let bind = vk::BindImageMemoryInfo::default()
                    .image(self.raw)
                    .memory(*memory);
                if disjoint {
                    bind.push_next(plane)
                } else {
                    bind
                }
            })
            .collect();
        // SAFETY: image and memory belong to this device, the image has no memory yet, and there is one VkDeviceMemory for each
        // plane or one for all.
        unsafe { self.device.raw.bind_image_memory2(&binds) }
    }
}
