//! Where the channels of each format lie in its bytes.

use covalent_alloc::model::Fourcc;

/// Where the samples of a pixel are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrangement {
    /// One little-endian number a pixel, with red, green, blue and alpha in it.
    Packed { bytes: usize, fields: [Field; 4] },
    /// Four floats of 16 bits a pixel; which of them red, green, blue and alpha are.
    Half { places: [Option<usize>; 4] },
    /// Four bytes for two pixels: where the two lumas are, and the chroma.
    PackedYuv {
        luma: [usize; 2],
        cb: usize,
        cr: usize,
    },
    /// A plane of luma and one of pairs of chroma, a pair for that many columns.
    SemiPlanar {
        across: usize,
        word_bytes: usize,
        is_cr_first: bool,
    },
    /// Three planes, of which the last two have a sample for that many columns.
    Planar { across: usize, is_cr_first: bool },
}

/// Some bits of a number; none where the format has no such channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    shift: u32,
    bits: u32,
}

/// No alpha: opaque.
const NONE: Field = Field { shift: 0, bits: 0 };

const fn field(shift: u32, bits: u32) -> Field {
    Field { shift, bits }
}

impl Field {
    /// Takes the bits out and spreads them over 16.
    pub(super) fn spread(self, value: u32) -> u16 {
        let most = (1_u32 << self.bits) - 1;
        if most == 0 {
            return u16::MAX;
        }
        let part = value >> self.shift & most;
        // At most 1023 × 65535 and half of 1023.
        u16::try_from((part * 65535 + most / 2) / most).unwrap_or(u16::MAX)
    }
}

/// Three channels of eight bits in 24 or 32, and alpha where it has a place.
const fn bytes(count: usize, red: u32, green: u32, blue: u32, alpha: Option<u32>) -> Arrangement {
    Arrangement::Packed {
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

const fn words(fields: [Field; 4]) -> Arrangement {
    Arrangement::Packed { bytes: 2, fields }
}

const fn tens(red: u32, blue: u32, alpha: Field) -> Arrangement {
    Arrangement::Packed {
        bytes: 4,
        fields: [field(red, 10), field(10, 10), field(blue, 10), alpha],
    }
}

const fn pairs(luma: [usize; 2], cb: usize, cr: usize) -> Arrangement {
    Arrangement::PackedYuv { luma, cb, cr }
}

const fn semi(across: usize, is_cr_first: bool) -> Arrangement {
    Arrangement::SemiPlanar {
        across,
        word_bytes: 1,
        is_cr_first,
    }
}

const fn planar(across: usize, is_cr_first: bool) -> Arrangement {
    Arrangement::Planar {
        across,
        is_cr_first,
    }
}

impl Arrangement {
    /// # References
    /// `drm_fourcc.h`.
    pub(super) const fn of(fourcc: Fourcc) -> Option<Self> {
        Some(match fourcc {
            Fourcc::XRGB8888 => bytes(4, 16, 8, 0, None),
            Fourcc::ARGB8888 => bytes(4, 16, 8, 0, Some(24)),
            Fourcc::XBGR8888 => bytes(4, 0, 8, 16, None),
            Fourcc::ABGR8888 => bytes(4, 0, 8, 16, Some(24)),
            Fourcc::RGBX8888 => bytes(4, 24, 16, 8, None),
            Fourcc::RGBA8888 => bytes(4, 24, 16, 8, Some(0)),
            Fourcc::BGRX8888 => bytes(4, 8, 16, 24, None),
            Fourcc::BGRA8888 => bytes(4, 8, 16, 24, Some(0)),
            Fourcc::RGB888 => bytes(3, 16, 8, 0, None),
            Fourcc::BGR888 => bytes(3, 0, 8, 16, None),
            Fourcc::RGB565 => words([field(11, 5), field(5, 6), field(0, 5), NONE]),
            Fourcc::BGR565 => words([field(0, 5), field(5, 6), field(11, 5), NONE]),
            Fourcc::XRGB1555 => words([field(10, 5), field(5, 5), field(0, 5), NONE]),
            Fourcc::ARGB1555 => words([field(10, 5), field(5, 5), field(0, 5), field(15, 1)]),
            Fourcc::XRGB2101010 => tens(20, 0, NONE),
            Fourcc::ARGB2101010 => tens(20, 0, field(30, 2)),
            Fourcc::XBGR2101010 => tens(0, 20, NONE),
            Fourcc::ABGR2101010 => tens(0, 20, field(30, 2)),
            Fourcc::XBGR16161616F => Self::Half {
                places: [Some(0), Some(1), Some(2), None],
            },
            Fourcc::ABGR16161616F => Self::Half {
                places: [Some(0), Some(1), Some(2), Some(3)],
            },
            // One channel, shown as grey.
            Fourcc::R8 => bytes(1, 0, 0, 0, None),
            Fourcc::YUYV => pairs([0, 2], 1, 3),
            Fourcc::YVYU => pairs([0, 2], 3, 1),
            Fourcc::UYVY => pairs([1, 3], 0, 2),
            Fourcc::VYUY => pairs([1, 3], 2, 0),
            Fourcc::NV12 | Fourcc::NV16 => semi(2, false),
            Fourcc::NV21 | Fourcc::NV61 => semi(2, true),
            Fourcc::NV24 => semi(1, false),
            Fourcc::NV42 => semi(1, true),
            Fourcc::YUV420 | Fourcc::YUV422 => planar(2, false),
            Fourcc::YVU420 | Fourcc::YVU422 => planar(2, true),
            Fourcc::YUV444 => planar(1, false),
            Fourcc::YVU444 => planar(1, true),
            Fourcc::P010 => Self::SemiPlanar {
                across: 2,
                word_bytes: 2,
                is_cr_first: false,
            },
            _ => return None,
        })
    }

    /// How many bits a sample of luma or chroma has.
    pub(super) const fn code_bits(self) -> u32 {
        match self {
            Self::SemiPlanar { word_bytes: 2, .. } => 10,
            _ => 8,
        }
    }

    /// Whether a channel has more than eight bits.
    pub(super) const fn is_deep(self) -> bool {
        match self {
            Self::Packed { fields, .. } => fields[0].bits > 8,
            Self::Half { .. } => true,
            _ => self.code_bits() > 8,
        }
    }
}
