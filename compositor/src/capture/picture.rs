//! Draws the part of a scene that a capture shows.
//!
//! A capture is always composed from the contents of the surfaces, whether the display scans them out or not.

use std::io;
use std::rc::Rc;

use smithay::backend::renderer::sync::SyncPoint;

use super::buffer::CaptureBuffer;
use crate::compose::GpuReadGuard;
use crate::content::Content;
use crate::cursor::CursorPixels;
use crate::region::{Rect, Region};
use crate::render::gles::PendingRead;
use crate::render::memory::draw_by_cpu;
use crate::render::{Layer, Renderer};
use crate::scene::Scene;

/// The part of a scene that is captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture<'a> {
    pub(super) scene: &'a Scene,
    /// The captured rectangle in pixels of the output.
    pub(super) area: Rect,
    /// Whether the pointer is drawn.
    pub(super) with_cursor: bool,
    pub(super) background: u32,
}

/// A picture that was drawn, or that the GPU is still drawing.
#[derive(Debug)]
pub(super) enum Drawn {
    /// The pixels, drawn by the CPU, and whether a surface is missing because its buffer could not be read.
    Pixels(Vec<u32>, bool),
    /// The GPU draws the pixels and copies them to memory that the CPU can map.
    Read(PendingRead, GpuReadGuard),
    /// The GPU draws into the client's dma-buf.
    InBuffer(GpuReadGuard),
}

impl Picture<'_> {
    /// Draws the picture: with the GPU into the client's dma-buf, or else with the GPU or the CPU into other memory, of which
    /// the caller writes the pixels to the buffer.
    ///
    /// # Errors
    ///
    /// When the CPU renderer cannot draw it either.
    pub(super) fn draw(
        &self,
        renderer: &mut Renderer,
        buffer: &CaptureBuffer,
    ) -> io::Result<Drawn> {
        let layers = self.layers();
        if let Some(gles) = renderer.gles() {
            if let Some(dmabuf) = buffer.dmabuf() {
                let drawn =
                    gles.draw_to_client(buffer.format(), dmabuf.buffer(), self.background, &layers);
                match drawn {
                    Ok(drawn) => return Ok(Drawn::InBuffer(self.guard(drawn.done))),
                    Err(error) => {
                        tracing::debug!(%error, "the GPU cannot capture into a client's dma-buf");
                    }
                }
            }
            let size = (self.area.width, self.area.height);
            match gles.start_read(size, self.background, &layers) {
                Ok((pending, _)) => {
                    let guard = self.guard(pending.done.clone());
                    return Ok(Drawn::Read(pending, guard));
                }
                Err(error) => {
                    tracing::debug!(%error, "the GPU cannot draw a capture; the CPU draws it");
                }
            }
        }
        let side = |pixels: i32| usize::try_from(pixels).map_err(io::Error::other);
        let size = (side(self.area.width)?, side(self.area.height)?);
        let drawn = draw_by_cpu(renderer, size, self.background, &layers)?;
        Ok(Drawn::Pixels(drawn.pixels, !drawn.failed.is_empty()))
    }

    /// Locks the contents that the GPU reads until it has finished.
    fn guard(&self, done: SyncPoint) -> GpuReadGuard {
        let cursor = self.scene.cursor.as_ref().map(|cursor| &cursor.pixels);
        let cursor = cursor.and_then(|pixels| match pixels {
            CursorPixels::Client(content) => Some(content.clone()),
            CursorPixels::Theme(_) => None,
        });
        let visible = self.scene.visible(self.area);
        let contents = visible.into_iter().map(|layer| layer.content.clone());
        let contents: Vec<Rc<Content>> = contents.chain(cursor).collect();
        GpuReadGuard::new(done, contents)
    }

    /// Returns the layers in pixels of the captured rectangle, from the bottom to the top.
    fn layers(&self) -> Vec<Layer<'_>> {
        let visible = self.scene.visible(self.area);
        let surfaces = visible.into_iter().map(|layer| Layer {
            pixels: &*layer.content,
            colour: layer.colour,
            view: layer.view,
            opaque: layer.opaque.clone(),
        });
        let cursor = self.scene.cursor.as_ref().filter(|_| self.with_cursor);
        let mut layers: Vec<Layer<'_>> = surfaces
            .chain(cursor.map(crate::cursor::CursorLayer::layer))
            .collect();
        let (x, y) = (self.area.x.saturating_neg(), self.area.y.saturating_neg());
        for layer in &mut layers {
            layer.view.destination = layer.view.destination.moved(x, y);
            layer.opaque = moved(&layer.opaque, x, y);
        }
        layers
    }
}

/// Returns a region moved by `x` and `y` pixels.
pub(super) fn moved(region: &Region, x: i32, y: i32) -> Region {
    region.rects().iter().map(|rect| rect.moved(x, y)).collect()
}
