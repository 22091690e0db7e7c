//! The linear memory layout of each known pixel format: planes, block sizes and subsampling.

use super::{Extent, Fourcc};

/// The size of a plane's blocks, and the pixels that each block covers.
///
/// # References
/// `struct drm_format_info` in the kernel's `drm_fourcc.h`: `char_per_block`, `hsub` and `vsub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneInfo {
    /// The number of bytes in one block of this plane.
    pub block_bytes: u32,
    /// Horizontal subsampling: the number of pixel columns that one block covers.
    pub hsub: u32,
    /// Vertical subsampling: the number of pixel rows that one block covers.
    pub vsub: u32,
}

impl PlaneInfo {
    /// Returns the bytes in one row of this plane, without padding, for an image that is `width` pixels wide; `None` on overflow.
    #[must_use]
    pub fn row_bytes(&self, width: u32) -> Option<u32> {
        width.div_ceil(self.hsub).checked_mul(self.block_bytes)
    }

    /// Returns the number of rows of this plane for an image that is `height` pixels high.
    #[must_use]
    pub const fn rows(&self, height: u32) -> u32 {
        height.div_ceil(self.vsub)
    }
}

/// The planes and properties of a pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    /// The format's DRM code.
    pub fourcc: Fourcc,
    /// The format's name in `drm_fourcc.h`, without `DRM_FORMAT_`.
    pub name: &'static str,
    /// The planes, in DRM's order of planes.
    pub planes: &'static [PlaneInfo],
    /// Whether the format has an alpha channel.
    pub has_alpha: bool,
    /// Whether the format stores luma and chroma rather than red, green and blue.
    pub is_yuv: bool,
    /// The colour information that the format can store.
    pub(crate) colours: Colours,
}

/// The colour information that a pixel format can store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colours {
    /// Whether an image that is converted to the format loses its colours. That is so for a format with a single channel, a
    /// sensor's format with one colour of each pixel, and a format in which four pixels of a row share their chroma.
    pub(crate) are_lost: bool,
    /// The number of bits of the colour channel with the fewest bits. Alpha does not count.
    pub(crate) bits: u8,
    /// The number of chroma samples for four pixels: 4 for RGB and 4:4:4, 2 for 4:2:2 and 1 for 4:2:0.
    pub(crate) chroma: u8,
    /// Whether there is an alpha channel.
    pub(crate) has_alpha: bool,
}

impl Colours {
    /// The colour information that is assumed for frames whose formats are not listed.
    pub(crate) const USUAL: Self = Self {
        are_lost: false,
        bits: 8,
        chroma: 4,
        has_alpha: false,
    };

    /// No colour information. A conversion from such a format loses nothing.
    pub(crate) const NONE: Self = Self {
        are_lost: true,
        bits: 0,
        chroma: 0,
        has_alpha: false,
    };

    /// Returns the colour information that copies have to keep if images may be in either of two formats. It has the bits of the
    /// format with more bits. It has only the chroma and alpha that both formats have, because the producer can be set to the
    /// format with less chroma or without alpha.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            are_lost: self.are_lost && other.are_lost,
            bits: self.bits.max(other.bits),
            chroma: self.chroma.min(other.chroma),
            has_alpha: self.has_alpha && other.has_alpha,
        }
    }

    /// Returns what an image with these colours loses by a conversion to a format that stores `kept`.
    pub(crate) fn lost_in(self, kept: Self) -> ColourLoss {
        ColourLoss {
            colours: kept.are_lost.into(),
            bits: self.bits.saturating_sub(kept.bits).into(),
            chroma: self.chroma.saturating_sub(kept.chroma).into(),
            alpha: (self.has_alpha && !kept.has_alpha).into(),
        }
    }
}

/// The colour information that images lose by conversions. Fields are compared in this order, and less is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColourLoss {
    /// The number of conversions that lose the colours.
    pub(crate) colours: u16,
    /// The lost bits of a channel.
    pub(crate) bits: u16,
    /// The lost chroma samples for four pixels.
    pub(crate) chroma: u16,
    /// The number of conversions that lose the alpha channel.
    pub(crate) alpha: u16,
}

