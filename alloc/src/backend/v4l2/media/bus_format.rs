//! The format of the pictures at a pad.

use std::fmt;

use serde::{Serialize, Serializer};

use super::bus_code::BusCode;
use super::sys;
use crate::model::{Extent, ExtentError};

/// The format of the pictures at a pad of a sub-device.
///
/// The field order and the colour encoding are kept as the driver returned them, so that the next pad gets the same values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFormat {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The media bus code.
    pub code: BusCode,
    field: u32,
    colorspace: u32,
    encoding: u16,
    quantization: u16,
    transfer: u16,
}

impl BusFormat {
    #[cfg(test)]
    pub(super) fn new(extent: Extent, code: BusCode) -> Self {
        let format = sys::FrameFormat {
            width: extent.width(),
            height: extent.height(),
            code: code.0,
            field: super::super::sys::FIELD_NONE,
            ..Default::default()
        };
        Self::from_kernel(&format)
    }

    pub(super) fn from_kernel(format: &sys::FrameFormat) -> Self {
        Self {
            width: format.width,
            height: format.height,
            code: BusCode(format.code),
            field: format.field,
            colorspace: format.colorspace,
            encoding: format.encoding,
            quantization: format.quantization,
            transfer: format.transfer,
        }
    }

    pub(super) fn to_kernel(self) -> sys::FrameFormat {
        sys::FrameFormat {
            width: self.width,
            height: self.height,
            code: self.code.0,
            field: self.field,
            colorspace: self.colorspace,
            encoding: self.encoding,
            quantization: self.quantization,
            transfer: self.transfer,
            ..Default::default()
        }
    }

    pub(super) fn with_code(self, code: BusCode) -> Self {
        Self { code, ..self }
    }

    pub(super) fn with_extent(self, extent: Extent) -> Self {
        Self {
            width: extent.width(),
            height: extent.height(),
            ..self
        }
    }

    /// Returns the size.
    ///
    /// # Errors
    /// [`ExtentError`] if the width or height is not valid for a picture.
    pub fn extent(self) -> Result<Extent, ExtentError> {
        Extent::new(self.width, self.height)
    }

    /// Returns whether a link can carry pictures from a pad with this format to a pad with the format `sink`.
    ///
    /// # References
    /// Linux, `drivers/media/v4l2-core/v4l2-subdev.c`, `v4l2_subdev_link_validate_default`.
    pub(super) fn is_valid_for(self, sink: Self) -> bool {
        // A sink pad with V4L2_FIELD_NONE accepts any field order, because interlaced hardware may be connected to a bridge that
        // supports only progressive formats.
        let has_field = self.field == sink.field || sink.field == super::super::sys::FIELD_NONE;
        (self.width, self.height, self.code) == (sink.width, sink.height, sink.code) && has_field
    }
}

impl fmt::Display for BusFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}x{}", self.code, self.width, self.height)
    }
}

/// Serialised as code and size.
impl Serialize for BusFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named {
            code: BusCode,
            size: String,
        }
        let size = format!("{}x{}", self.width, self.height);
        let code = self.code;
        Named { code, size }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BGR, RGB};
    use super::*;

    #[test]
    fn link_is_valid_for_equal_sizes_codes_and_fields() {
        let size = Extent::new(640, 480).unwrap();
        let format = BusFormat::new(size, RGB);
        assert!(format.is_valid_for(format));
        assert!(!format.is_valid_for(format.with_code(BGR)));
        let narrow = format.with_extent(Extent::new(638, 480).unwrap());
        assert!(!format.is_valid_for(narrow));
        let interlaced = BusFormat { field: 4, ..format };
        assert!(interlaced.is_valid_for(format));
        assert!(!format.is_valid_for(interlaced));
    }

    #[test]
    fn format_is_unchanged_by_the_kernels_structure() {
        let format = BusFormat {
            colorspace: 8,
            transfer: 2,
            ..BusFormat::new(Extent::new(16, 16).unwrap(), RGB)
        };
        assert_eq!(BusFormat::from_kernel(&format.to_kernel()), format);
    }
}
