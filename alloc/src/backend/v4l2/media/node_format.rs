//! The format of a video node at the end of a pipeline.

use std::fmt;

use serde::{Serialize, Serializer};

use super::super::PixelFormat;
use crate::model::Extent;

/// The size and pixel format that a video node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFormat {
    /// The size in pixels.
    pub extent: Extent,
    /// The pixel format.
    pub pixel_format: PixelFormat,
}

impl fmt::Display for NodeFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.pixel_format, self.extent)
    }
}

/// Serialised as the four characters of the pixel format, and the size.
impl Serialize for NodeFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named {
            pixel_format: String,
            size: Extent,
        }
        let named = Named {
            pixel_format: self.pixel_format.to_string(),
            size: self.extent,
        };
        named.serialize(serializer)
    }
}
