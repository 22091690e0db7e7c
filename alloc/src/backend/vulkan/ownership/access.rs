//! How an application uses an image that it shares.

use std::fmt;

use ash::vk;

/// How an application uses an image first or last: in which layout, in which stages, with which access.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ImageAccess {
    /// The layout in which the application has the image.
    pub layout: vk::ImageLayout,
    /// The stages that use it; not none.
    pub stages: vk::PipelineStageFlags,
    /// How they use it.
    pub access: vk::AccessFlags,
}

impl ImageAccess {
    /// Fragment shaders sample it.
    pub const SAMPLE: Self = Self {
        layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
        stages: vk::PipelineStageFlags::FRAGMENT_SHADER,
        access: vk::AccessFlags::SHADER_READ,
    };
    /// It is drawn to, and blended with what is there.
    pub const RENDER: Self = Self {
        layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
        stages: vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT,
        access: vk::AccessFlags::from_raw(
            vk::AccessFlags::COLOR_ATTACHMENT_READ.as_raw()
                | vk::AccessFlags::COLOR_ATTACHMENT_WRITE.as_raw(),
        ),
    };
    /// Pixels are copied out of it.
    pub const COPY_OUT: Self = Self {
        layout: vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
        stages: vk::PipelineStageFlags::TRANSFER,
        access: vk::AccessFlags::TRANSFER_READ,
    };
    /// Pixels are copied into it.
    pub const COPY_IN: Self = Self {
        layout: vk::ImageLayout::TRANSFER_DST_OPTIMAL,
        stages: vk::PipelineStageFlags::TRANSFER,
        access: vk::AccessFlags::TRANSFER_WRITE,
    };
    /// Copies go both ways, in the layout GENERAL.
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

/// What becomes of the pixels when an image is acquired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// They stay.
    #[default]
    Keep,
    /// They may be lost: the application writes all of them. Drivers then need not decompress or copy what is there.
    Discard,
}

/// Why an image cannot be used so; `None` where it can.
///
/// # References
/// VUID-VkImageMemoryBarrier2-newLayout-01198; -oldLayout-01208, -01211, -01212 and -01213; -srcQueueFamilyIndex-03938, -03939.
pub(super) fn refusal(access: ImageAccess, usage: vk::ImageUsageFlags) -> Option<&'static str> {
    use vk::{ImageLayout as Layout, ImageUsageFlags as Usage};
    if access.stages.is_empty() {
        return Some("a barrier needs a stage: name the stages that use the image");
    }
    let (needed, why) = match access.layout {
        Layout::GENERAL => return None,
        Layout::COLOR_ATTACHMENT_OPTIMAL | Layout::ATTACHMENT_OPTIMAL => (
            Usage::COLOR_ATTACHMENT,
            "that layout is for images that are drawn to; import it with Purpose::Render",
        ),
        Layout::SHADER_READ_ONLY_OPTIMAL | Layout::READ_ONLY_OPTIMAL => (
            Usage::SAMPLED,
            "that layout is for images that are sampled; import it with Purpose::Sample",
        ),
        Layout::TRANSFER_SRC_OPTIMAL => (
            Usage::TRANSFER_SRC,
            "that layout is for images that are copied out of; import it with Purpose::Copy, where the device copies the format",
        ),
        Layout::TRANSFER_DST_OPTIMAL => (
            Usage::TRANSFER_DST,
            "that layout is for images that are copied into; import it with Purpose::Copy, where the device copies the format",
        ),
        _ => {
            return Some(
                "a colour image that is shared is in the layout GENERAL, or in one for drawing, sampling or copying",
            );
        }
    };
    (!usage.contains(needed)).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_that_the_usage_rules_out_is_refused() {
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
