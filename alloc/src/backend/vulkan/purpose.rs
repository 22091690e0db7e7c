//! What a device does with an image, which decides what its driver has to say of the format before.

use ash::vk;

/// What a device does with an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// It copies pixels in and out ([`Image::write`](super::Image::write), [`Image::read`](super::Image::read)), and samples them
    /// where it can.
    #[default]
    Copy,
    /// It samples pixels while it draws something else, by commands of the program's own.
    Sample,
    /// It draws pixels, by commands of the program's own. [`Image::write`](super::Image::write) is for [`Purpose::Copy`].
    Render,
}

impl Purpose {
    /// How an image with these features is used; nothing where they are not enough.
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
    fn usage_is_what_the_format_has_and_nothing_else() {
        let sampled = vk::FormatFeatureFlags::SAMPLED_IMAGE;
        assert!(Purpose::Copy.usage(sampled) == vk::ImageUsageFlags::SAMPLED);
        assert!(Purpose::Sample.usage(sampled) == vk::ImageUsageFlags::SAMPLED);
        assert!(Purpose::Render.usage(sampled).is_empty());
        let drawn = sampled | vk::FormatFeatureFlags::COLOR_ATTACHMENT;
        let usage = Purpose::Render.usage(drawn);
        assert!(usage == vk::ImageUsageFlags::COLOR_ATTACHMENT);
    }
}
