//! The staging buffer of a copy, and its command buffer.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use ash::vk;

use crate::backend::vulkan::OwnershipTransfer;
use crate::backend::vulkan::image::RawImage;
use crate::backend::vulkan::sys::Device;

/// The direction of a copy between an image and its staging buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    IntoImage,
    OutOfImage,
}

/// The ownership transfers before and after a copy.
pub(super) struct OwnershipTransfers {
    pub(super) acquire: OwnershipTransfer,
    pub(super) release: OwnershipTransfer,
}

/// The pixels of one plane that are copied, and their location in the staging buffer.
pub(super) struct Region {
    pub(super) aspect: vk::ImageAspectFlags,
    pub(super) offset_bytes: u64,
    pub(super) size_bytes: u64,
    /// The first column and row in the plane, in samples of the plane.
    pub(super) corner: (u32, u32),
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A staging buffer in HOST_VISIBLE memory, which the CPU has mapped and the device copies from or to.
pub(in crate::backend::vulkan) struct Staging {
    device: Arc<Device>,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    start: *mut c_void,
    size_bytes: u64,
}

// SAFETY: this value is the only owner of the mapping, which any thread may access.
unsafe impl Send for Staging {}
// SAFETY: bytes are only copied from and to the mapping, and never while the device uses the buffer.
unsafe impl Sync for Staging {}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: buffer and memory belong to this device or are null, and no work uses them any more; freeing the memory unmaps
        // it.
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
        // If a later call fails, the drop of this value destroys the objects that were created before.
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
        // SAFETY: size and memory type satisfy the requirements of the buffer.
        staging.memory = unsafe { device.raw.allocate_memory(&info, None) }?;
        // SAFETY: the buffer has no memory yet, and the memory satisfies its requirements.
        unsafe { device.raw.bind_buffer_memory(buffer, staging.memory, 0) }?;
        let (all, flags) = (vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
        // SAFETY: the memory is HOST_VISIBLE and mapped once.
        staging.start = unsafe { device.raw.map_memory(staging.memory, 0, all, flags) }?;
        Ok(staging)
    }

    pub(in crate::backend::vulkan) fn buffer(&self) -> vk::Buffer {
        self.buffer
    }

    /// Copies bytes into the mapping. Does nothing if they do not fit.
    pub(super) fn write(&self, offset_bytes: u64, from: &[u8]) {
        if let Some(into) = self.address(offset_bytes, from.len()) {
            // SAFETY: `address` checked that the bytes lie inside the mapping, which lives as long as self; no work uses it.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        }
    }

    /// Copies bytes out of the mapping. Does nothing if the mapping has fewer bytes after the offset than `into`.
    pub(super) fn read(&self, offset_bytes: u64, into: &mut [u8]) {
        if let Some(from) = self.address(offset_bytes, into.len()) {
            // SAFETY: `address` checked that the bytes lie inside the mapping, which lives as long as self; no work uses it.
            unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        }
    }

    /// Returns the address of bytes in the mapped staging buffer; `None` if they are not inside it.
    fn address(&self, offset_bytes: u64, length: usize) -> Option<*mut u8> {
        let end = offset_bytes.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size_bytes || self.start.is_null() {
            return None;
        }
        let offset = usize::try_from(offset_bytes).ok()?;
        // SAFETY: the offset lies inside the mapping, as checked above.
        Some(unsafe { self.start.cast::<u8>().add(offset) })
    }
}

/// A command buffer that is submitted once, with its pool. The submitter keeps this value until the commands have finished.
pub(in crate::backend::vulkan) struct OneTimeCommands {
    device: Arc<Device>,
    pool: vk::CommandPool,
    pub(in crate::backend::vulkan) raw: vk::CommandBuffer,
}

impl Drop for OneTimeCommands {
    fn drop(&mut self) {
        // SAFETY: the pool is of this device; the submitter of its commands keeps this value until they have finished.
        unsafe { self.device.raw.destroy_command_pool(self.pool, None) };
    }
}

impl OneTimeCommands {
    pub(in crate::backend::vulkan) fn new(device: &Arc<Device>) -> Result<Self, vk::Result> {
        let raw = &device.raw;
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(device.family);
        // SAFETY: the structure is complete, and the queue family is the one of the device's queue.
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
        // SAFETY: the pool is of this device; destroying the pool frees its command buffers.
        let commands = unsafe { raw.allocate_command_buffers(&info) }?;
        made.raw = *commands
            .first()
            .ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(made)
    }
}

/// A recorded copy, and all objects that it uses.
pub(super) struct RecordedCopy {
    commands: OneTimeCommands,
    image: Arc<RawImage>,
    pub(super) staging: Arc<Staging>,
}

/// Records a copy that first acquires the ownership of the image and afterwards releases it.
pub(super) fn record_copy(
    image: &Arc<RawImage>,
    staging: Staging,
    regions: &[Region],
    direction: Direction,
    transfers: &OwnershipTransfers,
) -> Result<(vk::CommandBuffer, RecordedCopy), vk::Result> {
    let made = RecordedCopy {
        commands: OneTimeCommands::new(&image.device)?,
        image: Arc::clone(image),
        staging: Arc::new(staging),
    };
    let commands = made.commands.raw;
    let copies: Vec<vk::BufferImageCopy> = regions.iter().map(buffer_image_copy).collect();
    // SAFETY: the command buffer is new; image and staging buffer belong to this device, and live as long as the commands.
    unsafe {
        record(
            commands,
            &made.image,
            &made.staging,
            &copies,
            direction,
            transfers,
        )
    }?;
    Ok((commands, made))
}

/// Records acquire, copy and release.
///
/// # Safety
/// The command buffer is in the initial state; image, staging buffer and command buffer are of one device and live until the
/// commands have finished.
unsafe fn record(
    commands: vk::CommandBuffer,
    image: &RawImage,
    staging: &Staging,
    copies: &[vk::BufferImageCopy],
    direction: Direction,
    transfers: &OwnershipTransfers,
) -> Result<(), vk::Result> {
    let device: &Device = &image.device;
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let (general, OwnershipTransfers { acquire, release }) = (vk::ImageLayout::GENERAL, transfers);
    let to_host = [vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
        .dst_access_mask(vk::AccessFlags::HOST_READ)];
    let (raw, buffer) = (&device.raw, staging.buffer);
    let transfer = release.src_stages();
    let begins = (acquire.src_stages(), acquire.dst_stages());
    let end = release.dst_stages() | vk::PipelineStageFlags::HOST;
    let none = vk::DependencyFlags::empty();
    // SAFETY: the caller guarantees that the objects are valid; the regions are inside of image and staging buffer, since
    // `Image::regions` computed them.
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
        match direction {
            Direction::IntoImage => {
                raw.cmd_copy_buffer_to_image(commands, buffer, image.raw, general, copies);
            }
            Direction::OutOfImage => {
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

fn buffer_image_copy(region: &Region) -> vk::BufferImageCopy {
    vk::BufferImageCopy::default()
        .buffer_offset(region.offset_bytes)
        .image_subresource(
            vk::ImageSubresourceLayers::default()
                .aspect_mask(region.aspect)
                .layer_count(1),
        )
        .image_offset(vk::Offset3D {
            // The conversion does not fail, since images have far less than 2^31 columns and rows.
            x: i32::try_from(region.corner.0).unwrap_or(0),
            y: i32::try_from(region.corner.1).unwrap_or(0),
            z: 0,
        })
        .image_extent(vk::Extent3D {
            width: region.width,
            height: region.height,
            depth: 1,
        })
}
