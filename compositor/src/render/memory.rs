//! Draws layers into memory of this process, for screenshots and captures.

use std::io;

use super::gles::{Copied, is_linear};
use super::software::{Layer, LayerError};
use super::{ColorRepresentation, Renderer, Target};
use crate::region::Rect;

/// An image in memory of this process, and the layers that are missing in it.
#[derive(Debug)]
pub struct DrawnImage {
    /// The pixels (`0xAARRGGBB`), in rows without padding.
    pub pixels: Vec<u32>,
    /// The layers that could not be read.
    pub failed: Vec<LayerError>,
}

/// Draws layers, from the bottom to the top, over `background` with the CPU renderer. The GPU first reads back the buffers that
/// the CPU cannot read.
///
/// # Errors
///
/// When the size is not valid, or a buffer cannot be read back.
pub fn draw_by_cpu(
    renderer: &mut Renderer,
    (width, height): (usize, usize),
    background: u32,
    layers: &[Layer<'_>],
) -> io::Result<DrawnImage> {
    let side = |pixels: usize| i32::try_from(pixels).map_err(io::Error::other);
    let bounds = Rect::of_size(side(width)?, side(height)?);
    let mut copies: Vec<Option<Copied>> = Vec::new();
    for layer in layers {
        copies.push(match renderer.gles() {
            Some(gles) if needs_gpu(layer) => Some(gles.copy(layer.pixels, layer.colour)?),
            _ => None,
        });
    }
    let readable: Vec<Layer<'_>> = layers
        .iter()
        .zip(&copies)
        .map(|(layer, copied)| match copied {
            Some(copied) => Layer {
                pixels: copied,
                colour: ColorRepresentation::default(),
                view: layer.view,
                opaque: layer.opaque.clone(),
            },
            None => Layer {
                pixels: layer.pixels,
                colour: layer.colour,
                view: layer.view,
                opaque: layer.opaque.clone(),
            },
        })
        .collect();
    let mut target = Target::memory(width, height);
    let damage = bounds.into();
    let failed = renderer
        .software()
        .draw(&mut target, &damage, background, &readable)?;
    Ok(DrawnImage {
        pixels: target.read()?,
        failed,
    })
}

/// Returns whether only the GPU can read the buffer of a layer.
fn needs_gpu(layer: &Layer<'_>) -> bool {
    let source = layer.pixels.gpu().and_then(|source| source.dmabuf);
    source.is_some_and(|(buffer, _)| !is_linear(buffer))
}
