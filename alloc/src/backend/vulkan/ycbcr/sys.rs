//! The Vulkan objects of a Y'CbCr conversion: conversion, sampler and image views.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::fmt;
use std::sync::Arc;

use ash::vk;

use crate::backend::vulkan::{Gpu, Image, VulkanError};

/// A VkSamplerYcbcrConversion and a VkSampler with it, for one format. Clones share the two objects.
#[derive(Clone)]
pub struct YcbcrConversion {
    raw: Arc<RawConversion>,
}

struct RawConversion {
    gpu: Gpu,
    format: vk::Format,
    conversion: vk::SamplerYcbcrConversion,
    sampler: vk::Sampler,
}

impl fmt::Debug for YcbcrConversion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("YcbcrConversion")
            .field("gpu", &self.raw.gpu)
            .field("format", &self.raw.format.as_raw())
            .finish_non_exhaustive()
    }
}

impl Drop for RawConversion {
    fn drop(&mut self) {
        let raw = self.gpu.handle();
        // SAFETY: sampler and conversion belong to this device or are null; an application that used their handles has waited for
        // its work.
        unsafe {
            raw.destroy_sampler(self.sampler, None);
            raw.destroy_sampler_ycbcr_conversion(self.conversion, None);
        }
    }
}

impl YcbcrConversion {
    /// Creates a conversion with parameters that the device supports.
    pub(super) fn new(
        gpu: &Gpu,
        format: vk::Format,
        info: &vk::SamplerYcbcrConversionCreateInfo<'_>,
        filter: vk::Filter,
    ) -> Result<Self, VulkanError> {
        // If a later call fails, the drop of this value destroys the objects that were created before.
        let mut made = RawConversion {
            gpu: gpu.clone(),
            format,
            conversion: vk::SamplerYcbcrConversion::null(),
            sampler: vk::Sampler::null(),
        };
        let raw = gpu.handle();
        // SAFETY: the structure is complete; the feature is enabled, and the device supports format, chroma locations and filter.
        made.conversion = unsafe { raw.create_sampler_ycbcr_conversion(info, None) }
            .map_err(|result| gpu.call_error("vkCreateSamplerYcbcrConversion", result))?;
        let mut converted = vk::SamplerYcbcrConversionInfo::default().conversion(made.conversion);
        // A sampler with a conversion must clamp to the edge, and must have neither anisotropy nor unnormalised coordinates.
        let info = vk::SamplerCreateInfo::default()
            .mag_filter(filter)
            .min_filter(filter)
            .mipmap_mode(vk::SamplerMipmapMode::NEAREST)
            .address_mode_u(vk::SamplerAddressMode::CLAMP_TO_EDGE)
            .address_mode_v(vk::SamplerAddressMode::CLAMP_TO_EDGE)
            .address_mode_w(vk::SamplerAddressMode::CLAMP_TO_EDGE)
            .push_next(&mut converted);
        // SAFETY: the chain is complete and outlives the call; the conversion is of this device.
        made.sampler = unsafe { raw.create_sampler(&info, None) }
            .map_err(|result| gpu.call_error("vkCreateSampler", result))?;
        Ok(Self {
            raw: Arc::new(made),
        })
    }

    /// Returns the VkSamplerYcbcrConversion, for an application that creates its own image views.
    #[must_use]
    pub fn handle(&self) -> vk::SamplerYcbcrConversion {
        self.raw.conversion
    }

    /// Returns the sampler. The descriptor set layout must contain it as an immutable sampler.
    ///
    /// # References
    /// VUID-VkWriteDescriptorSet-descriptorType-02738.
    #[must_use]
    pub fn sampler(&self) -> vk::Sampler {
        self.raw.sampler
    }

    /// Returns the Vulkan format of the conversion, which its image views must have.
    #[must_use]
    pub fn format(&self) -> vk::Format {
        self.raw.format
    }

    /// Creates an image view through which this conversion samples an image. The caller destroys the view before it drops the
    /// image and the conversion.
    ///
    /// # Errors
    /// [`VulkanError::Sampling`] for an image of another format or without SAMPLED usage; [`VulkanError::Call`].
    ///
    /// # References
    /// VUID-VkImageViewCreateInfo-format-06415 and -pNext-01970.
    pub fn view(&self, image: &Image) -> Result<vk::ImageView, VulkanError> {
        let gpu = image.gpu();
        let is_sampled = image.usage.contains(vk::ImageUsageFlags::SAMPLED);
        if image.format() != self.raw.format || !is_sampled || !gpu.is_same(&self.raw.gpu) {
            return Err(VulkanError::Sampling {
                device: gpu.name().to_owned(),
                format: image.buffer().layout().format(),
                why: "the conversion was created for another format or device, or the image has no SAMPLED usage"
                    .to_owned(),
            });
        }
        let mut converted =
            vk::SamplerYcbcrConversionInfo::default().conversion(self.raw.conversion);
        let info = vk::ImageViewCreateInfo::default()
            .image(image.handle())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(self.raw.format)
            .subresource_range(
                vk::ImageSubresourceRange::default()
                    .aspect_mask(vk::ImageAspectFlags::COLOR)
                    .level_count(1)
                    .layer_count(1),
            )
            .push_next(&mut converted);
        // SAFETY: the chain is complete and outlives the call; image and conversion are of this device and of the same format.
        unsafe { gpu.handle().create_image_view(&info, None) }
            .map_err(|result| gpu.call_error("vkCreateImageView", result))
    }
}
