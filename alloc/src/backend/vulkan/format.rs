//! The Vulkan formats of DRM fourccs.

use ash::vk;

use crate::model::Fourcc;

/// The Vulkan format whose pixels have the same bytes as each fourcc.
///
/// The name of a Vulkan format has the order of the bytes in memory, or, with `PACK`, the order of the bits from the highest
/// down. For a fourcc with an X channel, the Vulkan format has an alpha channel, which is ignored. For a fourcc with Cr before
/// Cb, the Vulkan format has Cb first, and the sampler swaps the two components.
///
/// # References
/// Vulkan, "Format Definition" and "Compatible Formats of Planes of Multi-Planar Formats"; `drm_fourcc.h`.
const TABLE: [(Fourcc, vk::Format); 17] = [
    (Fourcc::XRGB8888, vk::Format::B8G8R8A8_UNORM),
    (Fourcc::ARGB8888, vk::Format::B8G8R8A8_UNORM),
    (Fourcc::XBGR8888, vk::Format::R8G8B8A8_UNORM),
    (Fourcc::ABGR8888, vk::Format::R8G8B8A8_UNORM),
    (Fourcc::RGB888, vk::Format::B8G8R8_UNORM),
    (Fourcc::BGR888, vk::Format::R8G8B8_UNORM),
    (Fourcc::RGB565, vk::Format::R5G6B5_UNORM_PACK16),
    (Fourcc::R8, vk::Format::R8_UNORM),
    (Fourcc::YUYV, vk::Format::G8B8G8R8_422_UNORM),
    (Fourcc::UYVY, vk::Format::B8G8R8G8_422_UNORM),
    (Fourcc::NV12, vk::Format::G8_B8R8_2PLANE_420_UNORM),
    (Fourcc::NV21, vk::Format::G8_B8R8_2PLANE_420_UNORM),
    (Fourcc::NV16, vk::Format::G8_B8R8_2PLANE_422_UNORM),
    (Fourcc::NV61, vk::Format::G8_B8R8_2PLANE_422_UNORM),
    (Fourcc::YUV420, vk::Format::G8_B8_R8_3PLANE_420_UNORM),
    (Fourcc::YVU420, vk::Format::G8_B8_R8_3PLANE_420_UNORM),
    (Fourcc::YUV422, vk::Format::G8_B8_R8_3PLANE_422_UNORM),
];

/// Lists every fourcc that has a Vulkan format, with that format.
pub(super) fn all() -> impl Iterator<Item = (Fourcc, vk::Format)> {
    TABLE.into_iter()
}

/// Returns the Vulkan format of a fourcc; `None` if Vulkan has none.
#[must_use]
pub fn of(fourcc: Fourcc) -> Option<vk::Format> {
    TABLE
        .iter()
        .find(|(known, _)| *known == fourcc)
        .map(|(_, format)| *format)
}

/// Returns the numbers of which the width and the height of an image must be multiples: the chroma subsampling of the format.
///
/// # References
/// VUID-VkImageCreateInfo-format-04712 and 04713.
pub(super) fn size_multiples(fourcc: Fourcc) -> (u32, u32) {
    let planes = fourcc.info().map_or(&[][..], |info| info.planes);
    let largest = |side: fn(&crate::model::PlaneInfo) -> u32| planes.iter().map(side).max();
    (
        largest(|plane| plane.hsub).unwrap_or(1),
        largest(|plane| plane.vsub).unwrap_or(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_of_every_entry_has_a_known_layout() {
        for (fourcc, format) in all() {
            assert!(fourcc.info().is_some(), "{fourcc}");
            assert!(of(fourcc) == Some(format), "{fourcc}");
        }
        assert!(of(Fourcc::RGBA8888).is_none());
    }

    #[test]
    fn subsampled_formats_have_size_multiples() {
        assert_eq!(size_multiples(Fourcc::XRGB8888), (1, 1));
        assert_eq!(size_multiples(Fourcc::YUYV), (2, 1));
        assert_eq!(size_multiples(Fourcc::NV16), (2, 1));
        assert_eq!(size_multiples(Fourcc::YUV420), (2, 2));
    }
}
