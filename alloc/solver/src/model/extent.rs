//! The width and height of an image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The width and height of an image in pixels, both from 1 to [`Extent::LARGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Extent {
    width: u32,
    height: u32,
}

/// Why a size or a text is not an [`Extent`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// The width or height is 0 or over [`Extent::LARGEST`].
    #[error(
        "{width}x{height} is not a valid image size: width and height are from 1 to {} pixels",
        Extent::LARGEST
    )]
    OutOfRange {
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
    },
    /// The text is not two numbers with an `x` between them.
    #[error("{0:?} is not a size; write WIDTHxHEIGHT in pixels, such as 640x480")]
    Text(String),
}

impl Extent {
    /// The maximum width and the maximum height in pixels. With 16 bytes a pixel, the bytes of a row still fit into 32 bits.
    /// Protocols with signed 32-bit sizes can also carry it.
    pub const LARGEST: u32 = 1 << 16;

    /// Makes an extent from a width and a height in pixels.
    ///
    /// # Errors
    /// [`ExtentError::OutOfRange`] if the width or the height is 0 or greater than [`Extent::LARGEST`].
    pub const fn new(width: u32, height: u32) -> Result<Self, ExtentError> {
        if width == 0 || height == 0 || width > Self::LARGEST || height > Self::LARGEST {
            return Err(ExtentError::OutOfRange { width, height });
        }
        Ok(Self { width, height })
    }

    /// Returns the width in pixels.
    #[must_use]
    pub const fn width(self) -> u32 {
        self.width
    }

    /// Returns the height in pixels.
    #[must_use]
    pub const fn height(self) -> u32 {
        self.height
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Extent {
    type Err = ExtentError;

    fn from_str(text: &str) -> Result<Self, ExtentError> {
        let unreadable = || ExtentError::Text(text.to_owned());
        let (width, height) = text.split_once('x').ok_or_else(unreadable)?;
        Self::new(
            width.parse().map_err(|_| unreadable())?,
            height.parse().map_err(|_| unreadable())?,
        )
    }
}

impl From<Extent> for String {
    fn from(extent: Extent) -> Self {
        extent.to_string()
    }
}

impl TryFrom<String> for Extent {
    type Error = ExtentError;

    fn try_from(text: String) -> Result<Self, ExtentError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extent_of_text_is_parsed_or_refused() {
        assert_eq!("640x480".parse(), Extent::new(640, 480));
        for text in ["", "x", "640", "640x", "-1x5", "640x480x2", "99999999999x1"] {
            assert_eq!(
                text.parse::<Extent>(),
                Err(ExtentError::Text(text.to_owned()))
            );
        }
        assert!(matches!(
            "0x480".parse::<Extent>(),
            Err(ExtentError::OutOfRange { .. })
        ));
        assert!(
            Extent::new(Extent::LARGEST, 1).is_ok() && Extent::new(Extent::LARGEST + 1, 1).is_err()
        );
    }
}