impl ColourLoss {
    /// Returns the sum of what two conversions lose.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            colours: self.colours.saturating_add(other.colours),
            bits: self.bits.saturating_add(other.bits),
            chroma: self.chroma.saturating_add(other.chroma),
            alpha: self.alpha.saturating_add(other.alpha),
        }
    }
}

impl FormatInfo {
    /// Returns all known formats. If nothing else decides, the solver prefers a format that comes earlier.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLE.iter()
    }

    /// Returns the codes of all known formats in ascending order.
    pub(crate) fn codes() -> impl Iterator<Item = Fourcc> {
        TABLE_INDICES.iter().map(|(code, _)| Fourcc(*code))
    }

    /// Returns the format's index in the table of formats. If nothing else decides, the solver prefers the lower index.
    #[must_use]
    pub fn rank(&self) -> usize {
        table_index(self.fourcc).unwrap_or(TABLE.len())
    }

    /// Returns a format and its index in the table of formats; `None` for a format that is not known.
    pub(crate) fn with_rank(fourcc: Fourcc) -> Option<(usize, &'static Self)> {
        table_index(fourcc).map(|place| (place, &TABLE[place]))
    }

    /// Returns the rank of a format's colour depth. `format_rank` is the index of the format in [`TABLE`]. The result is the
    /// index of the first format in [`TABLE`] with the same depth: as many bits in a colour channel, or as many bits of luma and
    /// no colours. The usual depth of eight bits has the lowest rank.
    pub(crate) fn depth_rank(format_rank: usize) -> usize {
        DEPTHS[format_rank]
    }

    /// Returns the number of bytes that an image's pixels take without padding. The result saturates at `u64::MAX`.
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

/// Makes an RGB format with eight bits in each channel.
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
        colours: Colours {
            are_lost: false,
            bits: 8,
            chroma: 4,
            has_alpha,
        },
    }
}

/// Makes a format of luma and chroma with this number of chroma samples for four pixels.
const fn yuv(
    fourcc: Fourcc,
    name: &'static str,
    planes: &'static [PlaneInfo],
    chroma: u8,
) -> FormatInfo {
    let info = rgb(fourcc, name, planes, false);
    FormatInfo {
        is_yuv: true,
        colours: Colours {
            chroma,
            ..info.colours
        },
        ..info
    }
}

/// Sets the number of bits of a format's channels, if it is not 8.
const fn deep(bits: u8, info: FormatInfo) -> FormatInfo {
    FormatInfo {
        colours: Colours {
            bits,
            ..info.colours
        },
        ..info
    }
}

/// Marks a format to which no image can be converted without losing its colours.
const fn lossy(info: FormatInfo) -> FormatInfo {
    FormatInfo {
        colours: Colours {
            are_lost: true,
            chroma: 0,
            ..info.colours
        },
        ..info
    }
}

