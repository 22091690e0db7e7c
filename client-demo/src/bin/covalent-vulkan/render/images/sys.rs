//! Image views, framebuffers and descriptor sets of imported buffers.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;
use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::vulkan::{Image, VulkanError};
use covalent_alloc::model::Rect;

use crate::render::layout::SharedLayout;
use crate::render::pipelines::Pipelines;

/// The maximum number of descriptors of one combined image sampler: a multi-planar format can need one for each plane.
const DESCRIPTORS: u32 = 3;

/// The colour aspect of the whole image.
const COLOR_SUBRESOURCES: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// An image that is rendered to.
pub(in crate::render) struct Target {
    pub(in crate::render) pipelines: Arc<Pipelines>,
    pub(in crate::render) image: Image,
    view: vk::ImageView,
    pub(in crate::render) framebuffer: vk::Framebuffer,
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Target").field(&self.image).finish()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let raw = self.image.gpu().handle();
        // SAFETY: both objects are of this device or null. Pending work holds an Arc of this value, so no work uses them.
        unsafe {
            raw.destroy_framebuffer(self.framebuffer, None);
            raw.destroy_image_view(self.view, None);
        }
    }
}

impl Target {
    pub(in crate::render) fn new(
        pipelines: Arc<Pipelines>,
        image: Image,
    ) -> Result<Self, VulkanError> {
        // From here on `Drop` destroys the objects that were created.
        let mut target = Self {
            pipelines,
            image,
            view: vk::ImageView::null(),
            framebuffer: vk::Framebuffer::null(),
        };
        let gpu = target.image.gpu().clone();
        let info = vk::ImageViewCreateInfo::default()
            .image(target.image.handle())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(target.image.format())
            .subresource_range(COLOR_SUBRESOURCES);
        // SAFETY: the image is of this device, has this format, and lives as long as the view.
        target.view = unsafe { gpu.handle().create_image_view(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateImageView", error))?;
        let extent = target.image.buffer().layout().extent();
        let views = [target.view];
        let info = vk::FramebufferCreateInfo::default()
            .render_pass(target.pipelines.pass)
            .attachments(&views)
            .width(extent.width())
            .height(extent.height())
            .layers(1);
        // SAFETY: the render pass and the view are of this device, and the view has the pass's format and this size.
        target.framebuffer = unsafe { gpu.handle().create_framebuffer(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateFramebuffer", error))?;
        Ok(target)
    }

    /// Returns the visible rectangle of the buffer, to which frames are rendered.
    pub(in crate::render) fn visible(&self) -> Rect {
        self.image.buffer().layout().visible()
    }
}

/// An image that is sampled.
pub(in crate::render) struct Texture {
    shared: Arc<SharedLayout>,
    pub(in crate::render) image: Image,
    view: vk::ImageView,
    pool: vk::DescriptorPool,
    pub(in crate::render) set: vk::DescriptorSet,
}

impl fmt::Debug for Texture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Texture").field(&self.image).finish()
    }
}

impl Drop for Texture {
    fn drop(&mut self) {
        let raw = self.shared.gpu.handle();
        // SAFETY: both objects are of this device or null. Pending work holds an Arc of this value, so no work uses them. The
        // descriptor set is freed with its pool.
        unsafe {
            raw.destroy_descriptor_pool(self.pool, None);
            raw.destroy_image_view(self.view, None);
        }
    }
}

impl Texture {
    pub(in crate::render) fn new(
        shared: Arc<SharedLayout>,
        image: Image,
    ) -> Result<Self, VulkanError> {
        // From here on `Drop` destroys the objects that were created.
        let mut texture = Self {
            shared,
            image,
            view: vk::ImageView::null(),
            pool: vk::DescriptorPool::null(),
            set: vk::DescriptorSet::null(),
        };
        let shared = Arc::clone(&texture.shared);
        let (gpu, raw) = (&shared.gpu, shared.gpu.handle());
        texture.view = match &shared.conversion {
            Some(conversion) => conversion.view(&texture.image)?,
            None => {
                let info = vk::ImageViewCreateInfo::default()
                    .image(texture.image.handle())
                    .view_type(vk::ImageViewType::TYPE_2D)
                    .format(texture.image.format())
                    .subresource_range(COLOR_SUBRESOURCES);
                // SAFETY: the structure is valid; the image is of this device and lives as long as the view.
                unsafe { raw.create_image_view(&info, None) }
                    .map_err(|error| gpu.call_error("vkCreateImageView", error))?
            }
        };
        let sizes = [vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(DESCRIPTORS)];
        let info = vk::DescriptorPoolCreateInfo::default()
            .max_sets(1)
            .pool_sizes(&sizes);
        // SAFETY: the structures are valid and outlive the call.
        texture.pool = unsafe { raw.create_descriptor_pool(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateDescriptorPool", error))?;
        let layouts = [shared.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(texture.pool)
            .set_layouts(&layouts);
        // SAFETY: the pool and the layout are of this device, and no other thread uses the new pool.
        let sets = unsafe { raw.allocate_descriptor_sets(&info) }
            .map_err(|error| gpu.call_error("vkAllocateDescriptorSets", error))?;
        texture.set = sets.first().copied().unwrap_or_default();
        let images = [vk::DescriptorImageInfo::default()
            .image_view(texture.view)
            .image_layout(vk::ImageLayout::GENERAL)];
        let writes = [vk::WriteDescriptorSet::default()
            .dst_set(texture.set)
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .image_info(&images)];
        // SAFETY: the set has one descriptor of this type with an immutable sampler, and no work uses the set yet.
        unsafe { raw.update_descriptor_sets(&writes, &[]) };
        Ok(texture)
    }
}
