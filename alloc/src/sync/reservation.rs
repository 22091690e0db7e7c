//! The implicit fences of a dma-buf, by which drivers order their work without explicit synchronisation.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use thiserror::Error;

use super::fence::fd_limit_hint;
use super::pollable::is_polled;
use super::{Access, Fence, FenceError, PollFor, Pollable, sys};
use crate::SystemError;
use crate::buffer::{Buffer, DmabufError, identify};

/// Why the implicit fences of a dma-buf cannot be read, or a fence cannot be added to them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// The kernel does not have the ioctl.
    #[error(
        "this kernel does not have {operation}, which Linux 6.0 introduced; poll the dma-buf instead"
    )]
    Unsupported {
        /// The ioctl that the kernel does not have.
        operation: &'static str,
    },
    /// The kernel refused the request.
    #[error("{operation} on a dma-buf failed: {source}{}", fd_limit_hint(*source))]
    Request {
        /// The ioctl or system call that failed.
        operation: &'static str,
        /// The kernel's error.
        source: SystemError,
    },
    /// The file is not a dma-buf.
    #[error(transparent)]
    Dmabuf(#[from] DmabufError),
    /// The fences of several dma-bufs cannot be merged.
    #[error(transparent)]
    Fence(#[from] FenceError),
}

/// The implicit fences of a buffer: those in the `dma_resv` of each of its dma-bufs.
///
/// # References
/// `linux/dma-buf.h`; kernel documentation, "Implicit Fence Poll Support" and "dma_resv".
#[derive(Clone, Debug)]
pub struct Reservation<'fd> {
    dmabufs: Vec<BorrowedFd<'fd>>,
}

impl Buffer {
    /// Returns the implicit fences of the buffer.
    #[must_use]
    pub fn reservation(&self) -> Reservation<'_> {
        Reservation {
            dmabufs: (0..self.dmabuf_count())
                .filter_map(|memory| self.dmabuf_fd(memory))
                .collect(),
        }
    }
}

impl<'fd> Reservation<'fd> {
    /// Returns the implicit fences of one dma-buf, after a check that the file is a dma-buf.
    ///
    /// # Errors
    /// [`ReservationError::Dmabuf`].
    pub fn of(dmabuf: BorrowedFd<'fd>) -> Result<Self, ReservationError> {
        identify(dmabuf)?;
        Ok(Self {
            dmabufs: vec![dmabuf],
        })
    }

    /// Returns a fence that signals when all implicit fences for which `access` has to wait have signalled. Fences that are added
    /// later are not included. If there are no fences, the returned fence is signalled already.
    ///
    /// # Errors
    /// [`ReservationError`].
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_IOCTL_EXPORT_SYNC_FILE.
    pub fn fence_before(&self, access: Access) -> Result<Fence, ReservationError> {
        let failed = request_error("DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
        let fences = self
            .dmabufs
            .iter()
            .map(|dmabuf| sys::export_sync_file(*dmabuf, access).map(Fence::from_kernel))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let mut fences = fences.into_iter();
        let first = fences.next().ok_or_else(|| failed(Errno::BADF))?;
        Ok(fences.try_fold(first, |merged, fence| merged.merge(&fence))?)
    }

    /// Adds the fence of a submitted access. Drivers that receive the buffer afterwards wait for it.
    ///
    /// Another process may add a fence between [`Reservation::fence_before`] and this call; both fences stay.
    ///
    /// # Errors
    /// [`ReservationError`]. After an error some of the buffer's dma-bufs may have the fence already, which only makes later
    /// accesses wait for it.
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
    pub fn add(&self, fence: &Fence, access: Access) -> Result<(), ReservationError> {
        for dmabuf in &self.dmabufs {
            sys::import_sync_file(*dmabuf, fence.as_fd(), access)
                .map_err(request_error("DMA_BUF_IOCTL_IMPORT_SYNC_FILE"))?;
        }
        Ok(())
    }

    /// Returns whether there is no pending implicit fence for which an access has to wait. The call does not wait.
    ///
    /// # Errors
    /// [`ReservationError::Request`].
    pub fn is_ready(&self, access: Access) -> Result<bool, ReservationError> {
        for dmabuf in &self.dmabufs {
            if !is_polled(dmabuf, poll_for(access)).map_err(request_error("poll"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns what an event loop has to wait for: one [`DmabufWait`] for each dma-buf that is not ready.
    ///
    /// # Errors
    /// [`ReservationError::Request`].
    pub fn wait(&self, access: Access) -> Result<Vec<DmabufWait>, ReservationError> {
        let mut waits = Vec::new();
        for dmabuf in &self.dmabufs {
            if !is_polled(dmabuf, poll_for(access)).map_err(request_error("poll"))? {
                let dmabuf =
                    rustix::io::fcntl_dupfd_cloexec(dmabuf, 0).map_err(request_error("dup"))?;
                waits.push(DmabufWait { dmabuf, access });
            }
        }
        Ok(waits)
    }
}

/// A wait for the implicit fences of a dma-buf. It is signalled when no fence is pending for which the access has to wait.
///
/// The file descriptor is a duplicate, so an event loop can have two waits for one buffer.
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

/// Returns the event for which an access polls a dma-buf.
///
/// # References
/// Kernel documentation, "Implicit Fence Poll Support": POLLIN waits for the writers, POLLOUT for all.
const fn poll_for(access: Access) -> PollFor {
    match access {
        Access::Read => PollFor::Input,
        Access::Write => PollFor::Output,
    }
}

fn request_error(operation: &'static str) -> impl Fn(Errno) -> ReservationError + Copy {
    move |source| match source {
        Errno::NOTTY => ReservationError::Unsupported { operation },
        source => ReservationError::Request {
            operation,
            source: source.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_of_a_file_that_is_not_a_dmabuf_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            Reservation::of(null.as_fd()),
            Err(ReservationError::Dmabuf(DmabufError::NotDmabuf { .. }))
        ));
    }
}