const BITS8: &[PlaneInfo] = &[plane(1, 1, 1)];
const BITS16: &[PlaneInfo] = &[plane(2, 1, 1)];
const BITS24: &[PlaneInfo] = &[plane(3, 1, 1)];
const BITS64: &[PlaneInfo] = &[plane(8, 1, 1)];
const BITS32: &[PlaneInfo] = &[plane(4, 1, 1)];
// A block of packed 4:2:2 is a pair of pixels. If the width is odd, the last pixel of a row takes a whole block.
const PACKED422: &[PlaneInfo] = &[plane(4, 2, 1)];
const SEMI420: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 2, 2)];
const SEMI422: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 2, 1)];
const PLANAR420: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 2, 2), plane(1, 2, 2)];
const SEMI444: &[PlaneInfo] = &[plane(1, 1, 1), plane(2, 1, 1)];
const SEMI420_16: &[PlaneInfo] = &[plane(2, 1, 1), plane(4, 2, 2)];
const SEMI422_16: &[PlaneInfo] = &[plane(2, 1, 1), plane(4, 2, 1)];
const PACKED422_16: &[PlaneInfo] = &[plane(8, 2, 1)];
const PLANAR444_16: &[PlaneInfo] = &[plane(2, 1, 1), plane(2, 1, 1), plane(2, 1, 1)];
const PLANAR411: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 4, 1), plane(1, 4, 1)];
const PLANAR410: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 4, 4), plane(1, 4, 4)];
// A block has four samples of ten bits in five bytes, without a gap.
const SEMI420_10P: &[PlaneInfo] = &[plane(5, 4, 1), plane(5, 4, 2)];
const SEMI422_10P: &[PlaneInfo] = &[plane(5, 4, 1), plane(5, 4, 1)];
const SEMI444_10P: &[PlaneInfo] = &[plane(5, 4, 1), plane(5, 2, 1)];
// A block has three samples of ten bits in four bytes.
const SEMI420_10IN32: &[PlaneInfo] = &[plane(4, 3, 1), plane(8, 6, 2)];
const RAW10P: &[PlaneInfo] = &[plane(5, 4, 1)];
const RAW12P: &[PlaneInfo] = &[plane(3, 2, 1)];
const RAW14P: &[PlaneInfo] = &[plane(7, 4, 1)];
const PLANAR444: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 1, 1), plane(1, 1, 1)];
const PLANAR422: &[PlaneInfo] = &[plane(1, 1, 1), plane(1, 2, 1), plane(1, 2, 1)];

/// The codes of all formats in ascending order, each with its index in [`TABLE`].
static TABLE_INDICES: [(u32, usize); TABLE.len()] = sorted_places();

#[allow(
    clippy::arithmetic_side_effects,
    reason = "the compiler evaluates it, and an overflow would be an error there"
)]
const fn sorted_places() -> [(u32, usize); TABLE.len()] {
    let mut places = [(0, 0); TABLE.len()];
    let mut count = 0;
    while count < TABLE.len() {
        let code = TABLE[count].fourcc.0;
        let mut at = count;
        while at > 0 && places[at - 1].0 > code {
            places[at] = places[at - 1];
            at -= 1;
        }
        places[at] = (code, count);
        count += 1;
    }
    places
}

/// For each format of [`TABLE`], the index of the first format in [`TABLE`] with the same depth.
static DEPTHS: [usize; TABLE.len()] = depths();

/// Computes [`DEPTHS`].
#[allow(
    clippy::arithmetic_side_effects,
    reason = "the compiler evaluates it, and an overflow would be an error there"
)]
const fn depths() -> [usize; TABLE.len()] {
    let mut depths = [0; TABLE.len()];
    let mut place = 0;
    while place < TABLE.len() {
        let own = TABLE[place].colours;
        let mut first = 0;
        while TABLE[first].colours.are_lost != own.are_lost || TABLE[first].colours.bits != own.bits
        {
            first += 1;
        }
        depths[place] = first;
        place += 1;
    }
    depths
}

/// Returns a format's index in [`TABLE`]; `None` for a format that is not known.
pub(super) fn table_index(fourcc: Fourcc) -> Option<usize> {
    let found = TABLE_INDICES.binary_search_by_key(&fourcc.0, |(code, _)| *code);
    found.ok().map(|at| TABLE_INDICES[at].1)
}

