//! The purpose of a device's images, from which the required format features and the VkImageUsageFlags follow.

use ash::vk;

/// The purpose for which a device uses an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The device copies pixels in and out ([`Image::write`](super::Image::write), [`Image::read`](super::Image::read)), and
    /// samples them if the format supports it.
    #[default]
    Copy,
    /// The program's commands sample the image.
    Sample,
    /// The program's commands render to the image. [`Image::write`](super::Image::write) requires [`Purpose::Copy`].
    Render,
}

impl Purpose {
    /// Returns the image usage for a format with these features; empty if the features are not sufficient.
    pub(super) fn usage(self, features: vk::FormatFeatureFlags) -> vk::ImageUsageFlags {
        let sampled = (
            vk::FormatFeatureFlags::SAMPLED_IMAGE,
            vk::ImageUsageFlags::SAMPLED,
        );
        let copied = [
            sampled,
            (
                vk::FormatFeatureFlags::TRANSFER_SRC,
                vk::ImageUsageFlags::TRANSFER_SRC,
            ),
            (
                vk::FormatFeatureFlags::TRANSFER_DST,
                vk::ImageUsageFlags::TRANSFER_DST,
            ),
        ];
        let drawn = (
            vk::FormatFeatureFlags::COLOR_ATTACHMENT,
            vk::ImageUsageFlags::COLOR_ATTACHMENT,
        );
        let pairs: &[_] = match self {
            Self::Copy => &copied,
            Self::Sample => &[sampled],
            Self::Render => &[drawn],
        };
        pairs
            .iter()
            .filter(|(feature, _)| features.contains(*feature))
            .fold(vk::ImageUsageFlags::empty(), |all, (_, usage)| all | *usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_contains_only_what_the_format_features_allow() {
        let sampled = vk::FormatFeatureFlags::SAMPLED_IMAGE;
        assert!(Purpose::Copy.usage(sampled) == vk::ImageUsageFlags::SAMPLED);
        assert!(Purpose::Sample.usage(sampled) == vk::ImageUsageFlags::SAMPLED);
        assert!(Purpose::Render.usage(sampled).is_empty());
        let drawn = sampled | vk::FormatFeatureFlags::COLOR_ATTACHMENT;
        let usage = Purpose::Render.usage(drawn);
        assert!(usage == vk::ImageUsageFlags::COLOR_ATTACHMENT);
    }
}
