//! Imports clients' dma-bufs as textures.

use std::cell::{Cell, OnceCell};
use std::io;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::PlaneLayout;
use smithay::backend::allocator::dmabuf::{Dmabuf, DmabufFlags};
use smithay::backend::allocator::{Format, Fourcc, Modifier};
use smithay::backend::renderer::ImportDma;
use smithay::backend::renderer::gles::GlesTexture;

use super::planes::{LayerTexture, PlaneImage, PlaneTextures, images};
use super::{Gles, UploadedTexture, sys};
use crate::render::format::PixelFormat;
use crate::render::software::Pixels;

/// The memory of a client's buffer for the GPU renderer, with the caches of its textures.
#[derive(Clone, Copy, Debug)]
pub struct GpuSource<'a> {
    /// The dma-buf to import and the cache of the import; `None` for a `wl_shm` buffer.
    pub dmabuf: Option<(&'a Buffer, &'a ImportCache)>,
    /// The texture with a copy of a `wl_shm` buffer, or of a dma-buf that the GPU cannot import.
    pub uploaded: &'a UploadedTexture,
}

/// The cached result of importing a dma-buf into EGL: one EGL image of an RGB buffer, or one for each plane of a YUV buffer.
///
/// EGL does not distinguish transient from permanent errors, so an error is cached only after it has occurred several times.
#[derive(Debug, Default)]
pub struct ImportCache {
    result: OnceCell<Result<Vec<Dmabuf>, String>>,
    refusals: Cell<u32>,
}

/// The number of consecutive errors after which the import of a buffer is not tried again.
const REFUSALS_MAX: u32 = 3;

impl ImportCache {
    /// Caches the result of an import. An error is cached only if it has occurred several times.
    fn store(&self, answer: Result<Vec<Dmabuf>, String>) {
        let refusals = self.refusals.get().saturating_add(1);
        if answer.is_err() && refusals < REFUSALS_MAX {
            self.refusals.set(refusals);
            return;
        }
        // The cell is empty here, because `import` is not called again after the cell was set.
        let _ = self.result.set(answer);
    }
}

/// The reason why a buffer cannot be used as a texture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Neither the GPU nor the CPU can read the client's memory.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The GPU renderer cannot import the buffer.
    #[error("{0}")]
    Refused(String),
}

/// A format and modifier that the GPU imports without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledFormat {
    /// The pixel format.
    pub format: PixelFormat,
    /// The modifier.
    pub modifier: u64,
    /// The number of planes of a buffer with the modifier. A modifier may add planes to those of the format, for example for
    /// compression metadata.
    pub planes: usize,
}

impl Gles {
    /// Returns the formats and modifiers that are imported without a copy; the linear modifier comes last.
    ///
    /// If the driver does not support modifiers, EGL lists none. Then only formats with 32 bits per pixel are returned, with the
    /// linear modifier. Smithay passes a linear buffer to EGL without a modifier, whether or not the driver supports modifiers.
    pub fn formats(&self) -> Vec<SampledFormat> {
        let mut formats = Vec::new();
        for format in PixelFormat::ALL {
            for modifier in self.modifiers(format) {
                let Some(planes) = self.plane_count(format, modifier) else {
                    continue;
                };
                formats.push(SampledFormat {
                    format,
                    modifier: modifier.into(),
                    planes,
                });
            }
        }
        formats.sort_by_key(|format| format.modifier == u64::from(Modifier::Linear));
        formats
    }

    /// Returns the modifiers with which a format is imported.
    fn modifiers(&self, format: PixelFormat) -> Vec<Modifier> {
        let listed = self.renderer.dmabuf_formats();
        let with_modifiers = |code: Fourcc| -> Vec<Modifier> {
            let entries = listed.iter().filter(|entry| entry.code == code);
            let modifiers = entries.map(|entry| entry.modifier);
            modifiers
                .filter(|modifier| *modifier != Modifier::Invalid)
                .collect()
        };
        let images = images(format);
        let Some(first) = images.first() else {
            let Ok(code) = Fourcc::try_from(format.fourcc()) else {
                return Vec::new();
            };
            let modifiers = with_modifiers(code);
            // A driver without modifiers reads a buffer in the format in which the buffer was allocated, and ignores the format
            // that EGL passes. virgl allocates textures with 32 bits per pixel.
            let is_implicit = modifiers.is_empty()
                && format.has_four_bytes()
                && listed.iter().any(|entry| entry.code == code);
            return if is_implicit {
                vec![Modifier::Linear]
            } else {
                modifiers
            };
        };
        // All images of a YUV buffer have to be imported with the same modifier.
        let mut modifiers = with_modifiers(first.fourcc());
        modifiers.retain(|modifier| {
            images
                .iter()
                .all(|image| with_modifiers(image.fourcc()).contains(modifier))
        });
        modifiers
    }

