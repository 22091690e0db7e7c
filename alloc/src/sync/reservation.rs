//! The fences that a dma-buf itself carries, by which drivers order their work without being told.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use thiserror::Error;

use super::fence::fds_left;
use super::pollable::is_polled;
use super::{Access, Fence, FenceError, PollFor, Pollable, sys};
use crate::buffer::{Buffer, DmabufError, identify};

/// Why a dma-buf's fences cannot be had or set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// The kernel does not know the request.
    #[error("this kernel has no {operation}, which came with Linux 6.0; poll the dma-buf instead")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
    },
    /// The kernel refused.
    #[error("{operation} on a dma-buf failed: {source}{}", fds_left(*source))]
    Request {
        /// What was asked.
        operation: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The file is no dma-buf.
    #[error(transparent)]
    Dmabuf(#[from] DmabufError),
    /// The fences of several memories could not be merged.
    #[error(transparent)]
    Fence(#[from] FenceError),
}

/// The fences that a buffer carries: those of all its memories.
///
/// # References
/// `linux/dma-buf.h`; kernel documentation, "Implicit Fence Poll Support" and "dma_resv".
#[derive(Clone, Debug)]
pub struct Reservation<'fd> {
    memories: Vec<BorrowedFd<'fd>>,
}

impl Buffer {
    /// The fences that the buffer carries.
    #[must_use]
    pub fn reservation(&self) -> Reservation<'_> {
        Reservation {
            memories: (0..self.memory_count())
                .filter_map(|memory| self.memory_fd(memory))
                .collect(),
        }
    }
}

impl<'fd> Reservation<'fd> {
    /// The fences of one dma-buf, after the kernel has said that it is one.
    ///
    /// # Errors
    /// [`ReservationError::Dmabuf`].
    pub fn of(dmabuf: BorrowedFd<'fd>) -> Result<Self, ReservationError> {
        identify(dmabuf)?;
        Ok(Self {
            memories: vec![dmabuf],
        })
    }

    /// The fence of everybody whom an access has to wait for, as of now; who comes later is not in it. It is signalled where
    /// there is nobody.
    ///
    /// # Errors
    /// [`ReservationError`].
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_IOCTL_EXPORT_SYNC_FILE.
    pub fn fence_before(&self, access: Access) -> Result<Fence, ReservationError> {
        let asked = asked("DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
        let fences = self
            .memories
            .iter()
            .map(|memory| sys::export_sync_file(*memory, access).map(Fence::trusted))
            .collect::<Result<Vec<_>, _>>()
            .map_err(asked)?;
        let mut fences = fences.into_iter();
        let first = fences.next().ok_or_else(|| asked(Errno::BADF))?;
        Ok(fences.try_fold(first, |merged, fence| merged.merge(&fence))?)
    }

    /// Adds a fence for an access that is under way: drivers that are given the buffer wait for it.
    ///
    /// Others may add theirs between a [`Reservation::fence_before`] and this; both stay.
    ///
    /// # Errors
    /// [`ReservationError`]. Where there are several memories the first ones may carry the fence, which does no harm.
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
    pub fn add(&self, fence: &Fence, access: Access) -> Result<(), ReservationError> {
        for memory in &self.memories {
            sys::import_sync_file(*memory, fence.as_fd(), access)
                .map_err(asked("DMA_BUF_IOCTL_IMPORT_SYNC_FILE"))?;
        }
        Ok(())
    }

    /// Asks whether an access would have to wait for nobody, and never waits.
    ///
    /// # Errors
    /// [`ReservationError::Request`].
    pub fn is_ready(&self, access: Access) -> Result<bool, ReservationError> {
        for memory in &self.memories {
            if !is_polled(memory, poll_for(access)).map_err(asked("poll"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes something that an event loop can wait for, for each memory that is not ready.
    ///
    /// # Errors
    /// [`ReservationError::Request`].
    pub fn wait(&self, access: Access) -> Result<Vec<DmabufWait>, ReservationError> {
        let mut waits = Vec::new();
        for memory in &self.memories {
            if !is_polled(memory, poll_for(access)).map_err(asked("poll"))? {
                let dmabuf = rustix::io::fcntl_dupfd_cloexec(memory, 0).map_err(asked("dup"))?;
                waits.push(DmabufWait { dmabuf, access });
            }
        }
        Ok(waits)
    }
}

/// A dma-buf that can be polled until an access has to wait for nobody.
///
/// The fd is its own: an event loop may wait for one buffer twice.
#[derive(Debug)]
pub struct DmabufWait {
    dmabuf: OwnedFd,
    access: Access,
}

impl AsFd for DmabufWait {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dmabuf.as_fd()
    }
}

impl Pollable for DmabufWait {
    fn poll_for(&self) -> PollFor {
        poll_for(self.access)
    }
}

/// # References
/// Kernel documentation, "Implicit Fence Poll Support": POLLIN is the writers, POLLOUT everybody.
const fn poll_for(access: Access) -> PollFor {
    match access {
        Access::Read => PollFor::Input,
        Access::Write => PollFor::Output,
    }
}

fn asked(operation: &'static str) -> impl Fn(Errno) -> ReservationError + Copy {
    move |source| match source {
        Errno::NOTTY => ReservationError::Unsupported { operation },
        source => ReservationError::Request { operation, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_of_a_file_that_is_no_dmabuf_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            Reservation::of(null.as_fd()),
            Err(ReservationError::Dmabuf(DmabufError::NotDmabuf { .. }))
        ));
    }
}
