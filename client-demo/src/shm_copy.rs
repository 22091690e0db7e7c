//! Copies frames into `wl_shm` buffers, for compositors that cannot import the buffers of the camera.
//!
//! A frame is read once and written once: a few rows at a time are converted in memory that stays in the CPU's cache.

use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::{Buffer, Mapping};
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::compositor::Compositor;
use crate::shm::{Pool, PoolError};
use crate::xrgb_reader::{ReadError, XrgbReader};

/// Why a frame cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The shared memory cannot be created or written.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The frame cannot be mapped, read or converted.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no buffer of this index.
    #[error("there is no frame buffer {0}")]
    Index(usize),
}

/// `wl_shm` buffers, and the mappings of the camera's buffers that are copied into them.
#[derive(Debug)]
pub struct ShmCopy {
    pool: Pool,
    mappings: Vec<Mapping>,
    reader: XrgbReader,
    /// The number of `wl_shm` buffers.
    count: usize,
    written_bytes: u64,
}

impl ShmCopy {
    /// Maps the camera's `buffers`, and creates `count` `wl_shm` buffers of the size of their picture.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn new(
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        buffers: &[Buffer],
        colours: Colours,
        count: u32,
    ) -> Result<Self, CopyError> {
        let layout = buffers.first().ok_or(CopyError::Index(0))?.layout();
        let extent = layout.visible().extent();
        let size = (extent.width(), extent.height());
        let mappings: Result<Vec<_>, _> = buffers.iter().map(Buffer::map).collect();
        Ok(Self {
            pool: Pool::new(compositor, handle, size, count)?,
            mappings: mappings.map_err(ReadError::from)?,
            reader: XrgbReader::new(layout, colours)?,
            count: usize::try_from(count).unwrap_or(usize::MAX),
            written_bytes: 0,
        })
    }

    /// Returns the number of `wl_shm` buffers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the `wl_shm` buffer at `index`.
    #[must_use]
    pub fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        self.pool.buffer(index)
    }

    /// Returns the size of a frame in shared memory in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.pool.frame_bytes()
    }

    /// Returns the number of bytes that were written to shared memory.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Copies the frame in the camera's buffer `from` to the `wl_shm` buffer `to`, which the compositor must not hold.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), CopyError> {
        let mapping = self.mappings.get(from).ok_or(CopyError::Index(from))?;
        let pool = &self.pool;
        let mut offset_bytes = 0_u64;
        self.reader.read::<CopyError>(mapping, |rows| {
            pool.write(to, offset_bytes, rows)?;
            let bytes = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            offset_bytes = offset_bytes.saturating_add(bytes);
            Ok(())
        })?;
        self.written_bytes = self.written_bytes.saturating_add(offset_bytes);
        Ok(())
    }
}

/// Why frames are copied, and how many bytes are copied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CopyReport {
    /// The reason in one line.
    pub reason: String,
    /// The number of bytes per frame that are written to shared memory.
    pub bytes_per_frame: u64,
    /// The format of the camera's frames.
    pub from: String,
    /// The format in shared memory.
    pub to: String,
}

impl CopyReport {
    /// Returns the line that the program prints on stderr.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "every frame is copied into wl_shm, {} bytes from {} to {}: {}; --no-copy makes this an error",
            self.bytes_per_frame, self.from, self.to, self.reason
        )
    }
}
