//! Conversions, samplers and views as objects of Vulkan.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;
use std::sync::Arc;

use ash::vk;

use crate::backend::vulkan::{Gpu, Image, VulkanError};

/// What converts pictures in one format to RGB while they are sampled. Clones are one.
#[derive(Clone)]
pub struct YcbcrConversion {
    raw: Arc<Raw>,
}

struct Raw {
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

impl Drop for Raw {
    fn drop(&mut self) {
        let raw = self.gpu.handle();
        // SAFETY: both are of this device or null; an application that used their handles has seen its work end.
        unsafe {
            raw.destroy_sampler(self.sampler, None);
            raw.destroy_sampler_ycbcr_conversion(self.conversion, None);
        }
    }
}

impl YcbcrConversion {
    /// Makes one that the device has.
    pub(super) fn new(
        gpu: &Gpu,
        format: vk::Format,
        info: &vk::SamplerYcbcrConversionCreateInfo<'_>,
        filter: vk::Filter,
    ) -> Result<Self, VulkanError> {
        // From here on a drop gives back what was made.
        let mut made = Raw {
            gpu: gpu.clone(),
            format,
            conversion: vk::SamplerYcbcrConversion::null(),
            sampler: vk::Sampler::null(),
        };
        let raw = gpu.handle();
        // SAFETY: the structure is complete; the feature is switched on, and format, places and filter are what the device has.
        made.conversion = unsafe { raw.create_sampler_ycbcr_conversion(info, None) }
            .map_err(|answer| gpu.answered("vkCreateSamplerYcbcrConversion", answer))?;
        let mut converted = vk::SamplerYcbcrConversionInfo::default().conversion(made.conversion);
        // A sampler that converts clamps, and neither is anisotropic nor takes coordinates in pixels.
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
            .map_err(|answer| gpu.answered("vkCreateSampler", answer))?;
        Ok(Self {
            raw: Arc::new(made),
        })
    }

    /// The conversion, for views of an application's own.
    #[must_use]
    pub fn handle(&self) -> vk::SamplerYcbcrConversion {
        self.raw.conversion
    }

    /// The sampler. It has to be an immutable sampler of the descriptor set's layout.
    ///
    /// # References
    /// VUID-VkWriteDescriptorSet-descriptorType-02738.
    #[must_use]
    pub fn sampler(&self) -> vk::Sampler {
        self.raw.sampler
    }

    /// The format that it converts, in which views are made.
    #[must_use]
    pub fn format(&self) -> vk::Format {
        self.raw.format
    }

    /// Makes a view of an image through which this conversion samples it. The caller destroys it before the image and the
    /// conversion go.
    ///
    /// # Errors
    /// [`VulkanError::Sampling`] for an image of another format, or that is not sampled; [`VulkanError::Call`].
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
                why: "the conversion is of another format or device, or the image is not sampled"
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
        // SAFETY: the chain is complete and outlives the call; image and conversion are of this device and of one format.
        unsafe { gpu.handle().create_image_view(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateImageView", answer))
    }
}
