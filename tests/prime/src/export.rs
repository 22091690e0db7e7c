//! The files that stand for shared memory: dma-bufs of udmabuf, or memfds on a machine without udmabuf.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

use crate::sys;

/// The device node of udmabuf.
const UDMABUF: &str = "/dev/udmabuf";

/// The file system type of dma-bufs.
///
/// # References
/// `linux/magic.h`, DMA_BUF_MAGIC.
const DMABUF_MAGIC: u64 = 0x444d_4142;

/// The file of a shared object.
pub(crate) struct Shared {
    pub(crate) fd: OwnedFd,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    /// Whether the file is a dma-buf, and not the memfd that replaces one.
    pub(crate) is_dmabuf: bool,
}

impl Shared {
    /// Makes a dma-buf of a range of the memory of a shim, in bytes. The size is rounded up to pages.
    ///
    /// Without udmabuf the result is a memfd of the same size, whose bytes are its own: the object's bytes are not shared then.
    pub(crate) fn export(
        memory: BorrowedFd<'_>,
        offset_bytes: u64,
        size_bytes: u64,
    ) -> Result<Self, Errno> {
        let page = u64::try_from(rustix::param::page_size()).map_err(|_| Errno::INVAL)?;
        let size = size_bytes
            .checked_next_multiple_of(page)
            .filter(|size| *size > 0)
            .ok_or(Errno::INVAL)?;
        if let Some(udmabuf) = open_udmabuf()? {
            // UDMABUF_CREATE requires this seal, so that the pages of a dma-buf cannot be truncated.
            fs::fcntl_add_seals(memory, SealFlags::SHRINK)?;
            return Self::of(sys::create_udmabuf(&udmabuf, memory, offset_bytes, size)?);
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = fs::memfd_create("covalent-prime", flags)?;
        fs::ftruncate(&memfd, size)?;
        fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW)?;
        Self::of(memfd)
    }

    /// Duplicates the file descriptor that a driver imports, after a check that it is a dma-buf, or a memfd of
    /// [`Shared::export`].
    ///
    /// # Errors
    /// `EINVAL` for another file, as DRM_IOCTL_PRIME_FD_TO_HANDLE returns it.
    pub(crate) fn import(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let shared = Self::of(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)?;
        let is_memfd = || {
            fs::fcntl_get_seals(fd)
                .is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW))
        };
        let is_known = shared.is_dmabuf || (open_udmabuf()?.is_none() && is_memfd());
        (is_known && shared.size_bytes > 0)
            .then_some(shared)
            .ok_or(Errno::INVAL)
    }

    fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let magic = fs::fstatfs(&fd)?.f_type;
        Ok(Self {
            inode: fs::fstat(&fd)?.st_ino,
            size_bytes: fs::seek(&fd, SeekFrom::End(0))?,
            is_dmabuf: u64::try_from(magic) == Ok(DMABUF_MAGIC),
            fd,
        })
    }

    /// Duplicates the file descriptor for the driver.
    pub(crate) fn duplicate(&self, is_cloexec: bool) -> Result<OwnedFd, Errno> {
        if is_cloexec {
            rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)
        } else {
            rustix::io::dup(&self.fd)
        }
    }

    pub(crate) fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Opens udmabuf; `None` if this machine has no udmabuf, or not for this process.
fn open_udmabuf() -> Result<Option<OwnedFd>, Errno> {
    match fs::open(UDMABUF, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(udmabuf) => Ok(Some(udmabuf)),
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::NODEV | Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the pages of a dma-buf out of the memory of a shim, before the shim gives the range to another object. The dma-buf keeps
/// the pages.
pub(crate) fn detach_pages(memory: BorrowedFd<'_>, offset_bytes: u64, size_bytes: u64) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // If this fails, a later object of the same driver shares the pages, whose pixels mean nothing under a shim.
    let _ = fs::fallocate(memory.as_fd(), flags, offset_bytes, size_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_of_an_ordinary_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(matches!(Shared::import(file.as_fd()), Err(Errno::INVAL)));
    }

    #[test]
    fn exported_memory_is_imported_with_its_inode_and_its_size_in_pages() {
        let memory = sys::shim_memory_for_tests(1 << 20);
        let exported = Shared::export(memory.as_fd(), 4096, 5000).unwrap();
        let imported = Shared::import(exported.fd.as_fd()).unwrap();
        assert_eq!(imported.inode, exported.inode);
        assert_eq!(imported.size_bytes, 8192);
    }
}
