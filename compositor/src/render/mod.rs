//! The renderers, which compose the layers of a scene into an output buffer.

pub mod format;
pub mod gles;
pub mod renderer;
pub mod shm;
pub mod software;
pub mod target;

mod sys;

pub use format::{PixelFormat, ReadPlanes, RowDecoder};
pub use gles::Gles;
pub use renderer::Renderer;
pub use software::{Layer, Pixels, Software, View};
pub use target::Target;

/// Converts a number of pixels to a coordinate, saturating.
fn float(pixels: usize) -> f64 {
    u32::try_from(pixels).map_or(f64::MAX, f64::from)
}
