//! The colour encoding of a queue's format: V4L2's colorspace, Y'CbCr encoding and quantization.

use std::fmt;

use super::queue::Queue;
use super::{Error, PixelFormat};

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

/// The function between linear light and the pixels' R'G'B'. V4L2 has it for each format. wp_color_representation_v1, the
/// properties of KMS planes and Vulkan's Y'CbCr conversion have no transfer function, so it is metadata for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferFunction {
    /// ITU-R BT.709, which BT.601 and BT.2020 use too.
    Bt709,
    /// sRGB (IEC 61966-2-1).
    Srgb,
    /// opRGB (IEC 61966-2-5).
    OpRgb,
    /// SMPTE 240M.
    Smpte240m,
    /// Linear light.
    Linear,
    /// DCI-P3.
    DciP3,
    /// SMPTE ST 2084 (PQ).
    Smpte2084,
}

/// `enum v4l2_colorspace`.
mod colorspace {
    pub(super) const DEFAULT: u32 = 0;
    pub(super) const SMPTE240M: u32 = 2;
    pub(super) const REC709: u32 = 3;
    pub(super) const JPEG: u32 = 7;
    pub(super) const SRGB: u32 = 8;
    pub(super) const OPRGB: u32 = 9;
    pub(super) const BT2020: u32 = 10;
    pub(super) const RAW: u32 = 11;
    pub(super) const DCI_P3: u32 = 12;
}

/// `enum v4l2_ycbcr_encoding`.
mod encoding {
    pub(super) const BT601: u32 = 1;
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

/// `enum v4l2_xfer_func`.
mod transfer {
    pub(super) const BT709: u32 = 1;
    pub(super) const SRGB: u32 = 2;
    pub(super) const OPRGB: u32 = 3;
    pub(super) const SMPTE240M: u32 = 4;
    pub(super) const NONE: u32 = 5;
    pub(super) const DCI_P3: u32 = 6;
    pub(super) const SMPTE2084: u32 = 7;
}

/// Returns the colorspace of a driver that leaves it at V4L2_COLORSPACE_DEFAULT: sRGB, because the queue does not say whether its
/// signal is one of SDTV or HDTV.
///
/// # References
/// `linux/videodev2.h`, V4L2_MAP_COLORSPACE_DEFAULT.
fn colorspace_or_default(space: u32) -> u32 {
    match space {
        colorspace::DEFAULT => colorspace::SRGB,
        known => known,
    }
}

/// Returns the Y'CbCr encoding of a colorspace, for drivers that leave it at V4L2_YCBCR_ENC_DEFAULT.
///
/// # References
/// `linux/videodev2.h`, V4L2_MAP_YCBCR_ENC_DEFAULT.
fn default_encoding(space: u32) -> u32 {
    match space {
        colorspace::REC709 | colorspace::DCI_P3 => encoding::REC709,
        colorspace::BT2020 => encoding::BT2020,
        colorspace::SMPTE240M => encoding::SMPTE240M,
        _ => encoding::BT601,
    }
}

/// Returns the quantization of a colorspace, for drivers that leave it at V4L2_QUANTIZATION_DEFAULT.
///
/// # References
/// `linux/videodev2.h`, V4L2_MAP_QUANTIZATION_DEFAULT.
fn default_quantization(space: u32, is_rgb: bool) -> u32 {
    match space {
        colorspace::JPEG => quantization::FULL,
        _ if is_rgb => quantization::FULL,
        _ => quantization::LIMITED,
    }
}

/// Returns the transfer function of a colorspace, for drivers that leave it at V4L2_XFER_FUNC_DEFAULT.
///
/// # References
/// `linux/videodev2.h`, V4L2_MAP_XFER_FUNC_DEFAULT.
fn default_transfer(space: u32) -> u32 {
    match space {
        colorspace::OPRGB => transfer::OPRGB,
        colorspace::SMPTE240M => transfer::SMPTE240M,
        colorspace::DCI_P3 => transfer::DCI_P3,
        colorspace::RAW => transfer::NONE,
        colorspace::SRGB | colorspace::JPEG => transfer::SRGB,
        _ => transfer::BT709,
    }
}

/// The colour metadata of a format: `colorspace`, `ycbcr_enc`, `quantization` and `xfer_func`. The value 0 of each means the
/// default.
#[derive(Clone, Copy, Debug, Default)]
struct Metadata {
    space: u32,
    encoding: u32,
    quantization: u32,
    transfer: u32,
    /// Whether the format is RGB.
    is_rgb: bool,
}

impl Metadata {
    /// Converts the Y'CbCr encoding and the quantization. Values that `linux/videodev2.h` does not define are taken as 0.
    ///
    /// SMPTE 240M is converted to BT.709: the coefficients of the two matrices differ by about 0.01. BT.2020 with constant
    /// luminance is converted to BT.2020 without, because KMS and Vulkan have no matrix for it.
    fn colours(self) -> Colours {
        let space = colorspace_or_default(self.space);
        let encoding = match self.encoding {
            encoding::BT601..=encoding::SMPTE240M => self.encoding,
            _ => default_encoding(space),
        };
        let quantization = match self.quantization {
            quantization::FULL | quantization::LIMITED => self.quantization,
            _ => default_quantization(space, self.is_rgb),
        };
        Colours {
            encoding: match encoding {
                encoding::REC709 | encoding::XV709 | encoding::SMPTE240M => Encoding::Bt709,
                encoding::BT2020 | encoding::BT2020_CONST_LUM => Encoding::Bt2020,
                // XV601 and sYCC have the matrix of BT.601.
                _ => Encoding::Bt601,
            },
            is_full_range: quantization == quantization::FULL,
        }
    }

