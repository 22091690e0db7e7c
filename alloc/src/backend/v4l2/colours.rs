//! What a camera's numbers mean as colours.

use super::Error;
use super::queue::Queue;

/// How luma and chroma become red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020.
    Bt2020,
}

/// What the numbers of a queue's pixels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours {
    /// How luma and chroma become colours; of no meaning for RGB.
    pub encoding: Encoding,
    /// Whether numbers go from the first to the last, rather than black from 16 and white to 235.
    pub is_full_range: bool,
}

/// `enum v4l2_colorspace`.
mod colorspace {
    pub(super) const SMPTE240M: u32 = 2;
    pub(super) const REC709: u32 = 3;
    pub(super) const JPEG: u32 = 7;
    pub(super) const BT2020: u32 = 10;
    pub(super) const DCI_P3: u32 = 12;
}

/// `enum v4l2_ycbcr_encoding`.
mod encoding {
    pub(super) const REC709: u32 = 2;
    pub(super) const XV709: u32 = 4;
    pub(super) const BT2020: u32 = 6;
    pub(super) const BT2020_CONST_LUM: u32 = 7;
    pub(super) const SMPTE240M: u32 = 8;
}

/// `enum v4l2_quantization`.
mod quantization {
    pub(super) const FULL: u32 = 1;
    pub(super) const LIMITED: u32 = 2;
}

impl Colours {
    /// Reads what a driver says; 0 stands for what the colorspace has by default.
    ///
    /// SMPTE 240M is taken for BT.709, whose weights differ from its own by a hundredth.
    ///
    /// # References
    /// `linux/videodev2.h`, V4L2_MAP_YCBCR_ENC_DEFAULT and V4L2_MAP_QUANTIZATION_DEFAULT.
    fn of(space: u32, encoding: u32, quantization: u32) -> Self {
        let encoding = match (encoding, space) {
            (encoding::REC709 | encoding::XV709 | encoding::SMPTE240M, _)
            | (0, colorspace::REC709 | colorspace::DCI_P3 | colorspace::SMPTE240M) => {
                Encoding::Bt709
            }
            (encoding::BT2020 | encoding::BT2020_CONST_LUM, _) | (0, colorspace::BT2020) => {
                Encoding::Bt2020
            }
            _ => Encoding::Bt601,
        };
        Self {
            encoding,
            is_full_range: match quantization {
                quantization::FULL => true,
                quantization::LIMITED => false,
                _ => space == colorspace::JPEG,
            },
        }
    }
}

impl Queue {
    /// Asks what the numbers of the format mean that is set.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn colours(&self) -> Result<Colours, Error> {
        let format = self.raw_format()?;
        Ok(if self.is_multiplanar() {
            let found = format.multiplanar();
            Colours::of(
                found.colorspace,
                found.encoding.into(),
                found.quantization.into(),
            )
        } else {
            let found = format.pix();
            Colours::of(found.colorspace, found.encoding, found.quantization)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_that_are_not_said_are_the_colorspaces_own() {
        let webcam = Colours::of(8, 0, 0);
        assert_eq!(
            (webcam.encoding, webcam.is_full_range),
            (Encoding::Bt601, false)
        );
        assert_eq!(Colours::of(3, 0, 0).encoding, Encoding::Bt709);
        assert_eq!(Colours::of(10, 0, 0).encoding, Encoding::Bt2020);
        assert!(Colours::of(7, 0, 0).is_full_range);
    }

    #[test]
    fn colours_that_are_said_win() {
        let said = Colours::of(3, 1, 1);
        assert_eq!((said.encoding, said.is_full_range), (Encoding::Bt601, true));
        assert!(!Colours::of(7, 0, 2).is_full_range);
    }
}
