//! Import and upload of clients' buffers as textures.

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

/// The height from which on YUV is read as BT.709, which Smithay cannot pass to EGL.
const BT709_ROWS: usize = 720;

/// The source of a texture, with its cache.
#[derive(Clone, Copy, Debug)]
pub enum GpuSource<'a> {
    /// A dma-buf, which is imported.
    Dmabuf(&'a Buffer, &'a ImportCache),
    /// Memory, which is uploaded to a texture.
    Memory(&'a UploadedTexture),
}

/// The cached result of importing a dma-buf into EGL.
///
/// EGL does not distinguish transient from permanent errors, so an error is cached only after it has repeated.
#[derive(Debug, Default)]
pub struct ImportCache {
    result: OnceCell<Result<Dmabuf, String>>,
    refusals: Cell<u32>,
}

/// The number of consecutive errors after which a buffer is not imported again.
const REFUSALS_MAX: u32 = 3;

impl ImportCache {
    /// Stores the result of an import; an error only if it has repeated often enough.
    fn store(&self, answer: Result<Dmabuf, String>) {
        let refusals = self.refusals.get().saturating_add(1);
        if answer.is_err() && refusals < REFUSALS_MAX {
            self.refusals.set(refusals);
            return;
        }
        // The cell is empty, since `import` is not called again after it was set.
        let _ = self.result.set(answer);
    }
}

/// The texture with a copy of memory, which is created once.
#[derive(Debug, Default)]
pub struct UploadedTexture(OnceCell<GlesTexture>);

/// The reason why a buffer has no texture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The client's memory cannot be read, neither by the GPU nor by the CPU.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The GPU renderer cannot import the buffer.
    #[error("{0}")]
    Refused(String),
}

impl Gles {
    /// Returns the formats that are imported without a copy, all of them linear.
    ///
    /// EGL lists no modifiers if the driver does not support them; such buffers are taken as linear. Smithay passes linear to EGL
    /// without a modifier in either case.
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

    /// Returns the format and modifier that describe a linear buffer to EGL; `None` if EGL does not support it.
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
        // A driver without modifiers reads a buffer in the format in which it was allocated and ignores the description. virgl
        // allocates textures with 32 bits a pixel. Smithay lists these formats with the implicit modifier.
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

    /// Returns a texture with the current content of a client's buffer.
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
        imported: &ImportCache,
    ) -> Result<GlesTexture, String> {
        if let Some(result) = imported.result.get() {
            let dmabuf = result.as_ref().map_err(String::clone)?;
            // The EGL image is bound to the texture again, since some drivers read the memory only then.
            return self
                .renderer
                .import_dmabuf(dmabuf, None)
                .map_err(|error| error.to_string());
        }
        let first_import = self.import_first(pixels, buffer);
        let answer = match &first_import {
            Ok((dmabuf, _)) => Ok(dmabuf.clone()),
            Err(reason) => Err(reason.clone()),
        };
        imported.store(answer);
        first_import.map(|(_, texture)| texture)
    }

    fn import_first(
        &mut self,
        pixels: &dyn Pixels,
        buffer: &Buffer,
    ) -> Result<(Dmabuf, GlesTexture), String> {
        let pixel_format = pixels.format();
        let refused = |reason: &str| format!("{}: {reason}", pixel_format.name());
        if pixel_format.is_yuv() && pixels.size().1 >= BT709_ROWS {
            return Err(refused(
                "a YUV buffer of 720 rows or more is read as BT.709, which Smithay cannot pass to EGL",
            ));
        }
        let egl_format = self
            .import_format(pixel_format)
            .ok_or_else(|| refused("EGL does not support the format with the linear layout"))?;
        let dmabuf = export_to_egl(buffer, egl_format)
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
            .contains(&egl_format);
        match sys::finish_import(&mut self.renderer, &texture, external) {
            Ok(true) => Ok((dmabuf, texture)),
            Ok(false) => Err(refused(
                "EGL created an image, but OpenGL ES created no texture of it",
            )),
            Err(error) => Err(refused(&error.to_string())),
        }
    }

    /// Uploads memory to a texture, and counts the bytes.
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

/// Describes a buffer to EGL.
fn export_to_egl(buffer: &Buffer, format: Format) -> Option<Dmabuf> {
    let layout = buffer.layout();
    let side = |pixels: u32| i32::try_from(pixels).ok();
    let size = (
        side(layout.extent().width())?,
        side(layout.extent().height())?,
    );
    let mut dmabuf = Dmabuf::builder(size, format.code, format.modifier, DmabufFlags::empty());
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