/// All known formats.
///
/// Raw Bayer formats have no DRM code, so they have V4L2's. `SGRBG12` and `SRGGB16` are left out, because their V4L2 codes `BA12`
/// and `RG16` are the DRM codes of `BGRA4444` and `RGB565`.
///
/// # References
/// Linux, `drivers/gpu/drm/drm_fourcc.c`, `__drm_format_info`; kernel documentation, "Raw Bayer Formats".
pub(super) static TABLE: [FormatInfo; 101] = [
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
    deep(5, rgb(Fourcc::RGB565, "RGB565", BITS16, false)),
    deep(5, rgb(Fourcc::BGR565, "BGR565", BITS16, false)),
    deep(10, rgb(Fourcc::XRGB2101010, "XRGB2101010", BITS32, false)),
    deep(10, rgb(Fourcc::ARGB2101010, "ARGB2101010", BITS32, true)),
    deep(10, rgb(Fourcc::XBGR2101010, "XBGR2101010", BITS32, false)),
    deep(10, rgb(Fourcc::ABGR2101010, "ABGR2101010", BITS32, true)),
    deep(5, rgb(Fourcc::XRGB1555, "XRGB1555", BITS16, false)),
    deep(5, rgb(Fourcc::ARGB1555, "ARGB1555", BITS16, true)),
    deep(
        16,
        rgb(Fourcc::XBGR16161616F, "XBGR16161616F", BITS64, false),
    ),
    deep(
        16,
        rgb(Fourcc::ABGR16161616F, "ABGR16161616F", BITS64, true),
    ),
    lossy(rgb(Fourcc::R8, "R8", BITS8, false)),
    yuv(Fourcc::YUYV, "YUYV", PACKED422, 2),
    yuv(Fourcc::YVYU, "YVYU", PACKED422, 2),
    yuv(Fourcc::UYVY, "UYVY", PACKED422, 2),
    yuv(Fourcc::VYUY, "VYUY", PACKED422, 2),
    yuv(Fourcc::NV12, "NV12", SEMI420, 1),
    yuv(Fourcc::NV21, "NV21", SEMI420, 1),
    yuv(Fourcc::NV16, "NV16", SEMI422, 2),
    yuv(Fourcc::NV61, "NV61", SEMI422, 2),
    yuv(Fourcc::YUV420, "YUV420", PLANAR420, 1),
    yuv(Fourcc::YVU420, "YVU420", PLANAR420, 1),
    yuv(Fourcc::YUV422, "YUV422", PLANAR422, 2),
    yuv(Fourcc::YVU422, "YVU422", PLANAR422, 2),
    yuv(Fourcc::NV24, "NV24", SEMI444, 4),
    yuv(Fourcc::NV42, "NV42", SEMI444, 4),
    yuv(Fourcc::YUV444, "YUV444", PLANAR444, 4),
    yuv(Fourcc::YVU444, "YVU444", PLANAR444, 4),
    deep(10, yuv(Fourcc::P010, "P010", SEMI420_16, 1)),
    deep(12, yuv(Fourcc::of(*b"P012"), "P012", SEMI420_16, 1)),
    deep(16, yuv(Fourcc::of(*b"P016"), "P016", SEMI420_16, 1)),
    deep(10, yuv(Fourcc::of(*b"P210"), "P210", SEMI422_16, 2)),
    deep(10, yuv(Fourcc::of(*b"P030"), "P030", SEMI420_10IN32, 1)),
    deep(10, yuv(Fourcc::of(*b"NV15"), "NV15", SEMI420_10P, 1)),
    deep(10, yuv(Fourcc::of(*b"NV20"), "NV20", SEMI422_10P, 2)),
    deep(10, yuv(Fourcc::of(*b"NV30"), "NV30", SEMI444_10P, 4)),
    deep(10, yuv(Fourcc::of(*b"Y210"), "Y210", PACKED422_16, 2)),
    deep(12, yuv(Fourcc::of(*b"Y212"), "Y212", PACKED422_16, 2)),
    deep(16, yuv(Fourcc::of(*b"Y216"), "Y216", PACKED422_16, 2)),
    deep(10, yuv(Fourcc::of(*b"Y410"), "Y410", BITS32, 4)),
    deep(12, yuv(Fourcc::of(*b"Y412"), "Y412", BITS64, 4)),
    deep(16, yuv(Fourcc::of(*b"Y416"), "Y416", BITS64, 4)),
    deep(10, yuv(Fourcc::of(*b"XV30"), "XVYU2101010", BITS32, 4)),
    deep(10, yuv(Fourcc::of(*b"Q410"), "Q410", PLANAR444_16, 4)),
    deep(10, yuv(Fourcc::of(*b"Q401"), "Q401", PLANAR444_16, 4)),
    lossy(yuv(Fourcc::of(*b"YU11"), "YUV411", PLANAR411, 1)),
    lossy(yuv(Fourcc::of(*b"YV11"), "YVU411", PLANAR411, 1)),
    lossy(yuv(Fourcc::of(*b"YUV9"), "YUV410", PLANAR410, 1)),
    lossy(yuv(Fourcc::of(*b"YVU9"), "YVU410", PLANAR410, 1)),
    deep(10, rgb(Fourcc::of(*b"RX30"), "RGBX1010102", BITS32, false)),
    deep(10, rgb(Fourcc::of(*b"RA30"), "RGBA1010102", BITS32, true)),
    deep(10, rgb(Fourcc::of(*b"BX30"), "BGRX1010102", BITS32, false)),
    deep(10, rgb(Fourcc::of(*b"BA30"), "BGRA1010102", BITS32, true)),
    deep(16, rgb(Fourcc::of(*b"XR48"), "XRGB16161616", BITS64, false)),
    deep(16, rgb(Fourcc::of(*b"AR48"), "ARGB16161616", BITS64, true)),
    deep(16, rgb(Fourcc::of(*b"XB48"), "XBGR16161616", BITS64, false)),
    deep(16, rgb(Fourcc::of(*b"AB48"), "ABGR16161616", BITS64, true)),
    deep(
        16,
        rgb(Fourcc::of(*b"XR4H"), "XRGB16161616F", BITS64, false),
    ),
    deep(16, rgb(Fourcc::of(*b"AR4H"), "ARGB16161616F", BITS64, true)),
    lossy(rgb(Fourcc::of(*b"R10 "), "R10", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"R12 "), "R12", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"R16 "), "R16", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"BA81"), "SBGGR8", BITS8, false)),
    lossy(rgb(Fourcc::of(*b"GBRG"), "SGBRG8", BITS8, false)),
    lossy(rgb(Fourcc::of(*b"GRBG"), "SGRBG8", BITS8, false)),
    lossy(rgb(Fourcc::of(*b"RGGB"), "SRGGB8", BITS8, false)),
    lossy(rgb(Fourcc::of(*b"BG10"), "SBGGR10", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GB10"), "SGBRG10", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"BA10"), "SGRBG10", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"RG10"), "SRGGB10", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"BG12"), "SBGGR12", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GB12"), "SGBRG12", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"RG12"), "SRGGB12", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"BG14"), "SBGGR14", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GB14"), "SGBRG14", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GR14"), "SGRBG14", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"RG14"), "SRGGB14", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"BYR2"), "SBGGR16", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GB16"), "SGBRG16", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"GR16"), "SGRBG16", BITS16, false)),
    lossy(rgb(Fourcc::of(*b"pBAA"), "SBGGR10P", RAW10P, false)),
    lossy(rgb(Fourcc::of(*b"pGAA"), "SGBRG10P", RAW10P, false)),
    lossy(rgb(Fourcc::of(*b"pgAA"), "SGRBG10P", RAW10P, false)),
    lossy(rgb(Fourcc::of(*b"pRAA"), "SRGGB10P", RAW10P, false)),
    lossy(rgb(Fourcc::of(*b"pBCC"), "SBGGR12P", RAW12P, false)),
    lossy(rgb(Fourcc::of(*b"pGCC"), "SGBRG12P", RAW12P, false)),
    lossy(rgb(Fourcc::of(*b"pgCC"), "SGRBG12P", RAW12P, false)),
    lossy(rgb(Fourcc::of(*b"pRCC"), "SRGGB12P", RAW12P, false)),
    lossy(rgb(Fourcc::of(*b"pBEE"), "SBGGR14P", RAW14P, false)),
    lossy(rgb(Fourcc::of(*b"pGEE"), "SGBRG14P", RAW14P, false)),
    lossy(rgb(Fourcc::of(*b"pgEE"), "SGRBG14P", RAW14P, false)),
    lossy(rgb(Fourcc::of(*b"pREE"), "SRGGB14P", RAW14P, false)),
];
