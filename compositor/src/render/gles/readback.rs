//! Reads back what the GPU draws, for the CPU renderer, screenshots and captures, and draws captures into clients' dma-bufs.

use std::io;

use covalent_alloc::buffer::Buffer;
use smithay::backend::allocator::{Buffer as _, Fourcc};
use smithay::backend::renderer::gles::{GlesMapping, GlesRenderbuffer};
use smithay::backend::renderer::sync::SyncPoint;
use smithay::backend::renderer::{Bind, ExportMem, Offscreen};
use smithay::utils::Rectangle;

use super::import::export_to_egl;
use super::{DrawError, DrawResult, Gles};
use crate::region::{Rect, Region};
use crate::render::colour::ColorRepresentation;
use crate::render::decode::ReadPlanes;
use crate::render::float;
use crate::render::format::PixelFormat;
use crate::render::software::{Layer, LayerError, Pixels};
use crate::render::view::{BufferView, Transform};

/// The pixels of a buffer as premultiplied ARGB8888 in memory of this process.
#[derive(Debug)]
pub struct Copied {
    size: (usize, usize),
    pixels: Vec<u32>,
}

/// Pixels that the GPU draws and copies to memory that the CPU can map when [`done`](Self::done) is reached.
#[derive(Debug)]
pub struct PendingRead {
    /// The sync point that is reached when the pixels are drawn.
    pub done: SyncPoint,
    memory: GlesMapping,
}

impl Gles {
    /// Draws layers into a new render target, and starts to copy its pixels to memory that the CPU can map. Returns also the
    /// layers that cannot be read.
    ///
    /// # Errors
    ///
    /// When the GPU cannot import or draw a layer.
    pub fn start_read(
        &mut self,
        (width, height): (i32, i32),
        background: u32,
        layers: &[Layer<'_>],
    ) -> io::Result<(PendingRead, Vec<LayerError>)> {
        let size = (width, height).into();
        let mut target: GlesRenderbuffer = self
            .renderer
            .create_buffer(Fourcc::Abgr8888, size)
            .map_err(io::Error::other)?;
        let damage = Region::from(Rect::of_size(width, height));
        let textures = self.textures(&damage, layers).map_err(io::Error::other)?;
        let mut target = self.renderer.bind(&mut target).map_err(io::Error::other)?;
        let done = self
            .draw_to(&mut target, &damage, background, layers, &textures)
            .map_err(io::Error::other)?;
        let memory = self
            .renderer
            .copy_framebuffer(&target, Rectangle::from_size(size), Fourcc::Abgr8888)
            .map_err(io::Error::other)?;
        Ok((PendingRead { done, memory }, textures.failed))
    }

    /// Returns the pixels of a copy as `0xAARRGGBB`. The call blocks until the GPU has finished the copy.
    ///
    /// # Errors
    ///
    /// When the memory cannot be mapped.
    pub fn finish_read(&mut self, pending: &PendingRead) -> io::Result<Vec<u32>> {
        self.map_pixels(&pending.memory)
    }

    /// Draws a buffer into a render target and reads it back, so that the CPU gets the pixels whatever the buffer's layout is.
    ///
    /// # Errors
    ///
    /// When the GPU cannot import or draw the buffer.
    pub fn copy(&mut self, pixels: &dyn Pixels, colour: ColorRepresentation) -> io::Result<Copied> {
        let (width, height) = pixels.size();
        let side = |pixels: usize| i32::try_from(pixels).map_err(io::Error::other);
        let whole = Rect::of_size(side(width)?, side(height)?);
        let layer = Layer {
            pixels,
            colour,
            view: BufferView {
                source: (0.0, 0.0, float(width), float(height)),
                destination: whole,
                transform: Transform::Normal,
            },
            opaque: Region::default(),
        };
        let (pending, failed) = self.start_read((whole.width, whole.height), 0, &[layer])?;
        if let Some(failed) = failed.into_iter().next() {
            return Err(failed.error);
        }
        Ok(Copied {
            size: (width, height),
            pixels: self.finish_read(&pending)?,
        })
    }

    /// Draws layers over `background` into a client's dma-buf. The buffer is complete, and the layers are no longer read, when
    /// [`DrawResult::done`] is reached.
    ///
    /// # Errors
    ///
    /// When the GPU cannot render to the buffer or draw a layer. The content of the buffer is undefined then.
    pub fn draw_to_client(
        &mut self,
        format: PixelFormat,
        buffer: &Buffer,
        background: u32,
        layers: &[Layer<'_>],
    ) -> Result<DrawResult, DrawError> {
        let refused = |reason: &str| DrawError::Import(format!("{}: {reason}", format.name()));
        let modifier = buffer.layout().format().modifier.0;
        let renderable = self
            .renderable(format, modifier)
            .ok_or_else(|| refused(&format!("EGL cannot render to the modifier {modifier:#x}")))?;
        let mut target = export_to_egl(buffer, renderable, None)
            .ok_or_else(|| refused("the layout cannot be described to EGL"))?;
        let size = target.size();
        let damage = Region::from(Rect::of_size(size.w, size.h));
        self.draw(&mut target, &damage, background, layers)
    }
}

impl Pixels for Copied {
    fn format(&self) -> PixelFormat {
        PixelFormat::Argb8888
    }

    fn size(&self) -> (usize, usize) {
        self.size
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        Ok(Box::new(self))
    }
}

impl ReadPlanes for &Copied {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.pixels);
        let end = offset.saturating_add(into.len());
        let part = bytes.get(offset..end).filter(|_| plane == 0);
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn stride(&self, _plane: usize) -> usize {
        self.size.0.saturating_mul(4)
    }
}
