//! The Vulkan handles of a device and its images, for programs that record command buffers of their own.
//!
//! A program that uses these handles must follow Vulkan's rules: it destroys every object of a device before it drops the last
//! clone of the [`Gpu`]. Its commands acquire an image from the external queue family first ([`Image::acquire`]) and release it
//! at the end ([`Image::release`]). [`Gpu::submit_commands`] submits them and keeps the objects that they use until they have
//! finished.

mod sys;

use ash::vk;

use super::{Gpu, Image, VulkanError, format};
use crate::model::FormatModifier;

impl Gpu {
    /// Returns the function table of the device.
    #[must_use]
    pub fn handle(&self) -> &ash::Device {
        &self.device().raw
    }

    /// Returns the family of the queue.
    #[must_use]
    pub fn queue_family(&self) -> u32 {
        self.device().family
    }

    /// Returns whether the queue supports graphics.
    #[must_use]
    pub fn has_graphics(&self) -> bool {
        self.device().has_graphics
    }

    /// Returns the format features of a format with a modifier (drmFormatModifierTilingFeatures).
    #[must_use]
    pub fn features(&self, format: FormatModifier) -> vk::FormatFeatureFlags {
        let listed = format::of(format.fourcc)
            .map(|vulkan| self.device().physical.modifiers(vulkan))
            .unwrap_or_default();
        listed
            .iter()
            .find(|one| one.drm_format_modifier == format.modifier.0)
            .map(|one| one.drm_format_modifier_tiling_features)
            .unwrap_or_default()
    }

    /// Makes an error from the result code of a Vulkan call; `operation` is the call's name.
    #[must_use]
    pub fn call_error(&self, operation: &'static str, result: vk::Result) -> VulkanError {
        self.failed(operation)(result)
    }
}

impl Image {
    /// Returns the VkImage.
    #[must_use]
    pub fn handle(&self) -> vk::Image {
        self.raw.raw
    }

    /// Returns the device that imported the image.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Returns the Vulkan format of the image.
    #[must_use]
    pub fn format(&self) -> vk::Format {
        format::of(self.layout.format().fourcc).unwrap_or_default()
    }
}
