//! Reads back buffers that only the GPU can read, for the CPU renderer and for screenshots.

use std::io;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::gles::GlesRenderbuffer;
use smithay::backend::renderer::{Bind, Offscreen};
use smithay::utils::Rectangle;

use super::Gles;
use crate::region::{Rect, Region};
use crate::render::colour::ColorRepresentation;
use crate::render::decode::ReadPlanes;
use crate::render::float;
use crate::render::format::PixelFormat;
use crate::render::software::{Layer, Pixels};
use crate::render::view::{BufferView, Transform};

/// The pixels of a buffer as premultiplied ARGB8888 in memory of this process.
#[derive(Debug)]
pub struct Copied {
    size: (usize, usize),
    pixels: Vec<u32>,
}

impl Gles {
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
        let size = (whole.width, whole.height).into();
        let mut memory: GlesRenderbuffer = self
            .renderer
            .create_buffer(Fourcc::Abgr8888, size)
            .map_err(io::Error::other)?;
        let layers = [layer];
        let damage = Region::from(whole);
        let textures = self.textures(&damage, &layers).map_err(io::Error::other)?;
        if let Some(failed) = textures.failed.into_iter().next() {
            return Err(failed.error);
        }
        let textures = super::Textures {
            layers: textures.layers,
            ..super::Textures::default()
        };
        let mut target = self.renderer.bind(&mut memory).map_err(io::Error::other)?;
        let drawn = self
            .draw_to(&mut target, &damage, 0, &layers, &textures)
            .map_err(io::Error::other)?;
        drawn.wait().map_err(io::Error::other)?;
        let pixels = self.read_target(&target, Rectangle::from_size(size))?;
        Ok(Copied {
            size: (width, height),
            pixels,
        })
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
