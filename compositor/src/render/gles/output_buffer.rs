//! Output buffers that the GPU renders to and the display scans out.

use std::io;

use covalent_alloc::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::model::{Extent, ExtentError, FormatModifier, Fourcc, Modifier};
use smithay::backend::allocator::dmabuf::{Dmabuf, DmabufFlags};
use smithay::backend::allocator::gbm::GbmBufferFlags;
use smithay::backend::allocator::{Fourcc as DrmFourcc, Modifier as DrmModifier};
use smithay::backend::renderer::gles::GlesMapping;
use smithay::backend::renderer::{Bind, ExportMem};
use smithay::reexports::gbm::{BufferObject, InvalidFdError};
use smithay::utils::Rectangle;

use super::Gles;

/// An output buffer that was allocated by GBM.
#[derive(Clone, Debug)]
pub struct GpuOutputBuffer {
    /// The dma-buf as a render target of Smithay.
    pub dmabuf: Dmabuf,
    /// The dma-buf as the allocator's buffer, of which the display's framebuffer is created.
    pub buffer: Buffer,
}

/// The reason why an output buffer cannot be allocated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuBufferError {
    /// The renderer has no device to allocate from.
    #[error("the GPU renderer has no GBM device from which output buffers can be allocated")]
    NoDevice,
    /// The size is not valid.
    #[error(transparent)]
    Extent(#[from] ExtentError),
    /// GBM cannot allocate the buffer.
    #[error("GBM cannot allocate a buffer for rendering and scanout: {0}")]
    Gbm(#[from] io::Error),
    /// GBM cannot export the buffer.
    #[error("GBM cannot export the buffer as a dma-buf: {0}")]
    Export(#[from] InvalidFdError),
    /// The exported layout is not valid.
    #[error("the layout of GBM's buffer is not valid: {0}")]
    Descriptor(#[from] DescriptorError),
    /// OpenGL ES cannot render to the buffer.
    #[error("OpenGL ES cannot render to GBM's buffer: {0}")]
    Target(String),
}

impl Gles {
    /// Allocates an output buffer in XRGB8888 that a plane with the given formats can scan out.
    ///
    /// GBM selects one of the modifiers that both the GPU and the plane support. If there is none, because one of them does not
    /// support modifiers, the buffer is allocated with the implicit modifier.
    ///
    /// # Errors
    ///
    /// When no such buffer can be allocated.
    pub fn allocate(
        &mut self,
        (width, height): (u32, u32),
        plane: &[FormatModifier],
    ) -> Result<GpuOutputBuffer, GpuBufferError> {
        let device = self.device.as_ref().ok_or(GpuBufferError::NoDevice)?;
        let extent = Extent::new(width, height)?;
        let renderable = self.renderer.egl_context().dmabuf_render_formats();
        let modifiers: Vec<DrmModifier> = plane
            .iter()
            .filter(|format| format.fourcc == Fourcc::XRGB8888 && !format.modifier.is_implicit())
            .map(|format| DrmModifier::from(format.modifier.0))
            .filter(|modifier| {
                renderable.iter().any(|format| {
                    format.code == DrmFourcc::Xrgb8888 && format.modifier == *modifier
                })
            })
            .collect();
        let usage = GbmBufferFlags::SCANOUT | GbmBufferFlags::RENDERING;
        let explicit: Option<BufferObject<()>> = if modifiers.is_empty() {
            None
        } else {
            device
                .create_buffer_object_with_modifiers2(
                    width,
                    height,
                    DrmFourcc::Xrgb8888,
                    modifiers.into_iter(),
                    usage,
                )
                .ok()
        };
        let (object, modifier) = match explicit {
            Some(object) => {
                let modifier = object.modifier();
                (object, modifier)
            }
            None => (
                device.create_buffer_object(width, height, DrmFourcc::Xrgb8888, usage)?,
                DrmModifier::Invalid,
            ),
        };
        let output_buffer = describe_buffer(&object, extent, modifier)?;
        let mut dmabuf = output_buffer.dmabuf.clone();
        // If the buffer cannot be a render target, this fails now and not in the first frame.
        self.renderer
            .bind(&mut dmabuf)
            .map_err(|error| GpuBufferError::Target(error.to_string()))?;
        Ok(output_buffer)
    }

    /// Reads all pixels of an output buffer as opaque `0xAARRGGBB`.
    ///
    /// # Errors
    ///
    /// When OpenGL ES cannot read it.
    pub fn read(&mut self, output_buffer: &Dmabuf) -> io::Result<Vec<u32>> {
        use smithay::backend::allocator::Buffer as _;
        let mut output_buffer = output_buffer.clone();
        let size = output_buffer.size();
        let target = self
            .renderer
            .bind(&mut output_buffer)
            .map_err(io::Error::other)?;
        let pixels = self.read_target(&target, Rectangle::from_size(size))?;
        Ok(pixels
            .into_iter()
            .map(|pixel| pixel | 0xff00_0000)
            .collect())
    }

    /// Reads pixels of a render target as `0xAARRGGBB`.
    pub(super) fn read_target(
        &mut self,
        target: &smithay::backend::renderer::gles::GlesTarget<'_>,
        region: Rectangle<i32, smithay::utils::Buffer>,
    ) -> io::Result<Vec<u32>> {
        // Every driver supports reading pixels in this byte order. The other byte order needs an extension.
        let mapping = self
            .renderer
            .copy_framebuffer(target, region, DrmFourcc::Abgr8888)
            .map_err(io::Error::other)?;
        self.map_pixels(&mapping)
    }

    /// Maps copied pixels and returns them as `0xAARRGGBB`.
    pub(super) fn map_pixels(&mut self, copied: &GlesMapping) -> io::Result<Vec<u32>> {
        let bytes = self
            .renderer
            .map_texture(copied)
            .map_err(io::Error::other)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|pixel| u32::from_le_bytes([pixel[2], pixel[1], pixel[0], pixel[3]]))
            .collect())
    }
}

/// Exports a GBM buffer as dma-bufs, for the renderer and for the display.
fn describe_buffer(
    object: &BufferObject<()>,
    extent: Extent,
    modifier: DrmModifier,
) -> Result<GpuOutputBuffer, GpuBufferError> {
    let size = (
        i32::try_from(extent.width()).unwrap_or(i32::MAX),
        i32::try_from(extent.height()).unwrap_or(i32::MAX),
    );
    let mut dmabuf = Dmabuf::builder(size, DrmFourcc::Xrgb8888, modifier, DmabufFlags::empty());
    let mut planes = Vec::new();
    for (index, plane) in (0..object.plane_count()).zip(0i32..) {
        let offset_bytes = object.offset(plane);
        let stride_bytes = object.stride_for_plane(plane);
        dmabuf.add_plane(
            object.fd_for_plane(plane)?,
            index,
            offset_bytes,
            stride_bytes,
        );
        planes.push(PlaneDescriptor {
            fd: object.fd_for_plane(plane)?,
            offset_bytes: offset_bytes.into(),
            stride_bytes,
        });
    }
    let buffer = Buffer::import(Descriptor {
        extent,
        format: FormatModifier {
            fourcc: Fourcc::XRGB8888,
            modifier: Modifier(modifier.into()),
        },
        planes,
    })?;
    let dmabuf = dmabuf.build().ok_or(DescriptorError::Empty)?;
    Ok(GpuOutputBuffer { dmabuf, buffer })
}
