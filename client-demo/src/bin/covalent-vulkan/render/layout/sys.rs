//! The Vulkan objects for sampling: sampler, descriptor set layout and pipeline layout.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;

use ash::vk;
use covalent_alloc::backend::vulkan::{Gpu, VulkanError, YcbcrConversion};

use super::Sampling;
use crate::render::Frame;

/// The sampler and the pipeline layout, which the pipelines of all target formats share.
pub(in crate::render) struct SharedLayout {
    pub(in crate::render) gpu: Gpu,
    /// The conversion from Y'CbCr, with its sampler; `None` for RGB.
    pub(in crate::render) conversion: Option<YcbcrConversion>,
    /// The sampler of RGB textures; null for Y'CbCr textures, whose conversion has its own sampler, and without a camera.
    sampler: vk::Sampler,
    pub(in crate::render) set_layout: vk::DescriptorSetLayout,
    pub(in crate::render) pipeline_layout: vk::PipelineLayout,
}

impl fmt::Debug for SharedLayout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SharedLayout").finish_non_exhaustive()
    }
}

impl Drop for SharedLayout {
    fn drop(&mut self) {
        let raw = self.gpu.handle();
        // SAFETY: all objects are of this device or null. Objects that were created from them hold an Arc of this value, so none
        // exists.
        unsafe {
            raw.destroy_pipeline_layout(self.pipeline_layout, None);
            raw.destroy_descriptor_set_layout(self.set_layout, None);
            raw.destroy_sampler(self.sampler, None);
        }
    }
}

impl SharedLayout {
    pub(in crate::render) fn new(
        gpu: &Gpu,
        sampling: Option<&Sampling>,
    ) -> Result<Self, VulkanError> {
        // From here on `Drop` destroys the objects that were created.
        let mut shared = Self {
            gpu: gpu.clone(),
            conversion: None,
            sampler: vk::Sampler::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            pipeline_layout: vk::PipelineLayout::null(),
        };
        if let Some(sampling) = sampling {
            shared.sample(sampling)?;
        }
        let sets = [shared.set_layout];
        let push_constants = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT)
            .size(u32::try_from(Frame::BYTES).unwrap_or(u32::MAX))];
        let mut info =
            vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&push_constants);
        if sampling.is_some() {
            info = info.set_layouts(&sets);
        }
        // SAFETY: the structures are valid and outlive the call; every device supports 128 bytes of push constants.
        shared.pipeline_layout = unsafe { gpu.handle().create_pipeline_layout(&info, None) }
            .map_err(|error| gpu.call_error("vkCreatePipelineLayout", error))?;
        Ok(shared)
    }

    /// Creates the sampler and the descriptor set layout for a texture.
    fn sample(&mut self, sampling: &Sampling) -> Result<(), VulkanError> {
        let gpu = &self.gpu;
        let raw = gpu.handle();
        let samplers = if let Some(colours) = sampling.colours {
            let conversion = gpu.ycbcr_conversion(sampling.format, colours, sampling.filter)?;
            [self.conversion.insert(conversion).sampler()]
        } else {
            let info = vk::SamplerCreateInfo::default()
                .mag_filter(sampling.filter)
                .min_filter(sampling.filter)
                .mipmap_mode(vk::SamplerMipmapMode::NEAREST)
                .address_mode_u(vk::SamplerAddressMode::CLAMP_TO_EDGE)
                .address_mode_v(vk::SamplerAddressMode::CLAMP_TO_EDGE)
                .address_mode_w(vk::SamplerAddressMode::CLAMP_TO_EDGE);
            // SAFETY: the structure is valid.
            self.sampler = unsafe { raw.create_sampler(&info, None) }
                .map_err(|error| gpu.call_error("vkCreateSampler", error))?;
            [self.sampler]
        };
        // A sampler with a Y'CbCr conversion must be an immutable sampler of the layout.
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::FRAGMENT)
            .immutable_samplers(&samplers)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the structures are valid and outlive the call; the sampler lives as long as the layout.
        self.set_layout = unsafe { raw.create_descriptor_set_layout(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateDescriptorSetLayout", error))?;
        Ok(())
    }

    /// Returns whether the pipelines sample a texture.
    pub(in crate::render) fn is_sampling(&self) -> bool {
        self.set_layout != vk::DescriptorSetLayout::null()
    }
}
