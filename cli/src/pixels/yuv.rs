//! Converts YUV samples to red, green and blue.

use clap::ValueEnum;
use serde::Serialize;

use super::Colour;

/// The YUV matrix coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standard {
    /// ITU-R BT.601: the usual matrix of cameras and of standard-definition video.
    Bt601,
    /// ITU-R BT.709: HD.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance: UHD.
    Bt2020,
}

/// The YUV quantisation range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Range {
    /// In eight bits, luma from 16 (black) to 235 (white), and chroma from 16 to 240.
    Limited,
    /// In eight bits, luma and chroma from 0 to 255.
    Full,
}

/// The YUV matrix and range of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Colours {
    pub(crate) standard: Standard,
    pub(crate) range: Range,
}

impl Standard {
    /// Returns the matrix to assume for a picture of this many rows if none is given, as video players do.
    pub(crate) const fn default_for_height(rows: u32) -> Self {
        if rows < 720 { Self::Bt601 } else { Self::Bt709 }
    }

    /// The luma coefficients of red and blue, Kr and Kb.
    const fn luma_coefficients(self) -> (f64, f64) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The conversion in fixed point: coefficients in units of 2^-24 of a 16-bit channel step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    black: i64,
    middle: i64,
    luma: i64,
    red_cr: i64,
    green_cb: i64,
    green_cr: i64,
    blue_cb: i64,
}

/// The number of fraction bits of the coefficients.
const SHIFT: u32 = 24;

impl Matrix {
    /// Returns the conversion for samples of `bits` bits.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "coefficients are below 2^42"
    )]
    pub(super) fn new(colours: Colours, bits: u32) -> Self {
        let unit = 1_i64 << (bits - 8);
        let most = (1_i64 << bits) - 1;
        let (black, luma_steps, chroma_steps) = match colours.range {
            Range::Limited => (16 * unit, 219 * unit, 224 * unit),
            Range::Full => (0, most, most),
        };
        let (red, blue) = colours.standard.luma_coefficients();
        let green = 1.0 - red - blue;
        #[allow(clippy::cast_precision_loss, reason = "at most 1023")]
        let scaled = |factor: f64, steps: i64| -> i64 {
            (factor * 65535.0 / steps as f64 * f64::from(1_u32 << SHIFT)).round() as i64
        };
        Self {
            black,
            middle: 1 << (bits - 1),
            luma: scaled(1.0, luma_steps),
            red_cr: scaled(2.0 * (1.0 - red), chroma_steps),
            green_cb: scaled(-2.0 * (1.0 - blue) * blue / green, chroma_steps),
            green_cr: scaled(-2.0 * (1.0 - red) * red / green, chroma_steps),
            blue_cb: scaled(2.0 * (1.0 - blue), chroma_steps),
        }
    }

    /// Converts one pixel. Channels outside the RGB range are clamped.
    pub(super) fn colour(self, luma: u32, cb: u32, cr: u32) -> Colour {
        let luma = self.luma * (i64::from(luma) - self.black) + (1 << (SHIFT - 1));
        let (cb, cr) = (i64::from(cb) - self.middle, i64::from(cr) - self.middle);
        let channel = |value: i64| {
            let value = (value >> SHIFT).clamp(0, u16::MAX.into());
            u16::try_from(value).unwrap_or(u16::MAX)
        };
        [
            channel(luma + self.red_cr * cr),
            channel(luma + self.green_cb * cb + self.green_cr * cr),
            channel(luma + self.blue_cb * cb),
            u16::MAX,
        ]
    }
}
