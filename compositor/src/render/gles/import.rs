//! What the GPU makes of clients' buffers: textures.

use std::cell::{Cell, OnceCell};
use std::io;

use covalent_alloc::buffer::Buffer;
use covalent_protocols::FormatEntry;
use smithay::backend::allocator::dmabuf::{Dmabuf, DmabufFlags};
use smithay::backend::allocator::{Format, Fourcc, Modifier};
use smithay::backend::renderer::gles::GlesTexture;
use smithay::backend::renderer::{ImportDma, ImportMem};

use super::{Gles, sys};
use crate::render::format::PixelFormat;
use crate::render::software::Pixels;
use crate::screenshot::decode;

/// Rows from which on YUV is read as BT.709 here, which Smithay gives EGL no way to be told.
const BT709_ROWS: usize = 720;

/// A client's buffer as a GPU reads it, with the place where what was made of it is kept.
#[derive(Clone, Copy, Debug)]
pub enum GpuSource<'a> {
    /// Memory that is imported.
    Dmabuf(&'a Buffer, &'a Imported),
    /// Memory that is copied to a texture.
    Memory(&'a Uploaded),
}

/// A dma-buf as EGL imports it, or why it does not.
///
/// EGL does not say whether a refusal passes by itself, so one is believed when it repeats.
#[derive(Debug, Default)]
pub struct Imported {
    known: OnceCell<Result<Dmabuf, String>>,
    refusals: Cell<u32>,
}

/// Refusals in a row after which a buffer is not offered to EGL any more.
const REFUSALS_MAX: u32 = 3;

impl Imported {
    /// Keeps what EGL answered; a refusal only when it has come often enough.
    fn keep(&self, answer: Result<Dmabuf, String>) {
        let refusals = self.refusals.get().saturating_add(1);
        if answer.is_err() && refusals < REFUSALS_MAX {
            self.refusals.set(refusals);
            return;
        }
        // It was empty a moment ago, and nothing here is reached from two places.
        let _ = self.known.set(answer);
    }
}

/// The texture that holds a copy of memory; made once.
#[derive(Debug, Default)]
pub struct Uploaded(OnceCell<GlesTexture>);

/// Why there is no texture of a buffer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The client's memory cannot be read, by nobody.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The GPU does not take it.
    #[error("{0}")]
    Refused(String),
}

impl Gles {
    /// Lists what is sampled where it lies, linear.
    ///
    /// EGL lists no modifiers at all where the driver knows none; linear is then what its buffers are told to be. Smithay
    /// passes linear to EGL without a modifier in either case.
    pub fn formats(&self) -> Vec<FormatEntry> {
        PixelFormat::ALL
            .into_iter()
            .filter(|format| self.import_format(*format).is_some())
            .map(|format| FormatEntry {
                fourcc: format.fourcc(),
                modifier: 0,
            })
            .collect()
    }

    /// Finds what to call linear memory of that format towards EGL; `None` when it takes none.
    fn import_format(&self, format: PixelFormat) -> Option<Format> {
        let code = Fourcc::try_from(format.fourcc()).ok()?;
        let listed = self.renderer.dmabuf_formats();
        let mut modifiers = listed
            .iter()
            .filter(|entry| entry.code == code)
            .map(|entry| entry.modifier)
            .peekable();
        modifiers.peek()?;
        let explicit: Vec<Modifier> = modifiers
            .filter(|modifier| *modifier != Modifier::Invalid)
            .collect();
        if !explicit.is_empty() && !explicit.contains(&Modifier::Linear) {
            return None;
        }
        // A driver that knows no modifiers takes a buffer for what it was allocated as, whatever it is told: virgl's are
        // textures of 32 bits a pixel. Smithay's list of what need not be external has these with the implicit modifier.
        let modifier = if explicit.is_empty() {
            if !format.has_four_bytes() {
                return None;
            }
            Modifier::Invalid
        } else {
            Modifier::Linear
        };
        Some(Format { code, modifier })
    }

    /// Returns a texture that shows a client's buffer as it is now.
    pub(super) fn texture(&mut self, pixels: &dyn Pixels) -> Result<GlesTexture, ImportError> {
        match pixels.gpu() {
            Some(GpuSource::Dmabuf(buffer, imported)) => self
                .import(pixels, buffer, imported)
                .map_err(ImportError::Refused),
            Some(GpuSource::Memory(uploaded)) => {
                if let Some(texture) = uploaded.0.get() {
                    return Ok(texture.clone());
                }
                let texture = self.upload(pixels)?;
                Ok(uploaded.0.get_or_init(|| texture).clone())
            }
            None => self.upload(pixels),
        }
    }

