//! The memory between, and the commands that copy.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use ash::vk;

use crate::backend::vulkan::OwnershipTransfer;
use crate::backend::vulkan::image::RawImage;
use crate::backend::vulkan::sys::Device;

/// Which way pixels go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    IntoImage,
    OutOfImage,
}

/// How the image is taken over before a copy, and handed back behind it.
pub(super) struct Owned {
    pub(super) acquire: OwnershipTransfer,
    pub(super) release: OwnershipTransfer,
}

/// One plane, and where it lies in the memory between.
pub(super) struct Region {
    pub(super) aspect: vk::ImageAspectFlags,
    pub(super) offset_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Memory that the processor and the device both see, mapped.
pub(in crate::backend::vulkan) struct Staging {
    device: Arc<Device>,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    start: *mut c_void,
    size_bytes: u64,
}

// SAFETY: the mapping belongs to this value alone, and no thread is bound to it.
unsafe impl Send for Staging {}
// SAFETY: it is only copied from and to, and never while the device uses it.
unsafe impl Sync for Staging {}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: both are of this device or null, and no work uses them any more; freeing memory unmaps it.
        unsafe {
            self.device.raw.destroy_buffer(self.buffer, None);
            self.device.raw.free_memory(self.memory, None);
        }
    }
}

impl Staging {
    pub(in crate::backend::vulkan) fn new(
        device: &Arc<Device>,
        size_bytes: u64,
    ) -> Result<Self, vk::Result> {
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let info = vk::BufferCreateInfo::default()
            .size(size_bytes.max(4))
            .usage(vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST);
        // SAFETY: the structure is complete.
        let buffer = unsafe { device.raw.create_buffer(&info, None) }?;
        // From here on a drop gives back what was made.
        let mut staging = Self {
            device: Arc::clone(device),
            buffer,
            memory: vk::DeviceMemory::null(),
            start: ptr::null_mut(),
            size_bytes,
        };
        // SAFETY: the buffer is of this device.
        let needed = unsafe { device.raw.get_buffer_memory_requirements(buffer) };
        let memory_type = device
            .physical
            .memory_types()
            .iter()
            .zip(0_u32..)
            .find(|(flags, number)| {
                flags.contains(wanted) && needed.memory_type_bits >> number & 1 == 1
            })
            .map(|(_, number)| number)
            .ok_or(vk::Result::ERROR_FEATURE_NOT_PRESENT)?;
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needed.size)
            .memory_type_index(memory_type);
        // SAFETY: size and type are what the buffer asked for.
        staging.memory = unsafe { device.raw.allocate_memory(&info, None) }?;
        // SAFETY: the buffer has no memory yet; the memory is as large as it asked for.
        unsafe { device.raw.bind_buffer_memory(buffer, staging.memory, 0) }?;
        let (all, flags) = (vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
        // SAFETY: the memory is visible to the processor and mapped once.
        staging.start = unsafe { device.raw.map_memory(staging.memory, 0, all, flags) }?;
        Ok(staging)
    }

    pub(in crate::backend::vulkan) fn buffer(&self) -> vk::Buffer {
        self.buffer
    }

