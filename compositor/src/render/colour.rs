//! The conversion of a buffer's sample values to colours.
//!
//! A client sets it by `wp_color_representation_v1`. Defaults apply to what the client does not set:
//!
//! - YUV has limited range (16 to 235). Its matrix is BT.601 below 720 rows and BT.709 from 720 rows on, as cameras and video
//!   players assume.
//! - A chroma sample is the colour of all pixels that share it. If the client sets a chroma location, chroma is interpolated
//!   instead.
//! - Alpha is premultiplied, as Wayland requires.

/// The matrix coefficients of YUV, by ITU recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of H.273
pub enum Coefficients {
    Bt601,
    Bt709,
    Bt2020,
}

impl Coefficients {
    /// All coefficients.
    pub const ALL: [Self; 3] = [Self::Bt601, Self::Bt709, Self::Bt2020];

    /// Returns the weights of red and blue in luma: `Kr` and `Kb`.
    ///
    /// # References
    ///
    /// H.273, "MatrixCoefficients": 5 and 6, 1, and 9.
    pub const fn luma_weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// The range of the numbers that stand for black to white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantizationRange {
    /// 0 to 255.
    Full,
    /// 16 to 235 for luma, and 16 to 240 for chroma.
    Limited,
}

/// The encoding of YUV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct YuvEncoding {
    /// The matrix coefficients of the conversion to RGB.
    pub coefficients: Coefficients,
    /// The quantization range of the samples.
    pub range: QuantizationRange,
}

/// The smallest number of rows at which YUV without an encoding set by the client is read as BT.709.
const BT709_ROWS: usize = 720;

impl YuvEncoding {
    /// Returns the encoding of a buffer with `rows` rows whose client has set none.
    pub const fn default_for_height(rows: usize) -> Self {
        Self {
            coefficients: if rows < BT709_ROWS {
                Coefficients::Bt601
            } else {
                Coefficients::Bt709
            },
            range: QuantizationRange::Limited,
        }
    }
}

/// The position of a chroma sample within the two columns and two rows of pixels that share it. Its unit is half a pixel,
/// measured from the centre of the upper left pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChromaLocation {
    /// The horizontal offset: 0 or 1.
    pub x_halves: u8,
    /// The vertical offset: 0, 1 or 2.
    pub y_halves: u8,
}

impl ChromaLocation {
    /// Returns the location of a `Chroma420SampleLocType` of H.273; `None` if H.273 does not define the number.
    pub const fn of_type(number: u32) -> Option<Self> {
        let (x_halves, y_halves) = match number {
            0 => (0, 1),
            1 => (1, 1),
            2 => (0, 0),
            3 => (1, 0),
            4 => (0, 2),
            5 => (1, 2),
            _ => return None,
        };
        Some(Self { x_halves, y_halves })
    }
}

/// Whether the stored colours are multiplied by alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AlphaMode {
    /// The stored colours are multiplied by alpha.
    #[default]
    Premultiplied,
    /// The stored colours are not multiplied by alpha.
    Straight,
}

/// The conversion of a buffer's sample values to colours. A field is `None` if the client has not set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColorRepresentation {
    /// Whether the colours are premultiplied by alpha.
    pub alpha: AlphaMode,
    /// The encoding of YUV.
    pub yuv: Option<YuvEncoding>,
    /// The location of the chroma samples of 4:2:0.
    pub chroma_location: Option<ChromaLocation>,
}

impl ColorRepresentation {
    /// Returns the encoding of a YUV buffer with `rows` rows.
    pub fn yuv_encoding(&self, rows: usize) -> YuvEncoding {
        self.yuv.unwrap_or(YuvEncoding::default_for_height(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuv_of_unknown_encoding_is_bt709_from_720_rows_on() {
        let unknown = ColorRepresentation::default();
        assert_eq!(unknown.yuv_encoding(719).coefficients, Coefficients::Bt601);
        assert_eq!(unknown.yuv_encoding(720).coefficients, Coefficients::Bt709);
        let client_encoding = YuvEncoding {
            coefficients: Coefficients::Bt2020,
            range: QuantizationRange::Full,
        };
        let known = ColorRepresentation {
            yuv: Some(client_encoding),
            ..unknown
        };
        assert_eq!(known.yuv_encoding(720), client_encoding);
    }
}
