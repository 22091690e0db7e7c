//! The linear memory layout of each known pixel format: planes, block sizes and subsampling.

use super::{Extent, Fourcc};

/// The size of one plane's blocks, and how many pixels of the image each covers.
///
/// # References
/// `struct drm_format_info` in the kernel's `drm_fourcc.h`: `char_per_block`, `hsub` and `vsub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneInfo {
    /// Bytes of one block of this plane.
    pub block_bytes: u32,
    /// Horizontal subsampling: how many pixel columns of the image one block covers.
    pub hsub: u32,
    /// Vertical subsampling: how many pixel rows of the image one block covers.
    pub vsub: u32,
}

impl PlaneInfo {
    /// Bytes of one row of this plane for an image `width` pixels wide, without padding; `None` on overflow.
    #[must_use]
    pub fn row_bytes(&self, width: u32) -> Option<u32> {
        width.div_ceil(self.hsub).checked_mul(self.block_bytes)
    }

    /// Rows of this plane for an image `height` pixels high.
    #[must_use]
    pub const fn rows(&self, height: u32) -> u32 {
        height.div_ceil(self.vsub)
    }
}

/// A pixel format's planes and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    /// The format's DRM code.
    pub fourcc: Fourcc,
    /// The format's name in `drm_fourcc.h`, without `DRM_FORMAT_`.
    pub name: &'static str,
    /// The planes, in DRM's order.
    pub planes: &'static [PlaneInfo],
    /// Whether the format has an alpha channel.
    pub has_alpha: bool,
    /// Whether the format stores luma and chroma rather than red, green and blue.
    pub is_yuv: bool,
}

impl FormatInfo {
    /// Returns every known format. The solver prefers earlier ones where nothing else decides.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLE.iter()
    }

    /// Returns whether the format has one channel only, so that an image converted to it loses its colours.
    #[must_use]
    pub(crate) fn is_grey(&self) -> bool {
        !self.is_yuv && self.planes == BITS8
    }

    /// Returns the format's index in the table of formats. The solver prefers the lower index where nothing else decides.
    #[must_use]
    pub fn rank(&self) -> usize {
        TABLE
            .iter()
            .position(|info| info.fourcc == self.fourcc)
            .unwrap_or(TABLE.len())
    }

    /// Returns the bytes that an image's pixels take without padding; saturates at `u64::MAX`.
    pub(crate) fn unpadded_bytes(&self, extent: Extent) -> u64 {
        self.planes
            .iter()
            .map(|plane| {
                let row = plane.row_bytes(extent.width()).unwrap_or(u32::MAX);
                u64::from(row).saturating_mul(u64::from(plane.rows(extent.height())))
            })
            .fold(0, u64::saturating_add)
    }
}

const fn plane(block_bytes: u32, hsub: u32, vsub: u32) -> PlaneInfo {
    PlaneInfo {
        block_bytes,
        hsub,
        vsub,
    }
}

const fn rgb(
    fourcc: Fourcc,
    name: &'static str,
    planes: &'static [PlaneInfo],
    has_alpha: bool,
) -> FormatInfo {
    FormatInfo {
        fourcc,
        name,
        planes,
        has_alpha,
        is_yuv: false,
    }
}

const fn yuv(fourcc: Fourcc, name: &'static str, planes: &'static [PlaneInfo]) -> FormatInfo {
    FormatInfo {
        fourcc,
        name,
        planes,
        has_alpha: false,
        is_yuv: true,
    }
}

const BITS8: &[PlaneInfo] = &[plane(1, 1, 1)];
const BITS16: &[PlaneInfo] = &[plane(2, 1, 1)];
const BITS24: &[PlaneInfo] = &[plane(3, 1, 1)];
const BITS64: &[PlaneInfo] = &[plane(8, 1, 1)];
const BITS32: &[PlaneInfo] = &[plane(4, 1, 1)];
// Packed 4:2:2 is counted in pairs of pixels: an odd width still takes a whole pair.
const PACKED422: &[PlaneInfo] = &[plane(4, 2, 1)];
const SEMI420: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 2, 2)];
const SEMI422: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 2, 1)];
const PLANAR420: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 2, 2), plane(1, 2, 2)];
const SEMI444: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 1, 1)];
const SEMI420_16: &[PlaneInfo] = &[plane(2, 1, 1), plane(4, 2, 2)];
const PLANAR444: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 1, 1), plane(1, 1, 1)];
const PLANAR422: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 2, 1), plane(1, 2, 1)];

/// Every known format.
///
/// # References
/// Linux, `drivers/gpu/drm/drm_fourcc.c`, `__drm_format_info`.
pub(super) static TABLE: [FormatInfo; 38] = [
    rgb(Fourcc::XRGB8888, "XRGB8888", BITS32, false),
    rgb(Fourcc::ARGB8888, "ARGB8888", BITS32, true),
    rgb(Fourcc::XBGR8888, "XBGR8888", BITS32, false),
    rgb(Fourcc::ABGR8888, "ABGR8888", BITS32, true),
    rgb(Fourcc::RGBX8888, "RGBX8888", BITS32, false),
    rgb(Fourcc::RGBA8888, "RGBA8888", BITS32, true),
    rgb(Fourcc::BGRX8888, "BGRX8888", BITS32, false),
    rgb(Fourcc::BGRA8888, "BGRA8888", BITS32, true),
    rgb(Fourcc::RGB888, "RGB888", BITS24, false),
    rgb(Fourcc::BGR888, "BGR888", BITS24, false),
    rgb(Fourcc::RGB565, "RGB565", BITS16, false),
    rgb(Fourcc::BGR565, "BGR565", BITS16, false),
    rgb(Fourcc::XRGB2101010, "XRGB2101010", BITS32, false),
    rgb(Fourcc::ARGB2101010, "ARGB2101010", BITS32, true),
    rgb(Fourcc::XBGR2101010, "XBGR2101010", BITS32, false),
    rgb(Fourcc::ABGR2101010, "ABGR2101010", BITS32, true),
    rgb(Fourcc::XRGB1555, "XRGB1555", BITS16, false),
    rgb(Fourcc::ARGB1555, "ARGB1555", BITS16, true),
    rgb(Fourcc::XBGR16161616F, "XBGR16161616F", BITS64, false),
    rgb(Fourcc::ABGR16161616F, "ABGR16161616F", BITS64, true),
    rgb(Fourcc::R8, "R8", BITS8, false),
    yuv(Fourcc::YUYV, "YUYV", PACKED422),
    yuv(Fourcc::YVYU, "YVYU", PACKED422),
    yuv(Fourcc::UYVY, "UYVY", PACKED422),
    yuv(Fourcc::VYUY, "VYUY", PACKED422),
    yuv(Fourcc::NV12, "NV12", SEMI420),
    yuv(Fourcc::NV21, "NV21", SEMI420),
    yuv(Fourcc::NV16, "NV16", SEMI422),
    yuv(Fourcc::NV61, "NV61", SEMI422),
    yuv(Fourcc::YUV420, "YUV420", PLANAR420),
    yuv(Fourcc::YVU420, "YVU420", PLANAR420),
    yuv(Fourcc::YUV422, "YUV422", PLANAR422),
    yuv(Fourcc::YVU422, "YVU422", PLANAR422),
    yuv(Fourcc::NV24, "NV24", SEMI444),
    yuv(Fourcc::NV42, "NV42", SEMI444),
    yuv(Fourcc::YUV444, "YUV444", PLANAR444),
    yuv(Fourcc::YVU444, "YVU444", PLANAR444),
    yuv(Fourcc::P010, "P010", SEMI420_16),
];
