//! The position of each sample (red, green, blue, alpha, luma, chroma) in the bytes of a pixel, for every format.

use covalent_alloc::model::Fourcc;

/// The positions of the samples of a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) enum SampleLayout {
    /// One little-endian integer of `bytes` bytes for each pixel. Red, green, blue and alpha are bit fields of the integer.
    Packed { bytes: usize, fields: [BitField; 4] },
    /// Four half-precision floats for each pixel. `places` has the indices of red, green, blue and alpha; `None` for a channel
    /// that the format lacks.
    Half { places: [Option<usize>; 4] },
    /// Four bytes for two pixels: the byte positions of both luma samples, of Cb and of Cr.
    PackedYuv {
        luma: [usize; 2],
        cb: usize,
        cr: usize,
    },
    /// A luma plane and a plane of chroma pairs; each pair covers `hsub` columns.
    SemiPlanar {
        hsub: usize,
        word_bytes: usize,
        is_cr_first: bool,
    },
    /// A luma plane and two chroma planes; each chroma sample covers `hsub` columns.
    Planar { hsub: usize, is_cr_first: bool },
}

/// A range of bits in an integer; `bits` is 0 if the format lacks the channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitField {
    shift: u32,
    bits: u32,
}

/// The bit field of alpha in formats without alpha, whose pixels are opaque.
const NONE: BitField = BitField { shift: 0, bits: 0 };

/// Returns the field of `bits` bits that begins at the bit `shift`.
const fn field(shift: u32, bits: u32) -> BitField {
    BitField { shift, bits }
}

impl BitField {
    /// Extracts the bits and scales them to 16 bits.
    pub(super) fn scaled(self, value: u32) -> u16 {
        let max = (1_u32 << self.bits) - 1;
        if max == 0 {
            return u16::MAX;
        }
        let channel = value >> self.shift & max;
        // No overflow: a channel has at most ten bits, so this is at most 1023 × 65535 + 511.
        u16::try_from((channel * 65535 + max / 2) / max).unwrap_or(u16::MAX)
    }
}

/// Returns the layout of an integer of `count` bytes with eight bits each for red, green and blue at these shifts, and for alpha
/// if it has a shift.
const fn eight_bit_channels(
    count: usize,
    red: u32,
    green: u32,
    blue: u32,
    alpha: Option<u32>,
) -> SampleLayout {
    SampleLayout::Packed {
        bytes: count,
        fields: [
            field(red, 8),
            field(green, 8),
            field(blue, 8),
            match alpha {
                Some(shift) => field(shift, 8),
                None => NONE,
            },
        ],
    }
}

/// Returns the layout of a 16-bit integer with these bit fields.
const fn sixteen_bit_pixel(fields: [BitField; 4]) -> SampleLayout {
    SampleLayout::Packed { bytes: 2, fields }
}

/// Returns the layout of a 32-bit integer with ten bits each for red, green and blue. Green is always in the middle.
const fn ten_bit_channels(red: u32, blue: u32, alpha: BitField) -> SampleLayout {
    SampleLayout::Packed {
        bytes: 4,
        fields: [field(red, 10), field(10, 10), field(blue, 10), alpha],
    }
}

/// Returns the layout of two pixels that share the bytes at `cb` and `cr`. `luma` has the positions of their luma bytes.
const fn packed_yuv(luma: [usize; 2], cb: usize, cr: usize) -> SampleLayout {
    SampleLayout::PackedYuv { luma, cb, cr }
}

/// Makes the layout of an 8-bit format with one plane of luma and one plane of interleaved chroma.
const fn semi(hsub: usize, is_cr_first: bool) -> SampleLayout {
    SampleLayout::SemiPlanar {
        hsub,
        word_bytes: 1,
        is_cr_first,
    }
}

/// Makes the layout of an 8-bit format with three planes.
const fn planar(hsub: usize, is_cr_first: bool) -> SampleLayout {
    SampleLayout::Planar { hsub, is_cr_first }
}

