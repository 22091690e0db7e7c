//! The GPU renderer: clients' buffers are imported as textures and drawn into an output buffer by OpenGL ES.
//!
//! It draws the same layers as [`Software`](super::Software). If one buffer cannot be imported, the frame fails as a whole and
//! the caller composes it with the CPU renderer.

mod device;
mod import;
mod output_buffer;
mod sys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::renderer::gles::{GlesError, GlesRenderer, GlesTarget, GlesTexture};
use smithay::backend::renderer::sync::SyncPoint;
use smithay::backend::renderer::{Bind, Color32F, Frame, Renderer as _, Texture};
use smithay::utils::{Buffer, Physical, Rectangle, Transform as SmithayTransform};

use super::float;
use super::software::{Layer, LayerError, Transform, View};
use crate::region::{Rect, Region};

pub use device::OpenError;
pub use import::{GpuSource, ImportCache, ImportError, UploadedTexture};
pub use output_buffer::{GpuBufferError, GpuOutputBuffer};

/// The GPU renderer of a card.
pub struct Gles {
    renderer: GlesRenderer,
    /// The GBM device that allocates output buffers; `None` in tests.
    device: Option<GbmDevice<Arc<OwnedFd>>>,
    name: String,
    software: bool,
    uploaded_bytes: u64,
}

/// The result of drawing a frame.
#[derive(Debug)]
pub struct Drawn {
    /// The sync point that is reached when the GPU has finished the frame.
    pub done: SyncPoint,
    /// The layers that could not be read and are left out.
    pub failed: Vec<LayerError>,
}

/// The reason why the GPU renderer did not draw a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// A layer cannot be imported.
    #[error("{0}")]
    Import(String),
    /// The driver failed.
    #[error("the GPU failed: {0}")]
    Gles(#[from] GlesError),
}

impl Gles {
    pub(self) fn new(
        renderer: GlesRenderer,
        device: Option<GbmDevice<Arc<OwnedFd>>>,
        name: String,
        software: bool,
    ) -> Self {
        Self {
            renderer,
            device,
            name,
            software,
            uploaded_bytes: 0,
        }
    }

