//! The GPU renderer: clients' buffers are imported as textures and drawn into an output buffer by OpenGL ES.
//!
//! It draws the same layers as [`Software`](super::Software). The CPU uploads a linear buffer that the GPU cannot import. After
//! any other error of the GPU, the caller composes the frame with the CPU renderer.

mod device;
mod import;
mod output_buffer;
mod planes;
mod readback;
mod shaders;
mod sys;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::renderer::gles::{GlesError, GlesFrame, GlesRenderer, GlesTarget};
use smithay::backend::renderer::sync::SyncPoint;
use smithay::backend::renderer::{Bind, Color32F, Frame, Renderer as _, Texture as _};
use smithay::utils::{Buffer, Physical, Rectangle, Transform as SmithayTransform};

use planes::LayerTexture;
use shaders::{Programs, yuv_uniforms};

use super::colour::AlphaMode;
use super::float;
use super::software::{Layer, LayerError};
use super::view::{BufferView, Transform};
use crate::region::{Rect, Region};

pub use device::OpenError;
pub(crate) use import::is_linear;
pub use import::{GpuSource, ImportCache, ImportError, SampledFormat};
pub use output_buffer::{GpuBufferError, GpuOutputBuffer};
pub use readback::{Copied, PendingRead};
pub use upload::UploadedTexture;

/// The GPU renderer of a card.
pub struct Gles {
    renderer: GlesRenderer,
    /// The GBM device that allocates output buffers; `None` in tests.
    device: Option<GbmDevice<Arc<OwnedFd>>>,
    name: String,
    software: bool,
    programs: Programs,
    uploaded_bytes: u64,
}

/// The result of drawing a frame.
#[derive(Debug)]
pub struct DrawResult {
    /// The sync point that is reached when the GPU has finished the frame.
    pub done: SyncPoint,
    /// The layers that could not be read and are missing in the frame.
    pub failed: Vec<LayerError>,
    /// The reason why a dma-buf was uploaded instead of imported; `None` if none was uploaded.
    pub why_uploaded: Option<String>,
}

/// The textures of the layers of a frame.
#[derive(Default)]
struct Textures {
    /// The texture of each layer; `None` for a layer that is not drawn.
    layers: Vec<Option<LayerTexture>>,
    failed: Vec<LayerError>,
    why_uploaded: Option<String>,
}

/// The reason why the GPU renderer did not draw a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// A layer's buffer cannot be imported.
    #[error("{0}")]
    Import(String),
    /// A call of OpenGL ES failed.
    #[error("the GPU failed: {0}")]
    Gles(#[from] GlesError),
}

impl Gles {
    pub(self) fn new(
        renderer: GlesRenderer,
        device: Option<GbmDevice<Arc<OwnedFd>>>,
        name: String,
        software: bool,
    ) -> Result<Self, GlesError> {
        let mut renderer = renderer;
        Ok(Self {
            programs: Programs::compile(&mut renderer)?,
            renderer,
            device,
            name,
            software,
            uploaded_bytes: 0,
        })
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

    /// Draws `layers`, from the bottom to the top, over `background` into the damaged region of `target_buffer`.
    ///
    /// The buffer is complete, and the clients' buffers are no longer read, when [`DrawResult::done`] is reached.
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
    ) -> Result<DrawResult, DrawError> {
        let textures = self.textures(damage, layers)?;
        let mut target = self.renderer.bind(target_buffer)?;
        let done = self.draw_to(&mut target, damage, background, layers, &textures)?;
        Ok(DrawResult {
            done,
            failed: textures.failed,
            why_uploaded: textures.why_uploaded,
        })
    }

    /// Frees the textures of destroyed buffers now. Without this call, the next frame frees them.
    pub fn cleanup_texture_cache(&mut self) {
        if let Err(error) = self.renderer.cleanup_texture_cache() {
            tracing::debug!(%error, "textures of destroyed buffers cannot be freed yet");
        }
    }

