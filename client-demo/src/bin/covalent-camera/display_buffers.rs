//! The buffers that are committed to the compositor: the camera's own buffers, or shared memory into which every frame is copied.

use std::ops::Range;

use covalent_client_demo::buffer_sets::{BufferSets, ReleasedBuffer};
use covalent_client_demo::exit::Failure;
use covalent_client_demo::shm_copy::{CopyReport, ShmCopy};
use wayland_client::protocol::wl_buffer::WlBuffer;

/// The `wl_buffer`s that are committed to the compositor.
#[derive(Debug)]
pub(crate) enum DisplayBuffers {
    /// The camera's dma-bufs, by their index in the camera's queue.
    Shared(BufferSets),
    /// `wl_shm` buffers into which every frame is copied, and the reason for the copy.
    Copied(Box<ShmCopy>, CopyReport),
}

impl DisplayBuffers {
    /// Returns the number of buffers that can be committed to the compositor.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Shared(sets) => sets.count(),
            Self::Copied(copy, _) => copy.count(),
        }
    }

    /// Returns the `wl_buffer` at `index`.
    pub(crate) fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        match self {
            Self::Shared(sets) => sets.wl_buffer(index),
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

    /// Returns the number of the buffer at `index`, which the compositor's events have.
    pub(crate) fn number(&self, index: usize) -> usize {
        match self {
            Self::Shared(sets) => sets.number(index),
            Self::Copied(..) => index,
        }
    }

    /// Returns the index of the buffer with this number; `None` if it is none of the current buffers.
    pub(crate) fn index_of(&self, number: usize) -> Option<usize> {
        match self {
            Self::Shared(sets) => sets.index_of(number),
            Self::Copied(copy, _) => (number < copy.count()).then_some(number),
        }
    }

    /// Records that the compositor has released the buffer with this number.
    pub(crate) fn released(&mut self, number: usize) -> ReleasedBuffer {
        match self {
            Self::Shared(sets) => sets.released(number),
            Self::Copied(..) => self
                .index_of(number)
                .map_or(ReleasedBuffer::Unknown, ReleasedBuffer::Current),
        }
    }

    /// Returns whether a change of buffers is not complete.
    pub(crate) fn is_changing(&self) -> bool {
        match self {
            Self::Shared(sets) => sets.is_changing(),
            Self::Copied(..) => false,
        }
    }

    /// Begins the next buffers, as [`BufferSets::begin_next`]. Buffers whose frames are copied are not replaced.
    pub(crate) fn begin_next(&mut self, count: usize) -> Range<usize> {
        match self {
            Self::Shared(sets) => sets.begin_next(count),
            Self::Copied(..) => 0..0,
        }
    }

    /// Destroys the next buffers.
    pub(crate) fn cancel_next(&mut self) {
        if let Self::Shared(sets) = self {
            sets.cancel_next();
        }
    }

    /// Stores a `wl_buffer` of the next buffers, as [`BufferSets::created`].
    pub(crate) fn created(&mut self, number: usize, wl_buffer: WlBuffer) -> bool {
        match self {
            Self::Shared(sets) => sets.created(number, wl_buffer),
            Self::Copied(..) => {
                wl_buffer.destroy();
                false
            }
        }
    }

    /// Cancels the next buffers if the compositor could not import one of them, as [`BufferSets::refused`].
    pub(crate) fn refused(&mut self, number: usize) -> bool {
        match self {
            Self::Shared(sets) => sets.refused(number),
            Self::Copied(..) => false,
        }
    }

    /// Makes the next buffers the current ones, as [`BufferSets::switch`].
    pub(crate) fn switch(&mut self, is_held: impl Fn(usize) -> bool) {
        if let Self::Shared(sets) = self {
            sets.switch(is_held);
        }
    }

    /// Destroys the `wl_buffer`s of the camera's buffers. `wl_shm` buffers are destroyed when they are dropped.
    pub(crate) fn destroy(self) {
        if let Self::Shared(sets) = self {
            sets.destroy();
        }
    }
}