    /// Converts the transfer function. A value that `linux/videodev2.h` does not define is taken as 0.
    fn transfer_function(self) -> TransferFunction {
        let transfer = match self.transfer {
            transfer::BT709..=transfer::SMPTE2084 => self.transfer,
            _ => default_transfer(colorspace_or_default(self.space)),
        };
        match transfer {
            transfer::SRGB => TransferFunction::Srgb,
            transfer::OPRGB => TransferFunction::OpRgb,
            transfer::SMPTE240M => TransferFunction::Smpte240m,
            transfer::NONE => TransferFunction::Linear,
            transfer::DCI_P3 => TransferFunction::DciP3,
            transfer::SMPTE2084 => TransferFunction::Smpte2084,
            _ => TransferFunction::Bt709,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bt601 => "BT.601",
            Self::Bt709 => "BT.709",
            Self::Bt2020 => "BT.2020",
        })
    }
}

impl fmt::Display for Colours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = if self.is_full_range {
            "full"
        } else {
            "limited"
        };
        write!(out, "{} {range} range", self.encoding)
    }
}

impl fmt::Display for TransferFunction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bt709 => "BT.709",
            Self::Srgb => "sRGB",
            Self::OpRgb => "opRGB",
            Self::Smpte240m => "SMPTE 240M",
            Self::Linear => "linear",
            Self::DciP3 => "DCI-P3",
            Self::Smpte2084 => "SMPTE ST 2084",
        })
    }
}

impl Queue {
    /// Queries the colour encoding of the current format (VIDIOC_G_FMT). Values that the driver leaves at their default are those
    /// of the colorspace.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    ///
    /// # References
    /// `linux/videodev2.h`, V4L2_MAP_YCBCR_ENC_DEFAULT and V4L2_MAP_QUANTIZATION_DEFAULT.
    pub fn colours(&self) -> Result<Colours, Error> {
        Ok(self.colour_metadata()?.colours())
    }

    /// Queries the transfer function of the current format (VIDIOC_G_FMT).
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    ///
    /// # References
    /// `linux/videodev2.h`, V4L2_MAP_XFER_FUNC_DEFAULT.
    pub fn transfer_function(&self) -> Result<TransferFunction, Error> {
        Ok(self.colour_metadata()?.transfer_function())
    }