    /// Returns the number of planes of a buffer; `None` if it is not known, or if the planes of a YUV buffer cannot be imported
    /// separately.
    fn plane_count(&self, format: PixelFormat, modifier: Modifier) -> Option<usize> {
        if modifier == Modifier::Linear {
            return Some(format.planes());
        }
        let code = Fourcc::try_from(format.fourcc()).ok()?;
        let count = self
            .device
            .as_ref()?
            .format_modifier_plane_count(code, modifier)?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0)?;
        // A modifier that adds planes, for example for compression metadata, does not allow the planes of a YUV buffer to be
        // imported separately.
        (!format.is_yuv() || count == format.planes()).then_some(count)
    }

    /// Returns the format and modifier with which EGL imports a buffer; `None` if EGL does not list them. A linear buffer is
    /// imported with the implicit modifier (`DRM_FORMAT_MOD_INVALID`) if the driver supports no explicit modifiers for the
    /// format.
    fn described(&self, code: Fourcc, modifier: u64) -> Option<Format> {
        let listed = self.renderer.dmabuf_formats();
        let modifier = Modifier::from(modifier);
        let explicit = Format { code, modifier };
        if listed.contains(&explicit) {
            return Some(explicit);
        }
        let mut entries = listed.iter().filter(|entry| entry.code == code).peekable();
        let is_implicit =
            entries.peek().is_some() && entries.all(|entry| entry.modifier == Modifier::Invalid);
        (modifier == Modifier::Linear && is_implicit).then_some(Format {
            code,
            modifier: Modifier::Invalid,
        })
    }

    /// Returns the modifiers with which buffers of a format are both sampled and rendered to.
    pub fn rendered_modifiers(&self, format: PixelFormat) -> Vec<u64> {
        let formats = self.formats().into_iter();
        let modifiers = formats.filter(|sampled| sampled.format == format);
        modifiers
            .map(|sampled| sampled.modifier)
            .filter(|modifier| self.renderable(format, *modifier).is_some())
            .collect()
    }

    /// Returns the format and modifier with which EGL renders to a buffer; `None` if it cannot render to it. As in
    /// [`described`](Self::described), a linear buffer is rendered to with the implicit modifier where the driver has no others.
    pub(super) fn renderable(&self, format: PixelFormat, modifier: u64) -> Option<Format> {
        let code = Fourcc::try_from(format.fourcc()).ok()?;
        let described = self.described(code, modifier)?;
        let listed = self.renderer.egl_context().dmabuf_render_formats();
        listed.contains(&described).then_some(described)
    }

    /// Imports a buffer, to test whether the GPU can sample it.
    ///
    /// # Errors
    ///
    /// The reason why the GPU cannot sample the buffer.
    pub fn try_import(
        &mut self,
        format: PixelFormat,
        buffer: &Buffer,
        imported: &ImportCache,
    ) -> Result<(), String> {
        self.import(format, buffer, imported).map(drop)
    }

    /// Returns a texture with the current content of a client's buffer. If the GPU cannot import a linear dma-buf, the texture is
    /// a copy of it, and the reason is returned as well.
    pub(super) fn texture(
        &mut self,
        pixels: &dyn Pixels,
    ) -> Result<(LayerTexture, Option<String>), ImportError> {
        let Some(source) = pixels.gpu() else {
            return Ok((self.uploaded(pixels, None)?, None));
        };
        let Some((buffer, imported)) = source.dmabuf else {
            return Ok((self.uploaded(pixels, Some(source.uploaded))?, None));
        };
        match self.import(pixels.format(), buffer, imported) {
            Ok(texture) => Ok((texture, None)),
            Err(reason) if is_linear(buffer) => {
                let texture = self.uploaded(pixels, Some(source.uploaded))?;
                Ok((texture, Some(reason)))
            }
            Err(reason) => Err(ImportError::Refused(reason)),
        }
    }

    /// Imports a buffer as textures. The result of the first import is stored in `imported`.
    fn import(
        &mut self,
        format: PixelFormat,
        buffer: &Buffer,
        imported: &ImportCache,
    ) -> Result<LayerTexture, String> {
        if let Some(result) = imported.result.get() {
            let images = result.as_ref().map_err(String::clone)?;
            // The EGL image is bound to the texture again for each frame, because some drivers read the new content only then.
            let textures = images.iter().map(|image| {
                let texture = self.renderer.import_dmabuf(image, None);
                texture.map_err(|error| error.to_string())
            });
            return layer_texture(format, textures.collect::<Result<_, _>>()?);
        }
        let first_import = self.import_first(format, buffer);
        let answer = match &first_import {
            Ok((images, _)) => Ok(images.clone()),
            Err(reason) => Err(reason.clone()),
        };
        imported.store(answer);
        first_import.and_then(|(_, textures)| layer_texture(format, textures))
    }

    /// Imports a buffer that was not imported before. Returns the EGL images and their textures.
    fn import_first(
        &mut self,
        format: PixelFormat,
        buffer: &Buffer,
    ) -> Result<(Vec<Dmabuf>, Vec<GlesTexture>), String> {
        let planes = images(format);
        let mut images = Vec::new();
        let mut textures = Vec::new();
        if planes.is_empty() {
            let (image, texture) = self.import_image(format, buffer, None)?;
            images.push(image);
            textures.push(texture);
        }
        for plane in planes {
            let (image, texture) = self.import_image(format, buffer, Some(*plane))?;
            images.push(image);
            textures.push(texture);
        }
        Ok((images, textures))
    }

    /// Imports a buffer as one EGL image, or imports one of its planes.
    fn import_image(
        &mut self,
        format: PixelFormat,
        buffer: &Buffer,
        plane: Option<PlaneImage>,
    ) -> Result<(Dmabuf, GlesTexture), String> {
        let refused = |reason: &str| format!("{}: {reason}", format.name());
        let modifier = buffer.layout().format().modifier.0;
        let egl_format = plane
            .map_or_else(
                || Fourcc::try_from(format.fourcc()).ok(),
                |plane| Some(plane.fourcc()),
            )
            .filter(|_| self.modifiers(format).contains(&Modifier::from(modifier)))
            .and_then(|code| self.described(code, modifier))
            .ok_or_else(|| {
                refused(&format!(
                    "EGL does not support the format with modifier {modifier:#x}"
                ))
            })?;
        let dmabuf = export_to_egl(buffer, egl_format, plane)
            .ok_or_else(|| refused("the layout cannot be described to EGL"))?;
        let failed = |error: &dyn std::fmt::Display| {
            let from = buffer.exporter().unwrap_or_else(|| "unknown".to_owned());
            refused(&format!(
                "{} rejects a dma-buf of {from}: {error}",
                self.name
            ))
        };
        let external = !self
            .renderer
            .egl_context()
            .dmabuf_render_formats()
            .contains(&egl_format);
        // The chroma textures are bound as `GL_TEXTURE_2D`, so an external image cannot be used for them.
        if external && plane.is_some_and(|plane| plane.divisor != (1, 1)) {
            return Err(refused("EGL supports chroma only as an external image"));
        }
        let prepared = sys::clear_errors(&mut self.renderer);
        let texture = prepared
            .and_then(|()| self.renderer.import_dmabuf(&dmabuf, None))
            .map_err(|error| failed(&error))?;
        match sys::finish_import(&mut self.renderer, &texture, external) {
            Ok(true) => Ok((dmabuf, texture)),
            Ok(false) => Err(refused(
                "EGL created an image, but OpenGL ES created no texture of it",
            )),
            Err(error) => Err(refused(&error.to_string())),
        }
    }
}