    fn import(
        &mut self,
        pixels: &dyn Pixels,
        buffer: &Buffer,
        imported: &Imported,
    ) -> Result<GlesTexture, String> {
        if let Some(known) = imported.known.get() {
            let dmabuf = known.as_ref().map_err(String::clone)?;
            // The image is told to the texture anew: some drivers look at the memory only then.
            return self
                .renderer
                .import_dmabuf(dmabuf, None)
                .map_err(|error| error.to_string());
        }
        let made = self.import_first(pixels, buffer);
        let kept = match &made {
            Ok((dmabuf, _)) => Ok(dmabuf.clone()),
            Err(reason) => Err(reason.clone()),
        };
        imported.keep(kept);
        made.map(|(_, texture)| texture)
    }

    fn import_first(
        &mut self,
        pixels: &dyn Pixels,
        buffer: &Buffer,
    ) -> Result<(Dmabuf, GlesTexture), String> {
        let format = pixels.format();
        let refused = |reason: &str| format!("{}: {reason}", format.name());
        if format.is_yuv() && pixels.size().1 >= BT709_ROWS {
            return Err(refused(
                "a YUV buffer of 720 rows or more is read as BT.709, which Smithay cannot pass to EGL",
            ));
        }
        let told = self
            .import_format(format)
            .ok_or_else(|| refused("EGL does not support the format with the linear layout"))?;
        let dmabuf = describe(buffer, told)
            .ok_or_else(|| refused("the layout cannot be described to EGL"))?;
        let failed = |error: &dyn std::fmt::Display| {
            let from = buffer.exporter().unwrap_or_else(|| "unknown".to_owned());
            refused(&format!(
                "{} rejects a dma-buf of {from}: {error}",
                self.name
            ))
        };
        let prepared = sys::clear_errors(&mut self.renderer);
        let texture = prepared
            .and_then(|()| self.renderer.import_dmabuf(&dmabuf, None))
            .map_err(|error| failed(&error))?;
        let external = !self
            .renderer
            .egl_context()
            .dmabuf_render_formats()
            .contains(&told);
        match sys::settle(&mut self.renderer, &texture, external) {
            Ok(true) => Ok((dmabuf, texture)),
            Ok(false) => Err(refused(
                "EGL created an image, but OpenGL ES created no texture of it",
            )),
            Err(error) => Err(refused(&error.to_string())),
        }
    }

    /// Copies memory to a texture, and counts its bytes.
    fn upload(&mut self, pixels: &dyn Pixels) -> Result<GlesTexture, ImportError> {
        let (width, height) = pixels.size();
        let colours = decode(pixels)?;
        let mut bytes = Vec::with_capacity(colours.len().saturating_mul(4));
        for colour in colours {
            bytes.extend_from_slice(&colour.to_le_bytes());
        }
        let pixels = |count: usize| i32::try_from(count).map_err(io::Error::other);
        let size = (pixels(width)?, pixels(height)?).into();
        let texture = self
            .renderer
            .import_memory(&bytes, Fourcc::Argb8888, size, false)
            .map_err(|error| ImportError::Refused(error.to_string()))?;
        let moved = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.uploaded_bytes = self.uploaded_bytes.saturating_add(moved);
        Ok(texture)
    }
}

/// Describes a buffer that was checked before to EGL.
fn describe(buffer: &Buffer, told: Format) -> Option<Dmabuf> {
    let layout = buffer.layout();
    let side = |pixels: u32| i32::try_from(pixels).ok();
    let size = (
        side(layout.extent().width())?,
        side(layout.extent().height())?,
    );
    let mut dmabuf = Dmabuf::builder(size, told.code, told.modifier, DmabufFlags::empty());
    for (index, plane) in layout.planes().iter().enumerate() {
        let fd = buffer.plane_fd(index)?.try_clone_to_owned().ok()?;
        let offset_bytes = u32::try_from(plane.offset_bytes).ok()?;
        let added = dmabuf.add_plane(
            fd,
            u32::try_from(index).ok()?,
            offset_bytes,
            plane.stride_bytes,
        );
        if !added {
            return None;
        }
    }
    dmabuf.build()
}