    fn colour_metadata(&self) -> Result<Metadata, Error> {
        let format = self.raw_format()?;
        let (metadata, pixel_format) = if self.is_multiplanar() {
            let found = format.multiplanar();
            let metadata = Metadata {
                space: found.colorspace,
                encoding: found.encoding.into(),
                quantization: found.quantization.into(),
                transfer: found.transfer.into(),
                is_rgb: false,
            };
            (metadata, found.pixel_format)
        } else {
            let found = format.pix();
            let metadata = Metadata {
                space: found.colorspace,
                encoding: found.encoding,
                quantization: found.quantization,
                transfer: found.transfer,
                is_rgb: false,
            };
            (metadata, found.pixel_format)
        };
        let info = PixelFormat(pixel_format)
            .fourcc()
            .and_then(|(fourcc, _)| fourcc.info());
        Ok(Metadata {
            is_rgb: info.is_some_and(|info| !info.is_yuv),
            ..metadata
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yuv(space: u32, encoding: u32, quantization: u32) -> (Encoding, bool) {
        let metadata = Metadata {
            space,
            encoding,
            quantization,
            ..Metadata::default()
        };
        let colours = metadata.colours();
        (colours.encoding, colours.is_full_range)
    }

    #[test]
    fn default_values_are_those_of_the_macros_of_the_kernel() {
        use TransferFunction as Transfer;
        // The colorspace, and what V4L2_MAP_YCBCR_ENC_DEFAULT, V4L2_MAP_QUANTIZATION_DEFAULT and V4L2_MAP_XFER_FUNC_DEFAULT return
        // for it. 4 is V4L2_COLORSPACE_BT878, which no driver uses, and 0 is taken as sRGB.
        let table = [
            (0, Encoding::Bt601, false, Transfer::Srgb),
            (1, Encoding::Bt601, false, Transfer::Bt709),
            (2, Encoding::Bt709, false, Transfer::Smpte240m),
            (3, Encoding::Bt709, false, Transfer::Bt709),
            (4, Encoding::Bt601, false, Transfer::Bt709),
            (5, Encoding::Bt601, false, Transfer::Bt709),
            (6, Encoding::Bt601, false, Transfer::Bt709),
            (7, Encoding::Bt601, true, Transfer::Srgb),
            (8, Encoding::Bt601, false, Transfer::Srgb),
            (9, Encoding::Bt601, false, Transfer::OpRgb),
            (10, Encoding::Bt2020, false, Transfer::Bt709),
            (11, Encoding::Bt601, false, Transfer::Linear),
            (12, Encoding::Bt709, false, Transfer::DciP3),
        ];
        for (space, encoding, is_full_range, transfer) in table {
            assert_eq!(yuv(space, 0, 0), (encoding, is_full_range), "{space}");
            let metadata = Metadata {
                space,
                is_rgb: true,
                ..Metadata::default()
            };
            assert!(metadata.colours().is_full_range, "RGB of {space}");
            assert_eq!(metadata.transfer_function(), transfer, "{space}");
        }
    }

    #[test]
    fn explicit_values_override_the_colorspace() {
        // XV601 and sYCC have the matrix of BT.601, and SMPTE 240M about that of BT.709.
        let table = [
            (1, Encoding::Bt601),
            (2, Encoding::Bt709),
            (3, Encoding::Bt601),
            (4, Encoding::Bt709),
            (5, Encoding::Bt601),
            (6, Encoding::Bt2020),
            (7, Encoding::Bt2020),
            (8, Encoding::Bt709),
        ];
        for (number, encoding) in table {
            for space in 0..=12 {
                assert_eq!(yuv(space, number, 1), (encoding, true), "{space} {number}");
                assert_eq!(yuv(space, number, 2), (encoding, false), "{space} {number}");
            }
        }
        let transfer = |transfer| {
            let metadata = Metadata {
                space: colorspace::REC709,
                transfer,
                ..Metadata::default()
            };
            metadata.transfer_function()
        };
        assert_eq!(transfer(2), TransferFunction::Srgb);
        assert_eq!(transfer(5), TransferFunction::Linear);
        assert_eq!(transfer(7), TransferFunction::Smpte2084);
    }

    #[test]
    fn values_that_the_kernel_does_not_define_are_the_default() {
        assert_eq!(yuv(10, 9, 3), (Encoding::Bt2020, false));
        assert_eq!(yuv(3, u32::MAX, u32::MAX), (Encoding::Bt709, false));
        assert_eq!(yuv(u32::MAX, 0, 0), (Encoding::Bt601, false));
        let metadata = Metadata {
            space: colorspace::JPEG,
            transfer: u32::MAX,
            ..Metadata::default()
        };
        assert_eq!(metadata.transfer_function(), TransferFunction::Srgb);
    }

    #[test]
    fn colours_are_printed_with_matrix_and_range() {
        let colours = Colours {
            encoding: Encoding::Bt2020,
            is_full_range: true,
        };
        assert_eq!(colours.to_string(), "BT.2020 full range");
    }
}
