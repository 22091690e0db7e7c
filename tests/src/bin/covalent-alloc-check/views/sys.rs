//! The ioctl of `covalent_views`, and a mapping without access guards.
#![allow(
    unsafe_code,
    reason = "one ioctl, and memory that is mapped without a guard on purpose"
)]

use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use rustix::io;
use rustix::ioctl::{self, Updater};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `struct views_export`.
#[repr(C)]
struct Export {
    size: u64,
    fd: RawFd,
    pad: u32,
}

const EXPORT: ioctl::Opcode = ioctl::opcode::read_write::<Export>(b'V', 0);

/// Creates the buffer of an open file, of `size` bytes, and exports it as a dma-buf.
///
/// # References
/// `tests/module/covalent_views.c`, VIEWS_EXPORT.
pub(super) fn export(device: impl AsFd, size: u64) -> io::Result<OwnedFd> {
    let mut request = Export {
        size,
        fd: -1,
        pad: 0,
    };
    // SAFETY: the request has the size in its opcode and contains no pointers.
    unsafe { ioctl::ioctl(device.as_fd(), Updater::<EXPORT, Export>::new(&mut request)) }?;
    // SAFETY: the ioctl has just created this fd, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(request.fd) })
}

/// A mapping of a dma-buf that is accessed without DMA_BUF_IOCTL_SYNC.
pub(super) struct UnguardedMapping {
    start: *mut u8,
    size: usize,
}

impl UnguardedMapping {
    /// Maps the first `size` bytes of a dma-buf.
    pub(super) fn map(dmabuf: impl AsFd, size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so the mapping replaces no memory. Only this value uses it until it is dropped.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                size,
                protection,
                MapFlags::SHARED,
                dmabuf,
                0,
            )
        }?;
        Ok(Self {
            start: start.cast(),
            size,
        })
    }

    /// Copies bytes into the mapping.
    pub(super) fn write(&self, bytes: &[u8]) {
        let count = bytes.len().min(self.size);
        // SAFETY: both ranges have at least `count` bytes, and `bytes` does not overlap the mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, count) };
    }

    /// Copies bytes from the mapping.
    pub(super) fn read(&self, bytes: &mut [u8]) {
        let count = bytes.len().min(self.size);
        // SAFETY: both ranges have at least `count` bytes, and `bytes` does not overlap the mapping.
        unsafe { ptr::copy_nonoverlapping(self.start, bytes.as_mut_ptr(), count) };
    }
}

impl Drop for UnguardedMapping {
    fn drop(&mut self) {
        // SAFETY: only this value owns the mapping, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start.cast(), self.size) };
        assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}
