//! V4L2 pixel formats, and the DRM formats and modifiers with the same pixels.

mod pixel_format;
mod tiled_format;

pub use pixel_format::{Disjoint, PixelFormat};
