//! A client's buffer into which a capture is written.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use covalent_alloc::sync::Access;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::shm::{shm_format_to_fourcc, with_buffer_contents};

use crate::connection::MappedPool;
use crate::dmabuf::{ClientBuffer, Dmabuf};
use crate::render::PixelFormat;
use crate::render::shm::write_rows;
use crate::state::ClientState;

/// The size of a pixel in bytes, in all formats that can be captured.
pub(super) const PIXEL_BYTES: u32 = 4;

/// The alpha of an opaque pixel (`0xAARRGGBB`).
const OPAQUE: u32 = 0xff00_0000;

/// A client's buffer with its size and format.
#[derive(Debug)]
pub(super) struct CaptureBuffer {
    resource: WlBuffer,
    memory: Memory,
    format: PixelFormat,
    size: (u32, u32),
}

#[derive(Debug)]
enum Memory {
    Shm {
        stride: u32,
        /// The pool counts against the client's limit as long as the buffer is kept.
        _pool: Option<Arc<MappedPool>>,
    },
    Dmabuf(Rc<ClientBuffer>),
}

impl CaptureBuffer {
    /// Describes a `wl_buffer`; `None` if it is neither a `wl_shm` buffer nor a dma-buf, or its format is not supported.
    pub(super) fn new(dmabuf: &Dmabuf, client: &Client, resource: &WlBuffer) -> Option<Self> {
        if let Some(buffer) = dmabuf.find(resource) {
            let extent = buffer.buffer().layout().extent();
            return Some(Self {
                resource: resource.clone(),
                memory: Memory::Dmabuf(buffer.clone()),
                format: buffer.format(),
                size: (extent.width(), extent.height()),
            });
        }
        let data = with_buffer_contents(resource, |_, _, data| data).ok()?;
        let format = PixelFormat::from_fourcc(shm_format_to_fourcc(data.format)? as u32)?;
        let pools = client.get_data::<ClientState>();
        Some(Self {
            resource: resource.clone(),
            memory: Memory::Shm {
                stride: u32::try_from(data.stride).ok()?,
                _pool: pools.and_then(|data| data.shm_pools.find(resource.id().protocol_id())),
            },
            format,
            size: (
                u32::try_from(data.width).ok()?,
                u32::try_from(data.height).ok()?,
            ),
        })
    }

    /// Returns whether the buffer has this format and size, and a `wl_shm` buffer also the stride of rows without padding.
    pub(super) fn matches(&self, format: PixelFormat, size: (u32, u32)) -> bool {
        let has_stride = match &self.memory {
            Memory::Shm { stride, .. } => Some(*stride) == size.0.checked_mul(PIXEL_BYTES),
            Memory::Dmabuf(_) => true,
        };
        self.format == format && self.size == size && has_stride
    }

    /// Returns the pixel format.
    pub(super) const fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns the dma-buf; `None` for `wl_shm` memory.
    pub(super) fn dmabuf(&self) -> Option<&Rc<ClientBuffer>> {
        match &self.memory {
            Memory::Shm { .. } => None,
            Memory::Dmabuf(buffer) => Some(buffer),
        }
    }

    /// Returns whether the client has not destroyed the buffer.
    pub(super) fn is_alive(&self) -> bool {
        self.resource.is_alive()
    }

    /// Returns whether no device of the client uses the buffer.
    ///
    /// # Errors
    ///
    /// When the fences of the dma-buf cannot be queried.
    pub(super) fn is_ready(&self) -> io::Result<bool> {
        match &self.memory {
            Memory::Shm { .. } => Ok(true),
            Memory::Dmabuf(buffer) => {
                let reservation = buffer.buffer().reservation();
                let ready = reservation.is_ready(Access::Write);
                ready.map_err(io::Error::other)
            }
        }
    }

    /// Writes the pixels of the whole buffer (`0xAARRGGBB`) with the CPU.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while a device of the client uses the buffer. Other errors if the buffer cannot be written: its pool was
    /// truncated, or it is not linear or is read-only.
    pub(super) fn write(&self, pixels: &mut [u32]) -> io::Result<()> {
        if !self.format.has_alpha() {
            // The renderer copies the unused byte of a client's opaque buffer. Another client must not see it.
            pixels.iter_mut().for_each(|pixel| *pixel |= OPAQUE);
        }
        if cfg!(target_endian = "big") {
            for pixel in &mut *pixels {
                *pixel = pixel.to_le();
            }
        }
        let row_bytes = self.size.0.saturating_mul(PIXEL_BYTES);
        let row_bytes = usize::try_from(row_bytes).map_err(io::Error::other)?;
        let rows = bytemuck::cast_slice(pixels);
        match &self.memory {
            Memory::Shm { stride, .. } => {
                let stride = usize::try_from(*stride).map_err(io::Error::other)?;
                write_rows(&self.resource, stride, row_bytes, rows)
            }
            Memory::Dmabuf(buffer) => buffer.write_rows(row_bytes, rows),
        }
    }
}
