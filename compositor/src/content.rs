//! The content of a surface: a locked client buffer with its format and size.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::trace::{Action, FlowPosition};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::shm::{shm_format_to_fourcc, with_buffer_contents};

use crate::buffer_lock::BufferLock;
use crate::clock;
use crate::dmabuf::ClientBuffer;
use crate::frame_trace::{COMPOSITOR, TracedBuffer};
use crate::render::gles::{GpuSource, UploadedTexture};
use crate::render::shm::ShmPlanes;
use crate::render::{PixelFormat, Pixels, ReadPlanes};

/// A locked client buffer that the renderers and the display can read.
#[derive(Debug)]
pub struct Content {
    lock: BufferLock,
    memory: Memory,
    /// The texture with a copy of the buffer, for a GPU renderer that cannot import the buffer.
    uploaded: UploadedTexture,
    format: PixelFormat,
    width: usize,
    height: usize,
    acquired: Duration,
    traced: Option<TracedBuffer>,
    failed_reads: Cell<u32>,
}

/// Where the pixels of a buffer are.
#[derive(Debug)]
enum Memory {
    Shm { stride: usize },
    Dmabuf(Rc<ClientBuffer>),
}

/// The reason why a buffer cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The buffer was created by neither `wl_shm` nor `linux-dmabuf`.
    #[error("the buffer is neither a wl_shm buffer nor a dma-buf")]
    Unknown,
    /// The `wl_shm` format was not advertised.
    #[error("the wl_shm format {0} was not advertised")]
    Format(u32),
    /// The size or the stride of the buffer is not positive.
    #[error("the buffer's size or stride is not positive")]
    Size,
}

impl Content {
    /// Wraps a `wl_shm` buffer that was acquired at the time `acquired`.
    ///
    /// # Errors
    ///
    /// When the buffer is not a `wl_shm` buffer, or its format or size is not valid.
    pub fn of_shm(lock: BufferLock, acquired: Duration) -> Result<Self, ContentError> {
        let data = with_buffer_contents(lock.buffer(), |_, _, data| data)
            .map_err(|_| ContentError::Unknown)?;
        let fourcc = shm_format_to_fourcc(data.format).map(|fourcc| fourcc as u32);
        let format = fourcc
            .and_then(PixelFormat::from_fourcc)
            .filter(|format| format.planes() == 1)
            .ok_or(ContentError::Format(data.format.into()))?;
        let size = |value: i32| {
            usize::try_from(value)
                .ok()
                .filter(|value| *value > 0)
                .ok_or(ContentError::Size)
        };
        Ok(Self {
            lock,
            memory: Memory::Shm {
                stride: size(data.stride)?,
            },
            uploaded: UploadedTexture::default(),
            format,
            width: size(data.width)?,
            height: size(data.height)?,
            acquired,
            traced: None,
            failed_reads: Cell::new(0),
        })
    }

    /// Returns the lock on the buffer.
    pub fn lock(&self) -> &BufferLock {
        &self.lock
    }

    /// Returns the locked `wl_buffer`.
    pub fn buffer(&self) -> &WlBuffer {
        self.lock.buffer()
    }

    /// Wraps a dma-buf that was acquired at the time `acquired`.
    pub fn of_dmabuf(lock: BufferLock, buffer: Rc<ClientBuffer>, acquired: Duration) -> Self {
        let extent = buffer.buffer().layout().extent();
        let pixels = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            lock,
            format: buffer.format(),
            width: pixels(extent.width()),
            height: pixels(extent.height()),
            traced: Some(buffer.traced()),
            memory: Memory::Dmabuf(buffer),
            uploaded: UploadedTexture::default(),
            acquired,
            failed_reads: Cell::new(0),
        }
    }

    /// Returns the dma-buf; `None` for `wl_shm` memory.
    pub fn dmabuf(&self) -> Option<&Rc<ClientBuffer>> {
        match &self.memory {
            Memory::Shm { .. } => None,
            Memory::Dmabuf(buffer) => Some(buffer),
        }
    }

    /// Returns whether the CPU can read the buffer: its layout is linear.
    pub fn is_linear(&self) -> bool {
        self.dmabuf().is_none_or(|buffer| buffer.is_linear())
    }

    /// Returns the stride of the first plane in bytes.
    pub fn stride_bytes(&self) -> Option<u32> {
        match &self.memory {
            Memory::Shm { stride } => u32::try_from(*stride).ok(),
            Memory::Dmabuf(buffer) => buffer
                .buffer()
                .layout()
                .planes()
                .first()
                .map(|plane| plane.stride_bytes),
        }
    }

    /// Returns the buffer's identity in the frame trace; `None` for a `wl_shm` buffer.
    pub fn traced(&self) -> Option<TracedBuffer> {
        self.traced
    }

    /// Counts a frame in which the buffer is missing because it could not be read. Returns the number of earlier such frames.
    pub fn count_failed_read(&self) -> u32 {
        let before = self.failed_reads.get();
        self.failed_reads.set(before.saturating_add(1));
        before
    }

    /// Returns the time at which the buffer was acquired.
    pub fn acquired(&self) -> Duration {
        self.acquired
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(traced) = self.traced {
            let now = clock::now();
            traced.emit(
                COMPOSITOR,
                Action::Release,
                FlowPosition::Outside,
                (now, now),
            );
        }
    }
}

impl Pixels for Content {
    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        match &self.memory {
            Memory::Shm { stride } => Ok(Box::new(ShmPlanes::new(self.buffer(), *stride))),
            Memory::Dmabuf(buffer) => Ok(Box::new(buffer.open()?)),
        }
    }

    fn gpu(&self) -> Option<GpuSource<'_>> {
        let dmabuf = match &self.memory {
            Memory::Shm { .. } => None,
            Memory::Dmabuf(buffer) => Some((buffer.buffer(), buffer.imported())),
        };
        Some(GpuSource {
            dmabuf,
            uploaded: &self.uploaded,
        })
    }
}
