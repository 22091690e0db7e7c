//! Linear pixels of any format that the crate knows, as red, green, blue and alpha. Pure functions of bytes.
//!
//! Every channel is 16 bits wide, so that ten bits lose nothing. What has fewer bits is spread over all values: the least stays 0
//! and the greatest becomes 65535.

mod arrangement;
mod yuv;

use covalent_alloc::model::Fourcc;

use arrangement::{Arrangement, Field};
use yuv::Matrix;
pub(crate) use yuv::{Colours, Range, Standard};

/// Red, green, blue and alpha.
pub(crate) type Colour = [u16; 4];

/// Turns rows of one format into colours.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    arrangement: Arrangement,
    matrix: Matrix,
}

impl Decoder {
    /// Makes one for a format; `None` for a format whose pixels are not known here.
    pub(crate) fn new(fourcc: Fourcc, colours: Colours) -> Option<Self> {
        let arrangement = Arrangement::of(fourcc)?;
        Some(Self {
            arrangement,
            matrix: Matrix::new(colours, arrangement.code_bits()),
        })
    }

    /// Whether a channel has more than eight bits.
    pub(crate) const fn is_deep(&self) -> bool {
        self.arrangement.is_deep()
    }

    /// Turns the first pixels of a row into colours; as many as there is room for and the row has.
    ///
    /// `rows` are the bytes of that row in each plane, for a subsampled plane those of the row that covers it.
    pub(crate) fn row(&self, rows: &[&[u8]], into: &mut [Colour]) {
        let plane = |number: usize| rows.get(number).copied().unwrap_or_default();
        match self.arrangement {
            Arrangement::Packed { bytes, fields } => {
                for (colour, pixel) in into.iter_mut().zip(plane(0).chunks_exact(bytes)) {
                    *colour = packed(pixel, fields);
                }
            }
            Arrangement::Half { places } => {
                for (colour, pixel) in into.iter_mut().zip(plane(0).chunks_exact(8)) {
                    *colour = places.map(|place| place.map_or(u16::MAX, |at| half(pixel, at)));
                }
            }
            Arrangement::PackedYuv { luma, cb, cr } => {
                let pairs = plane(0).chunks_exact(4);
                for (colours, pair) in into.chunks_mut(2).zip(pairs) {
                    for (colour, luma) in colours.iter_mut().zip(luma) {
                        *colour =
                            self.matrix
                                .colour(byte(pair, luma), byte(pair, cb), byte(pair, cr));
                    }
                }
            }
            Arrangement::SemiPlanar {
                across,
                word_bytes,
                is_cr_first,
                ..
            } => {
                let lumas = plane(0).chunks_exact(word_bytes);
                let pair_bytes = word_bytes.saturating_mul(2);
                for (place, (colour, luma)) in into.iter_mut().zip(lumas).enumerate() {
                    let pair = nth(
                        plane(1),
                        place.checked_div(across).unwrap_or(place),
                        pair_bytes,
                    );
                    let (first, second) = pair.split_at_checked(word_bytes).unwrap_or_default();
                    let (cb, cr) = if is_cr_first {
                        (second, first)
                    } else {
                        (first, second)
                    };
                    *colour = self.matrix.colour(code(luma), code(cb), code(cr));
                }
            }
            Arrangement::Planar {
                across,
                is_cr_first,
            } => {
                let (cb, cr) = if is_cr_first {
                    (plane(2), plane(1))
                } else {
                    (plane(1), plane(2))
                };
                for (place, (colour, luma)) in into.iter_mut().zip(plane(0)).enumerate() {
                    let chroma = place.checked_div(across).unwrap_or(place);
                    *colour =
                        self.matrix
                            .colour(u32::from(*luma), byte(cb, chroma), byte(cr, chroma));
                }
            }
        }
    }
}

/// The bytes of one element; none behind the last.
fn nth(row: &[u8], number: usize, bytes: usize) -> &[u8] {
    let start = number.saturating_mul(bytes);
    row.get(start..start.saturating_add(bytes))
        .unwrap_or_default()
}

fn byte(row: &[u8], place: usize) -> u32 {
    row.get(place).copied().map_or(0, u32::from)
}

/// One sample of luma or chroma: a byte, or ten bits in the upper part of a word.
fn code(bytes: &[u8]) -> u32 {
    match *bytes {
        [one] => one.into(),
        [low, high] => u32::from(u16::from_le_bytes([low, high]) >> 6),
        _ => 0,
    }
}

fn packed(pixel: &[u8], fields: [Field; 4]) -> Colour {
    let value = pixel
        .iter()
        .rev()
        .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    fields.map(|field| field.spread(value))
}

/// Reads a float of 16 bits as a share of all that a channel has: what is below 0 or no number is 0, what is above 1 is 1.
fn half(pixel: &[u8], place: usize) -> u16 {
    let at = place.saturating_mul(2);
    let Some([low, high]) = pixel.get(at..at.saturating_add(2)) else {
        return 0;
    };
    let bits = u16::from_le_bytes([*low, *high]);
    let (is_negative, exponent, fraction) = (bits >> 15 == 1, bits >> 10 & 0x1f, bits & 0x3ff);
    // 2^-24 is the least; in these units a number is `mantissa << shift`.
    let (mantissa, shift) = match exponent {
        0 => (u64::from(fraction), 0),
        31 if fraction != 0 => (0, 0),
        // Infinity is above 1, too.
        exponent => (u64::from(fraction) + 1024, u32::from(exponent) - 1),
    };
    if is_negative {
        return 0;
    }
    const ONE: u64 = 1 << 24;
    let units = (mantissa << shift).min(ONE);
    u16::try_from((units * 65535 + ONE / 2) / ONE).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
