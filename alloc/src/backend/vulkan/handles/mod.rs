//! The handles behind a device and its images, for programs that record commands of their own.
//!
//! Whoever calls Vulkan with these handles keeps its rules: what is made of a device is destroyed before the last clone of its
//! [`Gpu`] goes, and commands begin by taking an image over from [`Gpu::outside_family`] ([`Image::acquire`]) and end by handing it
//! back ([`Image::release`]). Commands go to the queue by [`Gpu::submit_commands`], which keeps what they use until they are over.

mod sys;

use ash::vk;

use super::{Gpu, Image, VulkanError, format};
use crate::model::FormatModifier;

impl Gpu {
    /// The functions of the device.
    #[must_use]
    pub fn handle(&self) -> &ash::Device {
        &self.device().raw
    }

    /// The family of the queue.
    #[must_use]
    pub fn queue_family(&self) -> u32 {
        self.device().family
    }

    /// Who owns images while others use them: VK_QUEUE_FAMILY_FOREIGN_EXT, or EXTERNAL where the driver has no other.
    #[must_use]
    pub(crate) fn outside_family(&self) -> u32 {
        self.outside()
    }

    /// Whether the queue draws.
    #[must_use]
    pub fn draws(&self) -> bool {
        self.device().draws
    }

    /// What images in a format can be used for.
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

    /// Makes an error of what a call answered.
    #[must_use]
    pub fn answered(&self, operation: &'static str, answer: vk::Result) -> VulkanError {
        self.failed(operation)(answer)
    }
}

impl Image {
    /// The image.
    #[must_use]
    pub fn handle(&self) -> vk::Image {
        self.raw.raw
    }

    /// The device that it is of.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Vulkan's name of its format.
    #[must_use]
    pub fn format(&self) -> vk::Format {
        format::of(self.layout.format().fourcc).unwrap_or_default()
    }
}