/// Returns whether the CPU can read the pixels of a buffer.
pub(crate) fn is_linear(buffer: &Buffer) -> bool {
    buffer.layout().format().modifier == covalent_alloc::model::Modifier::LINEAR
}

/// Makes the texture of a layer from one texture, or for a YUV format from a texture for each plane.
fn layer_texture(format: PixelFormat, textures: Vec<GlesTexture>) -> Result<LayerTexture, String> {
    let missing = || format!("{}: a plane has no texture", format.name());
    if images(format).is_empty() {
        let texture = textures.into_iter().next().ok_or_else(missing)?;
        return Ok(LayerTexture::Rgb(texture));
    }
    PlaneTextures::new(textures)
        .map(LayerTexture::Planes)
        .ok_or_else(missing)
}

/// Describes a buffer, or one of its planes, to EGL.
pub(super) fn export_to_egl(
    buffer: &Buffer,
    format: Format,
    image: Option<PlaneImage>,
) -> Option<Dmabuf> {
    let layout = buffer.layout();
    let pixels = |count: u32| usize::try_from(count).ok();
    let mut size = (
        pixels(layout.extent().width())?,
        pixels(layout.extent().height())?,
    );
    let mut planes: Vec<(usize, &PlaneLayout)> = layout.planes().iter().enumerate().collect();
    if let Some(image) = image {
        size = image.size(size);
        planes.retain(|(index, _)| *index == image.plane);
    }
    let side = |count: usize| i32::try_from(count).ok();
    let size = (side(size.0)?, side(size.1)?);
    let mut dmabuf = Dmabuf::builder(size, format.code, format.modifier, DmabufFlags::empty());
    for (described, (index, plane)) in (0..).zip(planes) {
        let fd = buffer.plane_fd(index)?.try_clone_to_owned().ok()?;
        let offset_bytes = u32::try_from(plane.offset_bytes).ok()?;
        if !dmabuf.add_plane(fd, described, offset_bytes, plane.stride_bytes) {
            return None;
        }
    }
    dmabuf.build()
}
