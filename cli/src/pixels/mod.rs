//! Converts linear pixels of every format in the solver's format table to red, green, blue and alpha. Pure functions of bytes.
//!
//! Every channel has 16 bits, so that formats with ten bits lose nothing. Channels with fewer bits are scaled: the smallest value
//! stays 0 and the largest becomes 65535.

mod sample_layout;
mod yuv;

use covalent_alloc::model::Fourcc;

use sample_layout::{BitField, SampleLayout};
use yuv::Matrix;
pub(crate) use yuv::{Colours, Range, Standard};

/// Red, green, blue and alpha, 16 bits each.
pub(crate) type Colour = [u16; 4];

/// Converts rows of one format to colours.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    sample_layout: SampleLayout,
    matrix: Matrix,
}

impl Decoder {
    /// Returns the decoder of a format; `None` if this module does not know its samples.
    pub(crate) fn new(fourcc: Fourcc, colours: Colours) -> Option<Self> {
        let sample_layout = SampleLayout::of(fourcc)?;
        Some(Self {
            sample_layout,
            matrix: Matrix::new(colours, sample_layout.code_bits()),
        })
    }

    /// Returns whether a channel has more than eight bits.
    pub(crate) const fn is_deep(&self) -> bool {
        self.sample_layout.is_deep()
    }

    /// Converts the pixels of a row, until either the row or `into` ends.
    ///
    /// `rows` has one row of each plane. For a vertically subsampled plane it is the row of samples that covers the pixels.
    pub(crate) fn row(&self, rows: &[&[u8]], into: &mut [Colour]) {
        let plane = |number: usize| rows.get(number).copied().unwrap_or_default();
        match self.sample_layout {
            SampleLayout::Packed { bytes, fields } => {
                for (colour, pixel) in into.iter_mut().zip(plane(0).chunks_exact(bytes)) {
                    *colour = packed_colour(pixel, fields);
                }
            }
            SampleLayout::Half { places } => {
                for (colour, pixel) in into.iter_mut().zip(plane(0).chunks_exact(8)) {
                    *colour = places
                        .map(|place| place.map_or(u16::MAX, |at| half_float_channel(pixel, at)));
                }
            }
            SampleLayout::PackedYuv { luma, cb, cr } => {
                let pairs = plane(0).chunks_exact(4);
                for (colours, pair) in into.chunks_mut(2).zip(pairs) {
                    for (colour, luma) in colours.iter_mut().zip(luma) {
                        *colour =
                            self.matrix
                                .colour(byte(pair, luma), byte(pair, cb), byte(pair, cr));
                    }
                }
            }
            SampleLayout::SemiPlanar {
                hsub,
                word_bytes,
                is_cr_first,
                ..
            } => {
                let lumas = plane(0).chunks_exact(word_bytes);
                let pair_bytes = word_bytes.saturating_mul(2);
                for (x, (colour, luma)) in into.iter_mut().zip(lumas).enumerate() {
                    let pair = element_at(plane(1), x.checked_div(hsub).unwrap_or(x), pair_bytes);
                    let (first, second) = pair.split_at_checked(word_bytes).unwrap_or_default();
                    let (cb, cr) = if is_cr_first {
                        (second, first)
                    } else {
                        (first, second)
                    };
                    *colour =
                        self.matrix
                            .colour(sample_value(luma), sample_value(cb), sample_value(cr));
                }
            }
            SampleLayout::Planar { hsub, is_cr_first } => {
                let (cb, cr) = if is_cr_first {
                    (plane(2), plane(1))
                } else {
                    (plane(1), plane(2))
                };
                for (x, (colour, luma)) in into.iter_mut().zip(plane(0)).enumerate() {
                    let chroma = x.checked_div(hsub).unwrap_or(x);
                    *colour =
                        self.matrix
                            .colour(u32::from(*luma), byte(cb, chroma), byte(cr, chroma));
                }
            }
        }
    }
}

/// Returns the `bytes` bytes of the sample or pixel with index `number` in a row; an empty slice if the row is shorter.
fn element_at(row: &[u8], number: usize, bytes: usize) -> &[u8] {
    let start = number.saturating_mul(bytes);
    row.get(start..start.saturating_add(bytes))
        .unwrap_or_default()
}

/// Returns a byte of a row; 0 beyond its end.
fn byte(row: &[u8], place: usize) -> u32 {
    row.get(place).copied().map_or(0, u32::from)
}

/// Reads one sample of luma or chroma: a byte, or ten bits in the upper part of a 16-bit little-endian word.
fn sample_value(bytes: &[u8]) -> u32 {
    match *bytes {
        [one] => one.into(),
        [low, high] => u32::from(u16::from_le_bytes([low, high]) >> 6),
        _ => 0,
    }
}

/// Returns the colour of a pixel whose channels are these bits of a little-endian word.
fn packed_colour(pixel: &[u8], fields: [BitField; 4]) -> Colour {
    let value = pixel
        .iter()
        .rev()
        .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    fields.map(|field| field.scaled(value))
}

/// Converts a half-precision float from 0 to 1 to a 16-bit channel. Negative numbers and NaN become 0, and numbers above 1 become
/// 65535.
fn half_float_channel(pixel: &[u8], place: usize) -> u16 {
    let at = place.saturating_mul(2);
    let Some([low, high]) = pixel.get(at..at.saturating_add(2)) else {
        return 0;
    };
    let bits = u16::from_le_bytes([*low, *high]);
    let (is_negative, exponent, fraction) = (bits >> 15 == 1, bits >> 10 & 0x1f, bits & 0x3ff);
    // 2^-24 is the smallest positive half-precision number. Every number is `mantissa << shift` times 2^-24.
    let (mantissa, shift) = match exponent {
        0 => (u64::from(fraction), 0),
        31 if fraction != 0 => (0, 0),
        // Infinity has exponent 31 and is clamped to 1 below.
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
