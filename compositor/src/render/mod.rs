//! The renderers, which compose the layers of a scene into an output buffer.

mod blend;
pub mod colour;
mod decode;
pub mod format;
pub mod gles;
pub mod memory;
#[cfg(test)]
mod memory_planes;
#[cfg(test)]
mod reference;
pub mod renderer;
pub mod shm;
pub mod software;
pub mod target;
pub mod view;

mod sys;
mod yuv;

pub use colour::ColorRepresentation;
pub use decode::{Encoding, ReadPlanes, RowDecoder};
pub use format::PixelFormat;
pub use gles::Gles;
pub use renderer::Renderer;
pub use software::{Layer, Pixels, Software};
pub use target::Target;
pub use view::BufferView;

/// Converts a number of pixels to a coordinate, saturating.
fn float(pixels: usize) -> f64 {
    u32::try_from(pixels).map_or(f64::MAX, f64::from)
}
