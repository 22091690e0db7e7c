//! Vulkan images as a memory source: the driver allocates an image and exports its memory as a dma-buf.

use ash::vk;

use super::image::{self, RawImage};
use super::participant::ImageFormat;
use super::purpose::Purpose;
use super::{Gpu, VulkanError};
use crate::backend::meminfo;
use crate::buffer::Buffer;
use crate::model::{Layout, Modifier};
use crate::solve::Plan;

impl Gpu {
    /// Allocates the buffers of a plan as images and exports their memory. The dma-bufs keep the memory; the images are
    /// destroyed.
    ///
    /// A linear image gets the planned layout if the driver accepts it. Otherwise the driver chooses a layout for the planned
    /// modifier, and every participant must accept that layout.
    ///
    /// The driver can end the process during this call; try the plan in a child process first.
    ///
    /// # Errors
    /// [`VulkanError::NotPlanned`] for a plan of another source, [`VulkanError::Budget`], [`VulkanError::Unsuitable`],
    /// [`VulkanError::Call`], [`VulkanError::Unusable`]. After an error nothing stays allocated.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, VulkanError> {
        if *plan.source() != self.source_id() {
            return Err(VulkanError::NotPlanned {
                device: self.name().to_owned(),
                planned: plan.source_name().to_owned(),
            });
        }
        let layout = plan.layout();
        if let Some(short) = meminfo::shortage(plan) {
            return Err(VulkanError::Budget {
                device: self.name().to_owned(),
                needed_bytes: short.needed_bytes,
                available_bytes: short.available_bytes,
            });
        }
        let kind = self
            .kind(layout.format(), Purpose::Copy)?
            .filter(|kind| {
                kind.support
                    .memory
                    .contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE)
            })
            .ok_or_else(|| VulkanError::Unsuitable {
                device: self.name().to_owned(),
                extent: layout.extent(),
                format: layout.format(),
                why: "the device exports no images with this format and modifier".to_owned(),
            })?;
        (0..plan.count())
            .map(|_| self.allocate_one(plan, &kind))
            .collect()
    }

    fn allocate_one(&self, plan: &Plan, kind: &ImageFormat) -> Result<Buffer, VulkanError> {
        let unusable = |why: String| VulkanError::Unusable {
            device: self.name().to_owned(),
            why,
        };
        let (mut raw, layout) = self.image_of(plan, kind)?;
        let needed = raw.requirements(None);
        let memory_type = self.exportable_type(needed.type_bits).ok_or_else(|| {
            unusable("the device has no memory type that the image supports".to_owned())
        })?;
        // The size of the allocation is the larger of two sizes: the plan's size can include padding for another participant, and
        // the size that the driver requires can include padding of its own.
        let size = needed.size_bytes.max(plan.layout().total_bytes());
        let requires_dedicated = kind
            .support
            .memory
            .contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY);
        if requires_dedicated && size != needed.size_bytes {
            return Err(unusable(format!(
                "the driver requires a dedicated allocation of exactly {} bytes, and the plan needs {size} bytes",
                needed.size_bytes
            )));
        }
        let fd = raw
            .allocate(size, memory_type, size == needed.size_bytes)
            .map_err(self.failed("vkAllocateMemory (exportable)"))?;
        Buffer::assemble(&layout, vec![fd], &self.source_name())
            .map_err(|error| unusable(error.to_string()))
    }

    /// Creates the image of a plan without memory, and returns it with the layout of its planes.
    ///
    /// For the modifier LINEAR, exactly the planned layout is requested. The driver chooses the layout if it does not accept the
    /// planned layout, and for all other modifiers.
    fn image_of(&self, plan: &Plan, kind: &ImageFormat) -> Result<(RawImage, Layout), VulkanError> {
        let (planned, extent) = (plan.layout(), plan.layout().extent());
        if planned.format().modifier == Modifier::LINEAR {
            if let Ok(raw) = image::create_without_memory(self, kind, extent, Some(planned)) {
                return Ok((raw, planned.clone()));
            }
        }
        let raw = image::create_without_memory(self, kind, extent, None)
            .map_err(self.failed("vkCreateImage"))?;
        let unusable = |why: String| VulkanError::Unusable {
            device: self.name().to_owned(),
            why,
        };
        let layout = image::query_layout(&raw, kind, extent)
            .and_then(|layout| layout.with_visible(planned.visible()).ok())
            .ok_or_else(|| {
                unusable("the layout that the driver reports is inconsistent".to_owned())
            })?;
        plan.accepts(&layout)
            .map_err(|error| unusable(error.to_string()))?;
        Ok((raw, layout))
    }

    /// Selects the memory type of an exported image: a HOST_VISIBLE type if the image supports one, so that the CPU can map the
    /// dma-buf.
    pub(super) fn exportable_type(&self, type_bits: u32) -> Option<u32> {
        let visible = self
            .device()
            .physical
            .memory_types()
            .iter()
            .zip(0_u32..)
            .filter(|(flags, _)| flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE))
            .fold(0_u32, |bits, (_, number)| {
                bits | 1_u32.checked_shl(number).unwrap_or(0)
            });
        image::lowest_set_bit(type_bits & visible).or_else(|| image::lowest_set_bit(type_bits))
    }
}
