//! The buffers that are committed to the compositor: the camera's own buffers, or shared memory into which every frame is copied.

use covalent_client_demo::exit::Failure;
use covalent_client_demo::shm_copy::{CopyReport, ShmCopy};
use wayland_client::protocol::wl_buffer::WlBuffer;

/// The `wl_buffer`s that are committed to the compositor.
#[derive(Debug)]
pub(crate) enum DisplayBuffers {
    /// The camera's dma-bufs, by their index in the camera's queue.
    Shared(Vec<WlBuffer>),
    /// `wl_shm` buffers into which every frame is copied, and the reason for the copy.
    Copied(Box<ShmCopy>, CopyReport),
}

impl DisplayBuffers {
    /// Returns the number of buffers that can be committed to the compositor.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Shared(wl_buffers) => wl_buffers.len(),
            Self::Copied(copy, _) => copy.count(),
        }
    }

    /// Returns the `wl_buffer` at `index`.
    pub(crate) fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        match self {
            Self::Shared(wl_buffers) => wl_buffers.get(index),
            Self::Copied(copy, _) => copy.wl_buffer(index),
        }
    }

    /// Returns whether every frame is copied.
    pub(crate) fn is_copied(&self) -> bool {
        matches!(self, Self::Copied(..))
    }

    /// Returns why frames are copied; `None` where they are not.
    pub(crate) fn copy_report(&self) -> Option<&CopyReport> {
        match self {
            Self::Shared(_) => None,
            Self::Copied(_, report) => Some(report),
        }
    }

    /// Returns the bytes that were written to shared memory.
    pub(crate) fn written_bytes(&self) -> u64 {
        match self {
            Self::Shared(_) => 0,
            Self::Copied(copy, _) => copy.written_bytes(),
        }
    }

    /// Copies the frame in the camera's buffer `from` into the shared memory of buffer `to`. Does nothing if the compositor uses
    /// the camera's buffers.
    pub(crate) fn copy(&mut self, from: usize, to: usize) -> Result<(), Failure> {
        match self {
            Self::Shared(_) => Ok(()),
            Self::Copied(copy, _) => copy.copy(from, to).map_err(Failure::unexpected),
        }
    }

    /// Destroys the `wl_buffer`s of the camera's buffers. `wl_shm` buffers are destroyed when they are dropped.
    pub(crate) fn destroy(self) {
        if let Self::Shared(wl_buffers) = self {
            for wl_buffer in wl_buffers {
                wl_buffer.destroy();
            }
        }
    }
}
