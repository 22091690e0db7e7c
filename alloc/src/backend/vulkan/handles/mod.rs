//! The Vulkan handles of a device and its images, for programs that record command buffers of their own.
//!
//! A program that uses these handles must follow Vulkan's rules: it destroys every object that it created on a device before it
//! drops the last clone of the [`Gpu`]. Its command buffer acquires an image from the external queue family before the first use
//! ([`Image::acquire`]) and releases it after the last use ([`Image::release`]). [`Gpu::submit_commands`] submits the command
//! buffer, and keeps the objects that it uses until the commands have finished.

mod sys;

use ash::vk;

use super::{Gpu, Image, VulkanError, format};
use crate::model::FormatModifier;

impl Gpu {
    /// Returns the device's handle and function table.
    #[must_use]
    pub fn handle(&self) -> &ash::Device {
        &self.device().raw
    }

    /// Returns the queue family of the device's queue.
    #[must_use]
    pub fn queue_family(&self) -> u32 {
        self.device().family
    }

    /// Returns whether the device's queue supports graphics commands (VK_QUEUE_GRAPHICS_BIT).
    #[must_use]
    pub fn has_graphics(&self) -> bool {
        self.device().has_graphics
    }

    /// Returns the format features of a format with a modifier (drmFormatModifierTilingFeatures); empty if the device does not
    /// support the format with this modifier.
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
