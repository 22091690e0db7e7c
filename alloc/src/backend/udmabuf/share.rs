//! Makes dma-bufs of a memfd of the caller. The conditions for which UDMABUF_CREATE returns EINVAL are checked first, so that the
//! error names the reason.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::SealFlags;
use thiserror::Error;

use super::{Udmabuf, UdmabufError, sys};
use crate::SystemError;
use crate::backend::meminfo;

/// Why a memfd cannot become a dma-buf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemfdError {
    /// The file is not a memfd.
    #[error("the fd is not a memfd ({0}); create it with memfd_create")]
    NotMemfd(SystemError),
    /// The memfd is not sealed against shrinking, so another process could remove mapped pages.
    #[error("the memfd can still shrink; seal it with F_SEAL_SHRINK")]
    NotSealed,
    /// The memfd is sealed against writing.
    #[error(
        "the memfd is sealed against writing (F_SEAL_WRITE or F_SEAL_FUTURE_WRITE), and importers of a dma-buf can write; share a memfd without these seals"
    )]
    NotWritable,
    /// The size is 0.
    #[error("the size is 0 bytes")]
    Empty,
    /// The range does not consist of whole pages.
    #[error(
        "the range of {size_bytes} bytes from byte {offset_bytes} on does not consist of whole pages of {page_bytes} bytes"
    )]
    Unaligned {
        /// The start of the range in bytes.
        offset_bytes: u64,
        /// The size of the range in bytes.
        size_bytes: u64,
        /// The page size in bytes.
        page_bytes: u64,
    },
    /// The range ends after the end of the memfd.
    #[error(
        "the range of {size_bytes} bytes from byte {offset_bytes} on exceeds the memfd of {memfd_bytes} bytes"
    )]
    ExceedsMemfd {
        /// The start of the range in bytes.
        offset_bytes: u64,
        /// The size of the range in bytes.
        size_bytes: u64,
        /// The size of the memfd in bytes.
        memfd_bytes: u64,
    },
}

impl Udmabuf {
    /// Makes a dma-buf of a range of the caller's memfd. `offset_bytes` and `size_bytes` are multiples of the page size.
    ///
    /// The memfd must be sealed against shrinking (F_SEAL_SHRINK), so that no process can remove mapped pages, and must not be
    /// sealed against writing. The dma-buf keeps the pages, so the memfd may be closed.
    ///
    /// # Errors
    /// [`UdmabufError::Memfd`] for the causes of the kernel's EINVAL and EBADFD; [`UdmabufError::Limit`];
    /// [`UdmabufError::Allocate`].
    ///
    /// # References
    /// `linux/udmabuf.h`, UDMABUF_CREATE; memfd_create(2), "File sealing".
    pub fn share(
        &self,
        memfd: impl AsFd,
        offset_bytes: u64,
        size_bytes: u64,
    ) -> Result<OwnedFd, UdmabufError> {
        let memfd = memfd.as_fd();
        let refused = |source| UdmabufError::Memfd {
            source_name: self.source_name(),
            source,
        };
        let seals = rustix::fs::fcntl_get_seals(memfd)
            .map_err(|error| refused(MemfdError::NotMemfd(error.into())))?;
        let size = rustix::fs::fstat(memfd)
            .map_err(|error| refused(MemfdError::NotMemfd(error.into())))?
            .st_size;
        let memfd_bytes = u64::try_from(size).unwrap_or(0);
        check(seals, memfd_bytes, offset_bytes, size_bytes).map_err(refused)?;
        self.check_limit(size_bytes)?;
        sys::create(self.fd.as_fd(), memfd, offset_bytes, size_bytes).map_err(|source| {
            UdmabufError::Allocate {
                source_name: self.source_name(),
                operation: "UDMABUF_CREATE",
                bytes: size_bytes,
                source: source.into(),
            }
        })
    }
}

fn check(
    seals: SealFlags,
    memfd_bytes: u64,
    offset_bytes: u64,
    size_bytes: u64,
) -> Result<(), MemfdError> {
    if !seals.contains(SealFlags::SHRINK) {
        return Err(MemfdError::NotSealed);
    }
    // Older kernels accept a memfd with F_SEAL_FUTURE_WRITE, and the dma-buf would be writable in spite of the seal.
    if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
        return Err(MemfdError::NotWritable);
    }
    if size_bytes == 0 {
        return Err(MemfdError::Empty);
    }
    let page_bytes = meminfo::page_bytes();
    let whole = |bytes: u64| bytes.checked_rem(page_bytes) == Some(0);
    if !whole(offset_bytes) || !whole(size_bytes) {
        return Err(MemfdError::Unaligned {
            offset_bytes,
            size_bytes,
            page_bytes,
        });
    }
    match offset_bytes.checked_add(size_bytes) {
        Some(end) if end <= memfd_bytes => Ok(()),
        _ => Err(MemfdError::ExceedsMemfd {
            offset_bytes,
            size_bytes,
            memfd_bytes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memfd_that_the_kernel_would_refuse_is_reported_with_the_reason() {
        let page = meminfo::page_bytes();
        let shrink = SealFlags::SHRINK;
        let of = |seals, offset, size| check(seals, 4 * page, offset, size);
        assert_eq!(of(shrink, 0, 4 * page), Ok(()));
        assert_eq!(of(shrink | SealFlags::GROW, page, 3 * page), Ok(()));
        assert_eq!(of(SealFlags::GROW, 0, page), Err(MemfdError::NotSealed));
        for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
            assert_eq!(of(shrink | seal, 0, page), Err(MemfdError::NotWritable));
        }
        assert_eq!(of(shrink, 0, 0), Err(MemfdError::Empty));
        for (offset, size) in [(1, page), (0, page + 1), (page - 1, 1)] {
            assert!(matches!(
                of(shrink, offset, size),
                Err(MemfdError::Unaligned { .. })
            ));
        }
        let last = u64::MAX - (u64::MAX % page);
        for (offset, size) in [(0, 5 * page), (4 * page, page), (last, page), (page, last)] {
            assert!(matches!(
                of(shrink, offset, size),
                Err(MemfdError::ExceedsMemfd { .. })
            ));
        }
    }
}