    /// Returns a texture for every layer that is at least partly drawn.
    fn textures(&mut self, damage: &Region, layers: &[Layer<'_>]) -> Result<Textures, DrawError> {
        let mut textures = Textures::default();
        let (_, parts) = visible_parts(damage, layers);
        for (position, (layer, part)) in layers.iter().zip(parts).enumerate() {
            if part.is_empty() {
                textures.layers.push(None);
                continue;
            }
            match self.texture(layer.pixels) {
                Ok((texture, why_uploaded)) => {
                    textures.layers.push(Some(texture));
                    textures.why_uploaded = textures.why_uploaded.take().or(why_uploaded);
                }
                Err(ImportError::Unreadable(error)) => {
                    textures.layers.push(None);
                    textures.failed.push(LayerError {
                        layer: position,
                        error,
                    });
                }
                Err(ImportError::Refused(reason)) => return Err(DrawError::Import(reason)),
            }
        }
        Ok(textures)
    }

    fn draw_to(
        &mut self,
        target: &mut GlesTarget<'_>,
        damage: &Region,
        background: u32,
        layers: &[Layer<'_>],
        textures: &Textures,
    ) -> Result<SyncPoint, DrawError> {
        let size = target.size();
        let (below, parts) = visible_parts(damage, layers);
        let mut frame =
            self.renderer
                .render(target, (size.w, size.h).into(), SmithayTransform::Normal)?;
        let cleared: Vec<_> = below.rects().iter().map(|rect| physical(*rect)).collect();
        frame.clear(colour(background), &cleared)?;
        for ((layer, texture), part) in layers.iter().zip(&textures.layers).zip(&parts) {
            match texture {
                Some(texture) => draw_layer(&mut frame, &self.programs, layer, texture, part)?,
                // The layer cannot be read. Its opaque region gets the background colour, because the layers below were not drawn
                // there.
                None => {
                    let opaque = layer.opaque.rects().iter();
                    let holes: Vec<_> = opaque
                        .flat_map(|opaque| {
                            let parts = part.rects().iter();
                            parts.filter_map(|rect| rect.intersection(*opaque))
                        })
                        .map(physical)
                        .collect();
                    frame.clear(colour(background), &holes)?;
                }
            }
        }
        Ok(frame.finish()?)
    }
}

/// If the damage has more rectangles than this, opaque regions are not subtracted from it. The hidden part of the layers below is
/// then drawn too, but the number of rectangles stays bounded.
const RECTS_MAX: usize = 64;

/// Returns the damage that no layer covers, and for each layer the damage that no opaque layer above hides.
fn visible_parts(damage: &Region, layers: &[Layer<'_>]) -> (Region, Vec<Region>) {
    let mut uncovered = damage.clone();
    let mut parts: Vec<Region> = layers
        .iter()
        .rev()
        .map(|layer| {
            let mut visible = uncovered.clone();
            visible.clip(layer.view.destination);
            for opaque in layer.opaque.rects() {
                if uncovered.rects().len() > RECTS_MAX {
                    break;
                }
                if let Some(opaque) = opaque.intersection(layer.view.destination) {
                    uncovered.subtract(opaque);
                }
            }
            visible
        })
        .collect();
    parts.reverse();
    (uncovered, parts)
}

/// Draws the given region of a layer.
fn draw_layer(
    frame: &mut GlesFrame<'_, '_>,
    programs: &Programs,
    layer: &Layer<'_>,
    texture: &LayerTexture,
    part: &Region,
) -> Result<(), GlesError> {
    let destination = layer.view.destination;
    let relative = |region: &Region| -> Vec<Rectangle<i32, Physical>> {
        let corner = (
            destination.x.saturating_neg(),
            destination.y.saturating_neg(),
        );
        region
            .rects()
            .iter()
            .map(|rect| physical(rect.moved(corner.0, corner.1)))
            .collect()
    };
    let (width, height) = layer.view.transform.size(layer.pixels.size());
    let encoding = layer.encoding();
    let straight = encoding.colour.alpha == AlphaMode::Straight && encoding.format.has_alpha();
    let (program, uniforms) = match texture {
        LayerTexture::Rgb(_) if straight => (Some(&programs.straight), Vec::new()),
        LayerTexture::Rgb(_) => (None, Vec::new()),
        LayerTexture::Planes(planes) => (Some(&programs.yuv), yuv_uniforms(&encoding, planes)),
    };
    if let LayerTexture::Planes(planes) = texture {
        sys::bind_chroma(frame, Some(&planes.chroma))?;
    }
    let drawn = frame.render_texture_from_to(
        texture.main(),
        source(&layer.view, (float(width), float(height))),
        physical(destination),
        &relative(part),
        // Nothing is drawn below the layer's opaque region, so its pixels are written without blending.
        &relative(&layer.opaque),
        smithay_transform(layer.view.transform),
        1.0,
        program,
        &uniforms,
    );
    if matches!(texture, LayerTexture::Planes(_)) {
        sys::bind_chroma(frame, None)?;
    }
    drawn
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

/// Returns the source rectangle of a view in pixels of the buffer. `transformed_size` is the size of the buffer after the
/// transform.
///
/// Smithay applies a transform to rectangles in the opposite direction as to textures, so its own conversion would select another
/// rectangle.
fn source(view: &BufferView, transformed_size: (f64, f64)) -> Rectangle<f64, Buffer> {
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
