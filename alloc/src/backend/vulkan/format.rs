//! DRM's formats as Vulkan names them.

use ash::vk;

use crate::model::Fourcc;

/// Which Vulkan format has the same bytes.
///
/// Vulkan names a format by the order of bytes in memory, or, with `PACK`, by the order of bits from the highest down. An
/// X is an alpha that nobody looks at, and formats with Cr before Cb are those with Cb first, whose reader swaps the two.
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

/// Every format that Vulkan has a name for.
pub(super) fn all() -> impl Iterator<Item = (Fourcc, vk::Format)> {
    TABLE.into_iter()
}

/// Vulkan's name of a format; `None` where it has none.
#[must_use]
pub fn of(fourcc: Fourcc) -> Option<vk::Format> {
    TABLE
        .iter()
        .find(|(known, _)| *known == fourcc)
        .map(|(_, format)| *format)
}

/// Columns and rows of which a picture's sides are multiples: a sample of chroma is never cut.
///
/// # References
/// VUID-VkImageCreateInfo-format-04712 and 04713.
pub(super) fn steps(fourcc: Fourcc) -> (u32, u32) {
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
    fn sides_of_subsampled_formats_have_steps() {
        assert_eq!(steps(Fourcc::XRGB8888), (1, 1));
        assert_eq!(steps(Fourcc::YUYV), (2, 1));
        assert_eq!(steps(Fourcc::NV16), (2, 1));
        assert_eq!(steps(Fourcc::YUV420), (2, 2));
    }
}
