//! From luma and chroma to red, green and blue.

use clap::ValueEnum;
use serde::Serialize;

use super::Colour;

/// By which standard luma was made of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standard {
    /// ITU-R BT.601: what cameras and small videos take for granted.
    Bt601,
    /// ITU-R BT.709: HD.
    Bt709,
    /// ITU-R BT.2020, with constant coefficients: UHD.
    Bt2020,
}

/// Which numbers are black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Range {
    /// 16 and 235, chroma from 16 to 240, in eight bits.
    Limited,
    /// 0 and 255.
    Full,
}

/// How luma and chroma are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Colours {
    pub(crate) standard: Standard,
    pub(crate) range: Range,
}

impl Standard {
    /// The one that is taken for granted where nobody says: by rows, as video players do.
    pub(crate) const fn usual(rows: u32) -> Self {
        if rows < 720 { Self::Bt601 } else { Self::Bt709 }
    }

    /// The shares of red and blue in luma.
    const fn shares(self) -> (f64, f64) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The conversion in whole numbers: 1/2^24 of what a channel counts.
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

const SHIFT: u32 = 24;

impl Matrix {
    /// Makes the one for samples of that many bits.
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
        let (red, blue) = colours.standard.shares();
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

    /// Makes a colour; what lies outside of all colours is cut off.
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
