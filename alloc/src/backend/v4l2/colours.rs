//! The colour encoding of a queue's format: V4L2's colorspace, Y'CbCr encoding and quantization.

use super::Error;
use super::queue::Queue;

/// The matrix between Y'CbCr and R'G'B'.
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

/// The colour encoding of a queue's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours {
    /// The Y'CbCr matrix. It has no meaning for RGB formats.
    pub encoding: Encoding,
    /// Whether the quantization is full range (0 to 255) and not limited range (16 to 235).
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
    /// Converts the driver's `colorspace`, `ycbcr_enc` and `quantization`. The value 0 of the latter two means the default of the
    /// colorspace.
    ///
    /// SMPTE 240M is converted to BT.709: the coefficients of the two matrices differ by about 0.01.
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
    /// Queries the colour encoding of the current format (VIDIOC_G_FMT).
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
    fn default_values_are_those_of_the_colorspace() {
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
    fn explicit_values_override_the_colorspace() {
        let explicit = Colours::of(3, 1, 1);
        assert_eq!(
            (explicit.encoding, explicit.is_full_range),
            (Encoding::Bt601, true)
        );
        assert!(!Colours::of(7, 0, 2).is_full_range);
    }
}
