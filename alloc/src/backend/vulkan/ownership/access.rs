//! The VkImageLayout, pipeline stages and access with which an application uses a shared image.

use std::fmt;

use ash::vk;

/// The image layout, the pipeline stages and the access of an application's first or last use of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ImageAccess {
    /// The VkImageLayout that the image has during the use.
    pub layout: vk::ImageLayout,
    /// The pipeline stages that use the image. The set must not be empty.
    pub stages: vk::PipelineStageFlags,
    /// How these stages access the image.
    pub access: vk::AccessFlags,
}

impl ImageAccess {
    /// Fragment shaders sample the image.
    pub const SAMPLE: Self = Self {
        layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
        stages: vk::PipelineStageFlags::FRAGMENT_SHADER,
        access: vk::AccessFlags::SHADER_READ,
    };
    /// The image is a colour attachment that is written and read for blending.
    pub const RENDER: Self = Self {
        layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
        stages: vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT,
        access: vk::AccessFlags::from_raw(
            vk::AccessFlags::COLOR_ATTACHMENT_READ.as_raw()
                | vk::AccessFlags::COLOR_ATTACHMENT_WRITE.as_raw(),
        ),
    };
    /// Pixels are copied out of the image.
    pub const COPY_OUT: Self = Self {
        layout: vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
        stages: vk::PipelineStageFlags::TRANSFER,
        access: vk::AccessFlags::TRANSFER_READ,
    };
    /// Pixels are copied into the image.
    pub const COPY_IN: Self = Self {
        layout: vk::ImageLayout::TRANSFER_DST_OPTIMAL,
        stages: vk::PipelineStageFlags::TRANSFER,
        access: vk::AccessFlags::TRANSFER_WRITE,
    };
    /// Pixels are copied in or out, while the image has the layout GENERAL.
    pub(in crate::backend::vulkan) const COPY: Self = Self {
        layout: vk::ImageLayout::GENERAL,
        stages: vk::PipelineStageFlags::TRANSFER,
        access: vk::AccessFlags::from_raw(
            vk::AccessFlags::TRANSFER_READ.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw(),
        ),
    };
}

impl fmt::Debug for ImageAccess {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ImageAccess")
            .field("layout", &self.layout.as_raw())
            .field("stages", &self.stages.as_raw())
            .field("access", &self.access.as_raw())
            .finish()
    }
}

/// Whether an ownership acquire keeps the pixels of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// The pixels are kept.
    #[default]
    Keep,
    /// The pixels may be lost, because the application overwrites all of them. The driver can then skip a decompression or copy.
    Discard,
}

/// Returns why an image cannot be used with this access; `None` if it can.
///
/// # References
/// VUID-VkImageMemoryBarrier2-newLayout-01198; -oldLayout-01208, -01211, -01212 and -01213; -srcQueueFamilyIndex-03938, -03939.
pub(super) fn refusal(access: ImageAccess, usage: vk::ImageUsageFlags) -> Option<&'static str> {
    use vk::{ImageLayout as Layout, ImageUsageFlags as Usage};
    if access.stages.is_empty() {
        return Some("a barrier requires at least one stage: pass the stages that use the image");
    }
    let (needed, why) = match access.layout {
        Layout::GENERAL => return None,
        Layout::COLOR_ATTACHMENT_OPTIMAL | Layout::ATTACHMENT_OPTIMAL => (
            Usage::COLOR_ATTACHMENT,
            "the VkImageLayout requires COLOR_ATTACHMENT usage; import the image with Purpose::Render",
        ),
        Layout::SHADER_READ_ONLY_OPTIMAL | Layout::READ_ONLY_OPTIMAL => (
            Usage::SAMPLED,
            "the VkImageLayout requires SAMPLED usage; import the image with Purpose::Sample",
        ),
        Layout::TRANSFER_SRC_OPTIMAL => (
            Usage::TRANSFER_SRC,
            "the VkImageLayout requires TRANSFER_SRC usage; import the image with Purpose::Copy, if the device can copy the format",
        ),
        Layout::TRANSFER_DST_OPTIMAL => (
            Usage::TRANSFER_DST,
            "the VkImageLayout requires TRANSFER_DST usage; import the image with Purpose::Copy, if the device can copy the format",
        ),
        _ => {
            return Some(
                "a shared colour image must have the layout GENERAL, or a layout for attachments, sampling or transfers",
            );
        }
    };
    (!usage.contains(needed)).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_that_the_usage_does_not_allow_is_refused() {
        let sampled = vk::ImageUsageFlags::SAMPLED;
        assert!(refusal(ImageAccess::SAMPLE, sampled).is_none());
        assert!(refusal(ImageAccess::COPY, sampled).is_none());
        assert!(refusal(ImageAccess::RENDER, sampled).is_some_and(|why| why.contains("Render")));
        assert!(refusal(ImageAccess::COPY_IN, sampled).is_some());
        let undefined = ImageAccess {
            layout: vk::ImageLayout::UNDEFINED,
            ..ImageAccess::SAMPLE
        };
        assert!(refusal(undefined, sampled).is_some());
        let nowhere = ImageAccess {
            stages: vk::PipelineStageFlags::empty(),
            ..ImageAccess::SAMPLE
        };
        assert!(refusal(nowhere, sampled).is_some_and(|why| why.contains("stage")));
    }
}
