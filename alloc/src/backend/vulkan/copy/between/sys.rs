//! The command buffer of a copy from one image to another.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::sync::Arc;

use ash::vk;

use super::super::sys::{OneTimeCommands, OwnershipTransfers, Region};
use crate::backend::vulkan::copier::CopyMethod;
use crate::backend::vulkan::image::RawImage;
use crate::backend::vulkan::sys::Device;

/// A recorded copy, and all objects that it uses.
pub(super) struct RecordedCopy {
    commands: OneTimeCommands,
    from: Arc<RawImage>,
    to: Arc<RawImage>,
}

/// Records a copy that first acquires the ownership of both images and afterwards releases it. The caller has checked that both
/// images belong to the same device, and that the device converts between their formats by `method`.
pub(super) fn record_copy(
    from: &Arc<RawImage>,
    to: &Arc<RawImage>,
    method: CopyMethod,
    regions: &[(Region, Region)],
    transfers: &[OwnershipTransfers; 2],
) -> Result<(vk::CommandBuffer, RecordedCopy), vk::Result> {
    let recorded = RecordedCopy {
        commands: OneTimeCommands::new(&from.device)?,
        from: Arc::clone(from),
        to: Arc::clone(to),
    };
    // SAFETY: the command buffer is new; both images belong to this device, and `recorded` keeps them as long as the commands.
    unsafe { record(&recorded, method, regions, transfers) }?;
    Ok((recorded.commands.raw, recorded))
}

/// Records acquires, copy and releases.
///
/// # Safety
/// The command buffer is in the initial state. The images and the command buffer belong to the same device, and live until the
/// commands have finished.
unsafe fn record(
    recorded: &RecordedCopy,
    method: CopyMethod,
    regions: &[(Region, Region)],
    [read, written]: &[OwnershipTransfers; 2],
) -> Result<(), vk::Result> {
    let device: &Device = &recorded.from.device;
    let (raw, commands) = (&device.raw, recorded.commands.raw);
    let (from, to, general) = (recorded.from.raw, recorded.to.raw, vk::ImageLayout::GENERAL);
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let none = vk::DependencyFlags::empty();
    let acquires = [read.acquire.barriers(), written.acquire.barriers()].concat();
    let releases = [read.release.barriers(), written.release.barriers()].concat();
    // SAFETY: the caller guarantees that the objects are valid; the regions are inside of the images, since `Image::regions`
    // computed them.
    unsafe {
        raw.begin_command_buffer(commands, &begin)?;
        raw.cmd_pipeline_barrier(
            commands,
            read.acquire.src_stages() | written.acquire.src_stages(),
            read.acquire.dst_stages() | written.acquire.dst_stages(),
            none,
            &[],
            &[],
            &acquires,
        );
        match method {
            CopyMethod::Copy => {
                let copies: Vec<vk::ImageCopy> = regions.iter().map(image_copy).collect();
                raw.cmd_copy_image(commands, from, general, to, general, &copies);
            }
            CopyMethod::Blit => {
                let blits: Vec<vk::ImageBlit> = regions.iter().map(image_blit).collect();
                // Both pictures have the same size, so each written pixel comes from exactly one pixel and is not filtered.
                let filter = vk::Filter::NEAREST;
                raw.cmd_blit_image(commands, from, general, to, general, &blits, filter);
            }
        }
        raw.cmd_pipeline_barrier(
            commands,
            read.release.src_stages() | written.release.src_stages(),
            read.release.dst_stages() | written.release.dst_stages(),
            none,
            &[],
            &[],
            &releases,
        );
        raw.end_command_buffer(commands)
    }
}

fn image_copy((from, to): &(Region, Region)) -> vk::ImageCopy {
    vk::ImageCopy::default()
        .src_subresource(layers(from))
        .src_offset(region_offset(from, (0, 0)))
        .dst_subresource(layers(to))
        .dst_offset(region_offset(to, (0, 0)))
        .extent(vk::Extent3D {
            width: from.width,
            height: from.height,
            depth: 1,
        })
}

fn image_blit((from, to): &(Region, Region)) -> vk::ImageBlit {
    let corners = |region: &Region| {
        let mut end = region_offset(region, (region.width, region.height));
        end.z = 1;
        [region_offset(region, (0, 0)), end]
    };
    vk::ImageBlit::default()
        .src_subresource(layers(from))
        .src_offsets(corners(from))
        .dst_subresource(layers(to))
        .dst_offsets(corners(to))
}

fn layers(region: &Region) -> vk::ImageSubresourceLayers {
    vk::ImageSubresourceLayers::default()
        .aspect_mask(region.aspect)
        .layer_count(1)
}

/// Returns the coordinates of a pixel that is this many columns and rows after the first pixel of a region.
fn region_offset(region: &Region, (columns, rows): (u32, u32)) -> vk::Offset3D {
    // The conversion does not fail, since images have far less than 2^31 columns and rows.
    let at = |first: u32, more: u32| i32::try_from(first.saturating_add(more)).unwrap_or(0);
    vk::Offset3D {
        x: at(region.corner.0, columns),
        y: at(region.corner.1, rows),
        z: 0,
    }
}
