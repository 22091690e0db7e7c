//! V4L2's pixel formats, and the formats and modifiers of DRM that are the same.

mod pixel_format;
mod tiled_format;

pub use pixel_format::{Disjoint, PixelFormat};
