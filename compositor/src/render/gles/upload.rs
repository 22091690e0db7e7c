//! Uploads buffers that the GPU cannot import to textures.

use std::cell::OnceCell;
use std::io;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::ImportMem;
use smithay::backend::renderer::gles::GlesTexture;

use super::planes::{LayerTexture, PlaneImage, PlaneTextures, images};
use super::{Gles, ImportError, sys};
use crate::render::ColorRepresentation;
use crate::render::decode::{ReadPlanes, offset};
use crate::render::software::Pixels;
use crate::screenshot::decode;

/// The texture with a copy of a client's buffer. It is uploaded once.
#[derive(Debug, Default)]
pub struct UploadedTexture(OnceCell<LayerTexture>);

impl Gles {
    /// Returns the texture with a copy of a buffer. The first call uploads it.
    pub(super) fn uploaded(
        &mut self,
        pixels: &dyn Pixels,
        cache: Option<&UploadedTexture>,
    ) -> Result<LayerTexture, ImportError> {
        let Some(cache) = cache else {
            return self.upload(pixels);
        };
        if let Some(texture) = cache.0.get() {
            return Ok(texture.clone());
        }
        let texture = self.upload(pixels)?;
        Ok(cache.0.get_or_init(|| texture).clone())
    }

    /// Uploads a buffer, and counts the bytes. The planes of YUV are uploaded separately, because the shader converts them.
    fn upload(&mut self, pixels: &dyn Pixels) -> Result<LayerTexture, ImportError> {
        let (width, height) = pixels.size();
        let images = images(pixels.format());
        if !images.is_empty() && sys::supports_planes(&mut self.renderer) {
            let mut planes = pixels.open()?;
            let textures = images
                .iter()
                .map(|image| self.upload_plane(&mut *planes, *image, (width, height)))
                .collect::<Result<Vec<_>, _>>()?;
            let textures = PlaneTextures::new(textures)
                .ok_or_else(|| ImportError::Refused("the format has no chroma".to_owned()))?;
            return Ok(LayerTexture::Planes(textures));
        }
        // Alpha is copied unchanged, because the shader multiplies straight alpha.
        let colours = decode(pixels, ColorRepresentation::default())?;
        let bytes: &[u8] = bytemuck::cast_slice(&colours);
        let side = |count: usize| i32::try_from(count).map_err(io::Error::other);
        let size = (side(width)?, side(height)?).into();
        let texture = self
            .renderer
            .import_memory(bytes, Fourcc::Argb8888, size, false)
            .map_err(|error| ImportError::Refused(error.to_string()))?;
        self.count_upload(bytes.len());
        Ok(LayerTexture::Rgb(texture))
    }

    /// Copies one plane of a buffer into a texture.
    fn upload_plane(
        &mut self,
        planes: &mut dyn ReadPlanes,
        image: PlaneImage,
        size: (usize, usize),
    ) -> Result<GlesTexture, ImportError> {
        let (width, height) = image.size(size);
        let row_bytes = width.saturating_mul(image.bytes);
        let mut bytes = vec![0; row_bytes.saturating_mul(height)];
        for (y, row) in bytes.chunks_exact_mut(row_bytes.max(1)).enumerate() {
            let offset = offset(planes, image.plane, y, 0)?;
            planes.read(image.plane, offset, row)?;
        }
        self.count_upload(bytes.len());
        sys::upload(&mut self.renderer, (width, height), image.bytes, &bytes)
            .map_err(|error| ImportError::Refused(error.to_string()))
    }

    fn count_upload(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.uploaded_bytes = self.uploaded_bytes.saturating_add(bytes);
    }
}
