//! `wl_shm` buffers, which every compositor supports.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use wayland_client::protocol::wl_buffer::{self, WlBuffer};
use wayland_client::protocol::wl_shm::Format;
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::{Connection, Dispatch, QueueHandle};

use crate::compositor::{Compositor, MissingGlobal, require_global};
use crate::pattern::Rows;

/// Why a `wl_shm_pool` cannot be created or its memory written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The compositor lacks `wl_shm`.
    #[error(transparent)]
    Missing(#[from] MissingGlobal),
    /// The size of the pool exceeds the 31 bits that the protocol has for it.
    #[error(
        "{count} buffers of {width}x{height} do not fit into one wl_shm_pool, whose size has 31 bits; choose a smaller size"
    )]
    Size {
        /// The number of buffers.
        count: u32,
        /// The width of each buffer in pixels.
        width: u32,
        /// The height of each buffer in pixels.
        height: u32,
    },
    /// A system call failed.
    #[error("{operation} of a pool of {bytes} bytes failed: {source}")]
    Kernel {
        /// The system call.
        operation: &'static str,
        /// The size of the pool in bytes.
        bytes: u64,
        /// The error of the system call.
        source: Errno,
    },
}

/// XRGB8888 buffers of one size, one after the other in one memfd.
///
/// The memory is written by pwrite(2). It is not mapped in this process, so no unsafe code is needed.
#[derive(Debug)]
pub struct Pool {
    memory: OwnedFd,
    buffers: Vec<WlBuffer>,
    frame_bytes: u64,
    height: u32,
}

impl Pool {
    /// Creates `count` buffers. Their releases are reported as [`Event::Released`](crate::compositor::Event::Released) with their
    /// index.
    ///
    /// # Errors
    ///
    /// [`PoolError`].
    pub fn new(
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        (width, height): (u32, u32),
        count: u32,
    ) -> Result<Self, PoolError> {
        Self::numbered_from(0, compositor, handle, (width, height), count)
    }

    /// Creates `count` buffers as [`Pool::new`] does. Their releases are reported with their index plus `first_number`.
    ///
    /// # Errors
    ///
    /// [`PoolError`].
    pub fn numbered_from(
        first_number: usize,
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        (width, height): (u32, u32),
        count: u32,
    ) -> Result<Self, PoolError> {
        let shm = require_global(compositor.globals.shm.as_ref(), 1)?;
        let size = || PoolError::Size {
            count,
            width,
            height,
        };
        let stride = width
            .checked_mul(4)
            .and_then(|bytes| i32::try_from(bytes).ok())
            .ok_or_else(size)?;
        let rows = i32::try_from(height).map_err(|_| size())?;
        let columns = i32::try_from(width).map_err(|_| size())?;
        let frame = stride.checked_mul(rows).ok_or_else(size)?;
        let total = i32::try_from(count)
            .ok()
            .and_then(|count| frame.checked_mul(count))
            .ok_or_else(size)?;
        let bytes = u64::try_from(total).map_err(|_| size())?;
        let kernel = |operation| {
            move |source| PoolError::Kernel {
                operation,
                bytes,
                source,
            }
        };
        let memory = memfd_create(
            "covalent-pattern",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .map_err(kernel("memfd_create"))?;
        ftruncate(&memory, bytes).map_err(kernel("ftruncate"))?;
        // The size of the memfd is sealed, so that the compositor gets no SIGBUS when it reads the mapping.
        fcntl_add_seals(
            &memory,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )
        .map_err(kernel("fcntl(F_ADD_SEALS)"))?;
        let pool = shm.create_pool(memory.as_fd(), total, handle, ());
        let offsets = (0..total).step_by(usize::try_from(frame).map_err(|_| size())?.max(1));
        let buffers = offsets
            .enumerate()
            .map(|(index, offset)| {
                let slot = Slot::of_shm(first_number.saturating_add(index));
                pool.create_buffer(
                    offset,
                    columns,
                    rows,
                    stride,
                    Format::Xrgb8888,
                    handle,
                    slot,
                )
            })
            .collect();
        pool.destroy();
        Ok(Self {
            memory,
            buffers,
            frame_bytes: u64::try_from(frame).map_err(|_| size())?,
            height,
        })
    }

    /// Returns the buffer at `index`.
    #[must_use]
    pub fn buffer(&self, index: usize) -> Option<&WlBuffer> {
        self.buffers.get(index)
    }

    /// Returns the size of one buffer in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.frame_bytes
    }

    /// Draws a frame into the buffer at `index`. The compositor must not hold the buffer.
    ///
    /// # Errors
    ///
    /// [`PoolError::Kernel`] when the memory cannot be written.
    pub fn draw(&self, index: usize, rows: &Rows) -> Result<(), PoolError> {
        let picture: Vec<u8> = (0..self.height)
            .flat_map(|y| rows.row(y))
            .copied()
            .collect();
        self.write(index, 0, &picture)
    }

    /// Writes bytes into the buffer at `index`, from `offset_bytes` after its start. Bytes past the end of the buffer are not
    /// written. The compositor must not hold the buffer.
    ///
    /// # Errors
    ///
    /// [`PoolError::Kernel`] when the memory cannot be written.
    pub fn write(&self, index: usize, offset_bytes: u64, bytes: &[u8]) -> Result<(), PoolError> {
        let left = self.frame_bytes.saturating_sub(offset_bytes);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut unwritten = bytes.get(..left).unwrap_or(bytes);
        let mut offset = u64::try_from(index)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.frame_bytes)
            .saturating_add(offset_bytes);
        while !unwritten.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.memory, unwritten, offset))
                    .map_err(|source| PoolError::Kernel {
                    operation: "pwrite",
                    bytes: self.frame_bytes,
                    source,
                })?;
            unwritten = unwritten.get(written..).unwrap_or_default();
            offset = offset.saturating_add(u64::try_from(written).unwrap_or(0));
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for buffer in &self.buffers {
            buffer.destroy();
        }
    }
}

/// The index of a `wl_buffer` in its stream.
///
/// wayland-client creates the `wl_buffer` of a `created` event before this client can set the index, so the index is set once,
/// afterwards.
#[derive(Debug, Default)]
pub struct Slot {
    index: std::sync::OnceLock<usize>,
    /// Whether the buffer is shared memory, which has no release points.
    is_shm: bool,
}

impl Slot {
    /// Creates the slot of a `wl_shm` buffer, whose index is known.
    #[must_use]
    pub fn of_shm(index: usize) -> Self {
        Self {
            index: std::sync::OnceLock::from(index),
            is_shm: true,
        }
    }

    /// Sets the index, once.
    pub(crate) fn set(&self, index: usize) {
        // A `wl_buffer` keeps its first index, so a second one is ignored.
        let _ = self.index.set(index);
    }
}

impl Dispatch<WlBuffer, Slot> for Compositor {
    fn event(
        state: &mut Self,
        _: &WlBuffer,
        event: wl_buffer::Event,
        slot: &Slot,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let (wl_buffer::Event::Release, Some(index)) = (event, slot.index.get()) {
            state.released(*index, slot.is_shm);
        }
    }
}

wayland_client::delegate_noop!(Compositor: ignore WlShmPool);