    /// Returns the name of the driver (`GL_RENDERER`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the driver is a software renderer.
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// Returns the number of bytes that were uploaded to textures so far.
    pub fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes
    }

    /// Draws `layers`, the lowest first, over `background` into the damaged part of `target_buffer`.
    ///
    /// The buffer is complete, and the clients' buffers are no longer read, when [`Drawn::done`] is reached.
    ///
    /// # Errors
    ///
    /// When a layer cannot be imported, or the driver fails. The content of the buffer is undefined then.
    pub fn draw(
        &mut self,
        target_buffer: &mut Dmabuf,
        damage: &Region,
        background: u32,
        layers: &[Layer<'_>],
    ) -> Result<Drawn, DrawError> {
        let (textures, failed) = self.textures(damage, layers)?;
        let mut target = self.renderer.bind(target_buffer)?;
        let done = self.draw_to(&mut target, damage, background, layers, &textures)?;
        Ok(Drawn { done, failed })
    }

    /// Frees the textures of destroyed buffers. Otherwise only the next frame frees them.
    pub fn cleanup_texture_cache(&mut self) {
        if let Err(error) = self.renderer.cleanup_texture_cache() {
            tracing::debug!(%error, "textures of destroyed buffers cannot be freed yet");
        }
    }

    /// Returns a texture for every layer that intersects the damage.
    fn textures(
        &mut self,
        damage: &Region,
        layers: &[Layer<'_>],
    ) -> Result<(Vec<Option<GlesTexture>>, Vec<LayerError>), DrawError> {
        let mut failed = Vec::new();
        let mut textures = Vec::with_capacity(layers.len());
        for (position, layer) in layers.iter().enumerate() {
            let visible = damage
                .rects()
                .iter()
                .any(|rect| rect.intersection(layer.view.destination).is_some());
            textures.push(if visible {
                match self.texture(layer.pixels) {
                    Ok(texture) => Some(texture),
                    Err(ImportError::Unreadable(error)) => {
                        failed.push(LayerError {
                            layer: position,
                            error,
                        });
                        None
                    }
                    Err(ImportError::Refused(reason)) => return Err(DrawError::Import(reason)),
                }
            } else {
                None
            });
        }
        Ok((textures, failed))
    }

    fn draw_to(
        &mut self,
        target: &mut GlesTarget<'_>,
        damage: &Region,
        background: u32,
        layers: &[Layer<'_>],
        textures: &[Option<GlesTexture>],
    ) -> Result<SyncPoint, DrawError> {
        let size = target.size();
        let mut frame =
            self.renderer
                .render(target, (size.w, size.h).into(), SmithayTransform::Normal)?;
        let everywhere: Vec<_> = damage.rects().iter().map(|rect| physical(*rect)).collect();
        frame.clear(colour(background), &everywhere)?;
        for (layer, texture) in layers.iter().zip(textures) {
            let Some(texture) = texture else {
                continue;
            };
            let destination = layer.view.destination;
            let (left, upper) = (destination.x, destination.y);
            let inside: Vec<_> = damage
                .rects()
                .iter()
                .filter_map(|rect| rect.intersection(destination))
                .map(|rect| physical(rect.moved(left.saturating_neg(), upper.saturating_neg())))
                .collect();
            let transform = smithay_transform(layer.view.transform);
            let (width, height) = layer.view.transform.size(layer.pixels.size());
            let source = source(&layer.view, (float(width), float(height)));
            Frame::render_texture_from_to(
                &mut frame,
                texture,
                source,
                physical(destination),
                &inside,
                // No region is passed as opaque, so all pixels are blended as by the CPU renderer. A client may declare a region
                // as opaque that is not.
                &[],
                transform,
                1.0,
            )?;
        }
        Ok(frame.finish()?)
    }
}

impl fmt::Debug for Gles {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Gles")
            .field("name", &self.name)
            .field("uploaded_bytes", &self.uploaded_bytes)
            .finish_non_exhaustive()
    }
}

fn physical(rect: Rect) -> Rectangle<i32, Physical> {
    Rectangle::new((rect.x, rect.y).into(), (rect.width, rect.height).into())
}

/// Returns the part of the buffer that a view shows, in pixels of the buffer; `transformed_size` is the size after the transform.
///
/// Smithay applies a transform to rectangles and to textures in opposite directions, so its own conversion would select another
/// part.
fn source(view: &View, transformed_size: (f64, f64)) -> Rectangle<f64, Buffer> {
    let (x, y, width, height) = view.source;
    let one = view.transform.to_buffer((x, y), transformed_size);
    let other = view
        .transform
        .to_buffer((x + width, y + height), transformed_size);
    let corner = (one.0.min(other.0), one.1.min(other.1));
    let size = ((one.0 - other.0).abs(), (one.1 - other.1).abs());
    Rectangle::new(corner.into(), size.into())
}

/// Converts a premultiplied colour (`0xAARRGGBB`).
fn colour(colour: u32) -> Color32F {
    let [blue, green, red, alpha] = colour.to_le_bytes();
    let channel = |byte: u8| f32::from(byte) / 255.0;
    Color32F::new(channel(red), channel(green), channel(blue), channel(alpha))
}

fn smithay_transform(transform: Transform) -> SmithayTransform {
    match transform {
        Transform::Normal => SmithayTransform::Normal,
        Transform::Rotated90 => SmithayTransform::_90,
        Transform::Rotated180 => SmithayTransform::_180,
        Transform::Rotated270 => SmithayTransform::_270,
        Transform::Flipped => SmithayTransform::Flipped,
        Transform::Flipped90 => SmithayTransform::Flipped90,
        Transform::Flipped180 => SmithayTransform::Flipped180,
        Transform::Flipped270 => SmithayTransform::Flipped270,
    }
}
