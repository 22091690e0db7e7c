//! V4L2 pixel formats and DRM fourccs. The same format may have different codes in V4L2 and DRM, and the same code may mean
//! different formats.

use std::fmt;

use serde::{Deserialize, Serialize};

use covalent_solver::model::Fourcc;

/// A V4L2 pixel format code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PixelFormat(pub u32);

impl PixelFormat {
    /// The coded format of vicodec, the kernel's software codec (Fast Walsh-Hadamard Transform).
    pub const FWHT: Self = Self::of(*b"FWHT");

    /// H.264 bitstream with start codes.
    pub const H264: Self = Self::of(*b"H264");
    /// H.265 bitstream with start codes.
    pub const HEVC: Self = Self::of(*b"HEVC");
    /// Motion JPEG.
    pub const MJPEG: Self = Self::of(*b"MJPG");
    /// JPEG pictures with JFIF headers.
    pub const JPEG: Self = Self::of(*b"JPEG");

    /// Makes a code from its four characters, such as `*b"VP90"`.
    #[must_use]
    pub const fn of(characters: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(characters))
    }

    /// Returns the DRM fourcc of the same format, and whether each colour plane has a memory plane of its own; `None` for
    /// compressed and raw (Bayer) formats.
    #[must_use]
    pub fn fourcc(self) -> Option<(Fourcc, Disjoint)> {
        TABLE
            .iter()
            .find(|(pixel, _, _)| *pixel == self)
            .map(|(_, fourcc, disjoint)| (*fourcc, *disjoint))
    }

    /// Returns the V4L2 pixel format of a DRM fourcc; `None` if V4L2 has none.
    #[must_use]
    pub fn from_fourcc(fourcc: Fourcc, disjoint: Disjoint) -> Option<Self> {
        TABLE
            .iter()
            .find(|(_, drm, has_own_memory)| *drm == fourcc && *has_own_memory == disjoint)
            .map(|(pixel, _, _)| *pixel)
    }
}

/// Whether each colour plane has a memory plane of its own (V4L2's formats with an M).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Disjoint {
    /// All colour planes are in one memory plane.
    No,
    /// Each colour plane has a memory plane of its own.
    Yes,
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Fourcc(self.0), out)
    }
}

impl fmt::Debug for PixelFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The V4L2 pixel formats and the DRM fourccs of the same formats.
///
/// # References
/// `linux/videodev2.h` and kernel documentation, "Image Formats": V4L2 names RGB formats by the order of bytes in memory,
/// DRM by the order of bits in a little-endian word, hence `RGB3` is BGR888.
const TABLE: [(PixelFormat, Fourcc, Disjoint); 31] = {
    use Disjoint::{No, Yes};
    const fn code(characters: &[u8; 4]) -> PixelFormat {
        PixelFormat::of(*characters)
    }
    [
        (code(b"XR24"), Fourcc::XRGB8888, No),
        (code(b"AR24"), Fourcc::ARGB8888, No),
        (code(b"XB24"), Fourcc::XBGR8888, No),
        (code(b"AB24"), Fourcc::ABGR8888, No),
        (code(b"RX24"), Fourcc::RGBX8888, No),
        (code(b"RA24"), Fourcc::RGBA8888, No),
        (code(b"BX24"), Fourcc::BGRX8888, No),
        (code(b"BA24"), Fourcc::BGRA8888, No),
        (code(b"BGR3"), Fourcc::RGB888, No),
        (code(b"RGB3"), Fourcc::BGR888, No),
        (code(b"RGBP"), Fourcc::RGB565, No),
        (code(b"GREY"), Fourcc::R8, No),
        (code(b"YUYV"), Fourcc::YUYV, No),
        (code(b"YVYU"), Fourcc::YVYU, No),
        (code(b"UYVY"), Fourcc::UYVY, No),
        (code(b"VYUY"), Fourcc::VYUY, No),
        (code(b"NV12"), Fourcc::NV12, No),
        (code(b"NV21"), Fourcc::NV21, No),
        (code(b"NV16"), Fourcc::NV16, No),
        (code(b"NV61"), Fourcc::NV61, No),
        (code(b"YU12"), Fourcc::YUV420, No),
        (code(b"YV12"), Fourcc::YVU420, No),
        (code(b"422P"), Fourcc::YUV422, No),
        (code(b"NM12"), Fourcc::NV12, Yes),
        (code(b"NM21"), Fourcc::NV21, Yes),
        (code(b"NM16"), Fourcc::NV16, Yes),
        (code(b"NM61"), Fourcc::NV61, Yes),
        (code(b"YM12"), Fourcc::YUV420, Yes),
        (code(b"YM21"), Fourcc::YVU420, Yes),
        (code(b"YM16"), Fourcc::YUV422, Yes),
        // This entry is the last one, because `BGR4` is an older code of the same format and is used only if a driver lists it.
        (code(b"BGR4"), Fourcc::XRGB8888, No),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_format_is_unchanged_by_conversion_to_fourcc_and_back() {
        for (pixel, fourcc, disjoint) in &TABLE[..30] {
            assert_eq!(
                PixelFormat::from_fourcc(*fourcc, *disjoint),
                Some(*pixel),
                "{pixel}"
            );
            assert_eq!(pixel.fourcc(), Some((*fourcc, *disjoint)));
            assert!(fourcc.info().is_some(), "{fourcc}");
        }
        assert_eq!(PixelFormat::of(*b"MJPG").fourcc(), None);
    }
}