    /// Copies bytes in; nothing where they do not fit.
    pub(super) fn write(&self, offset_bytes: u64, from: &[u8]) {
        if let Some(into) = self.place(offset_bytes, from.len()) {
            // SAFETY: `place` checked that the bytes lie inside the mapping, which lives as long as self; no work uses it.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        }
    }

    /// Copies bytes out; nothing where there are fewer.
    pub(super) fn read(&self, offset_bytes: u64, into: &mut [u8]) {
        if let Some(from) = self.place(offset_bytes, into.len()) {
            // SAFETY: as in `write`.
            unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        }
    }

    fn place(&self, offset_bytes: u64, length: usize) -> Option<*mut u8> {
        let end = offset_bytes.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size_bytes || self.start.is_null() {
            return None;
        }
        let offset = usize::try_from(offset_bytes).ok()?;
        // SAFETY: the offset lies inside the mapping, as just checked.
        Some(unsafe { self.start.cast::<u8>().add(offset) })
    }
}

/// Commands that are submitted once. They go with this value, which whoever submits them keeps until they are over.
pub(in crate::backend::vulkan) struct OneTime {
    device: Arc<Device>,
    pool: vk::CommandPool,
    pub(in crate::backend::vulkan) raw: vk::CommandBuffer,
}

impl Drop for OneTime {
    fn drop(&mut self) {
        // SAFETY: the pool is of this device; whoever submits its commands keeps this value until they are over.
        unsafe { self.device.raw.destroy_command_pool(self.pool, None) };
    }
}

impl OneTime {
    pub(in crate::backend::vulkan) fn new(device: &Arc<Device>) -> Result<Self, vk::Result> {
        let raw = &device.raw;
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(device.family);
        // SAFETY: the structure is complete and the family is the device's.
        let pool = unsafe { raw.create_command_pool(&info, None) }?;
        let mut made = Self {
            device: Arc::clone(device),
            pool,
            raw: vk::CommandBuffer::null(),
        };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool is of this device; its command buffers go with it.
        let commands = unsafe { raw.allocate_command_buffers(&info) }?;
        made.raw = *commands
            .first()
            .ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(made)
    }
}

/// Commands that copy, and all that they use.
pub(super) struct Recorded {
    commands: OneTime,
    image: Arc<RawImage>,
    pub(super) staging: Arc<Staging>,
}

/// Records a copy that takes the image over from outside and hands it back.
pub(super) fn recorded(
    image: &Arc<RawImage>,
    staging: Staging,
    regions: &[Region],
    way: Way,
    owned: &Owned,
) -> Result<(vk::CommandBuffer, Recorded), vk::Result> {
    let made = Recorded {
        commands: OneTime::new(&image.device)?,
        image: Arc::clone(image),
        staging: Arc::new(staging),
    };
    let commands = made.commands.raw;
    let copies: Vec<vk::BufferImageCopy> = regions.iter().map(described).collect();
    // SAFETY: the command buffer is new; image and memory are of this device and live as long as the commands.
    unsafe { record(commands, &made.image, &made.staging, &copies, way, owned) }?;
    Ok((commands, made))
}

/// Records the copy between two hand-overs.
///
/// # Safety
/// The command buffer is not begun; image, memory and command buffer are of one device and live until it is done.
unsafe fn record(
    commands: vk::CommandBuffer,
    image: &RawImage,
    staging: &Staging,
    copies: &[vk::BufferImageCopy],
    way: Way,
    owned: &Owned,
) -> Result<(), vk::Result> {
    let device: &Device = &image.device;
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let (general, Owned { acquire, release }) = (vk::ImageLayout::GENERAL, owned);
    let to_host = [vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
        .dst_access_mask(vk::AccessFlags::HOST_READ)];
    let (raw, buffer) = (&device.raw, staging.buffer);
    let transfer = release.src_stages();
    let begins = (acquire.src_stages(), acquire.dst_stages());
    let end = release.dst_stages() | vk::PipelineStageFlags::HOST;
    let none = vk::DependencyFlags::empty();
    // SAFETY: by the caller; regions lie inside of image and memory, as `Image::regions` counts them.
    unsafe {
        raw.begin_command_buffer(commands, &begin)?;
        raw.cmd_pipeline_barrier(
            commands,
            begins.0,
            begins.1,
            none,
            &[],
            &[],
            acquire.barriers(),
        );
        match way {
            Way::IntoImage => {
                raw.cmd_copy_buffer_to_image(commands, buffer, image.raw, general, copies);
            }
            Way::OutOfImage => {
                raw.cmd_copy_image_to_buffer(commands, image.raw, general, buffer, copies);
            }
        }
        raw.cmd_pipeline_barrier(
            commands,
            transfer,
            end,
            none,
            &to_host,
            &[],
            release.barriers(),
        );
        raw.end_command_buffer(commands)
    }
}

fn described(region: &Region) -> vk::BufferImageCopy {
    vk::BufferImageCopy::default()
        .buffer_offset(region.offset_bytes)
        .image_subresource(
            vk::ImageSubresourceLayers::default()
                .aspect_mask(region.aspect)
                .layer_count(1),
        )
        .image_extent(vk::Extent3D {
            width: region.width,
            height: region.height,
            depth: 1,
        })
}