impl SampleLayout {
    /// Returns the sample layout of a format; `None` if this module does not support the format.
    ///
    /// # References
    /// `drm_fourcc.h`.
    pub(super) const fn of(fourcc: Fourcc) -> Option<Self> {
        Some(match fourcc {
            Fourcc::XRGB8888 => eight_bit_channels(4, 16, 8, 0, None),
            Fourcc::ARGB8888 => eight_bit_channels(4, 16, 8, 0, Some(24)),
            Fourcc::XBGR8888 => eight_bit_channels(4, 0, 8, 16, None),
            Fourcc::ABGR8888 => eight_bit_channels(4, 0, 8, 16, Some(24)),
            Fourcc::RGBX8888 => eight_bit_channels(4, 24, 16, 8, None),
            Fourcc::RGBA8888 => eight_bit_channels(4, 24, 16, 8, Some(0)),
            Fourcc::BGRX8888 => eight_bit_channels(4, 8, 16, 24, None),
            Fourcc::BGRA8888 => eight_bit_channels(4, 8, 16, 24, Some(0)),
            Fourcc::RGB888 => eight_bit_channels(3, 16, 8, 0, None),
            Fourcc::BGR888 => eight_bit_channels(3, 0, 8, 16, None),
            Fourcc::RGB565 => sixteen_bit_pixel([field(11, 5), field(5, 6), field(0, 5), NONE]),
            Fourcc::BGR565 => sixteen_bit_pixel([field(0, 5), field(5, 6), field(11, 5), NONE]),
            Fourcc::XRGB1555 => sixteen_bit_pixel([field(10, 5), field(5, 5), field(0, 5), NONE]),
            Fourcc::ARGB1555 => {
                sixteen_bit_pixel([field(10, 5), field(5, 5), field(0, 5), field(15, 1)])
            }
            Fourcc::XRGB2101010 => ten_bit_channels(20, 0, NONE),
            Fourcc::ARGB2101010 => ten_bit_channels(20, 0, field(30, 2)),
            Fourcc::XBGR2101010 => ten_bit_channels(0, 20, NONE),
            Fourcc::ABGR2101010 => ten_bit_channels(0, 20, field(30, 2)),
            Fourcc::XBGR16161616F => Self::Half {
                places: [Some(0), Some(1), Some(2), None],
            },
            Fourcc::ABGR16161616F => Self::Half {
                places: [Some(0), Some(1), Some(2), Some(3)],
            },
            // A single channel, which is used as red, green and blue.
            Fourcc::R8 => eight_bit_channels(1, 0, 0, 0, None),
            Fourcc::YUYV => packed_yuv([0, 2], 1, 3),
            Fourcc::YVYU => packed_yuv([0, 2], 3, 1),
            Fourcc::UYVY => packed_yuv([1, 3], 0, 2),
            Fourcc::VYUY => packed_yuv([1, 3], 2, 0),
            Fourcc::NV12 | Fourcc::NV16 => semi(2, false),
            Fourcc::NV21 | Fourcc::NV61 => semi(2, true),
            Fourcc::NV24 => semi(1, false),
            Fourcc::NV42 => semi(1, true),
            Fourcc::YUV420 | Fourcc::YUV422 => planar(2, false),
            Fourcc::YVU420 | Fourcc::YVU422 => planar(2, true),
            Fourcc::YUV444 => planar(1, false),
            Fourcc::YVU444 => planar(1, true),
            Fourcc::P010 => Self::SemiPlanar {
                hsub: 2,
                word_bytes: 2,
                is_cr_first: false,
            },
            _ => return None,
        })
    }

    /// Returns the number of bits of a luma or chroma sample.
    pub(super) const fn code_bits(self) -> u32 {
        match self {
            Self::SemiPlanar { word_bytes: 2, .. } => 10,
            _ => 8,
        }
    }

    /// Returns whether a channel has more than eight bits.
    pub(super) const fn is_deep(self) -> bool {
        match self {
            Self::Packed { fields, .. } => fields[0].bits > 8,
            Self::Half { .. } => true,
            _ => self.code_bits() > 8,
        }
    }
}
