//! The dma-heap ioctl.
#![allow(
    unsafe_code,
    reason = "the dma-heap ioctl, which returns an fd as a number"
)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io;
use rustix::ioctl::{self, Updater, opcode};

/// `struct dma_heap_allocation_data`.
#[repr(C)]
struct Allocation {
    length: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

const ALLOC: ioctl::Opcode = opcode::read_write::<Allocation>(b'H', 0);

/// Allocates bytes from a heap.
///
/// # References
/// `linux/dma-heap.h`, DMA_HEAP_IOCTL_ALLOC.
pub(super) fn allocate(heap: BorrowedFd<'_>, length: u64) -> io::Result<OwnedFd> {
    let mut request = Allocation {
        length,
        fd: 0,
        fd_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
        heap_flags: 0,
    };
    // SAFETY: the structure is the one that the opcode takes, and the kernel reads and writes no other memory.
    unsafe { ioctl::ioctl(heap, Updater::<ALLOC, Allocation>::new(&mut request)) }?;
    let fd = i32::try_from(request.fd).map_err(|_| io::Errno::BADF)?;
    // SAFETY: the ioctl succeeded, so the number is a new fd that no other value owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_and_opcode_equal_those_of_the_headers() {
        assert_eq!(size_of::<Allocation>(), 24);
        assert_eq!(ALLOC, 0xc018_4800);
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn structure_and_opcode_equal_those_of_this_targets_headers() {
        let mut ours = crate::abi::layouts! {
            Allocation => "dma_heap_allocation_data" {
                fd => "fd", fd_flags => "fd_flags", heap_flags => "heap_flags",
            }
        };
        ours.push(("request DMA_HEAP_IOCTL_ALLOC", ALLOC.into()));
        crate::abi::assert_equals_headers(&["dma_heap_", "DMA_HEAP_"], &ours);
    }
}
