//! The bare ioctls that allocate memory, as a program would call them that supports only one source.
#![allow(
    unsafe_code,
    reason = "ioctls, and the fds that they return as numbers"
)]

use std::ffi::c_void;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const O_RDWR_CLOEXEC: u32 = 0o2_000_002;

/// `struct dma_heap_allocation_data`.
#[repr(C)]
struct HeapAllocation {
    length: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

const HEAP_ALLOC: Opcode = opcode::read_write::<HeapAllocation>(b'H', 0);

/// DMA_HEAP_IOCTL_ALLOC.
pub(super) fn heap_alloc(heap: BorrowedFd<'_>, length: u64) -> io::Result<OwnedFd> {
    let mut request = HeapAllocation {
        length,
        fd: 0,
        fd_flags: O_RDWR_CLOEXEC,
        heap_flags: 0,
    };
    // SAFETY: the request has the size in its opcode, and the kernel reads and writes only these bytes.
    unsafe {
        ioctl::ioctl(
            heap,
            Updater::<HEAP_ALLOC, HeapAllocation>::new(&mut request),
        )
    }?;
    let fd = i32::try_from(request.fd).map_err(|_| io::Errno::BADF)?;
    // SAFETY: the ioctl succeeded, so the number is a new fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct udmabuf_create`.
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const UDMABUF_CREATE: Opcode = opcode::write::<UdmabufCreate>(b'u', 0x42);

// SAFETY: this type has the layout of struct udmabuf_create, which the kernel reads, and the ioctl returns a new fd.
unsafe impl Ioctl for UdmabufCreate {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        UDMABUF_CREATE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> io::Result<OwnedFd> {
        // SAFETY: the ioctl succeeded, so its result is a new fd that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// UDMABUF_CREATE.
pub(super) fn udmabuf_create(
    udmabuf: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    size: u64,
) -> io::Result<OwnedFd> {
    let request = UdmabufCreate {
        memfd: u32::try_from(memfd.as_raw_fd()).map_err(|_| io::Errno::BADF)?,
        flags: 1,
        offset: 0,
        size,
    };
    // SAFETY: see the implementation of Ioctl. The fd is that of the udmabuf device, which defines the opcode.
    unsafe { ioctl::ioctl(udmabuf, request) }
}

/// `struct drm_mode_create_dumb`.
#[repr(C)]
struct CreateDumb {
    height: u32,
    width: u32,
    bpp: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

/// `struct drm_prime_handle`.
#[repr(C)]
struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

/// `struct drm_mode_destroy_dumb`.
#[repr(C)]
struct DestroyDumb {
    handle: u32,
}

const CREATE_DUMB: Opcode = opcode::read_write::<CreateDumb>(b'd', 0xb2);
const DESTROY_DUMB: Opcode = opcode::read_write::<DestroyDumb>(b'd', 0xb4);
const HANDLE_TO_FD: Opcode = opcode::read_write::<PrimeHandle>(b'd', 0x2d);

/// MODE_CREATE_DUMB for `width` x `height` pixels of 32 bits, PRIME_HANDLE_TO_FD, MODE_DESTROY_DUMB.
pub(super) fn dumb(card: BorrowedFd<'_>, width: u32, height: u32) -> io::Result<OwnedFd> {
    let mut create = CreateDumb {
        height,
        width,
        bpp: 32,
        flags: 0,
        handle: 0,
        pitch: 0,
        size: 0,
    };
    // SAFETY: the request has the size in its opcode, and the kernel reads and writes only these bytes.
    unsafe { ioctl::ioctl(card, Updater::<CREATE_DUMB, CreateDumb>::new(&mut create)) }?;
    let mut export = PrimeHandle {
        handle: create.handle,
        flags: O_RDWR_CLOEXEC,
        fd: -1,
    };
    // SAFETY: the request has the size in its opcode, and the kernel reads and writes only these bytes.
    let exported =
        unsafe { ioctl::ioctl(card, Updater::<HANDLE_TO_FD, PrimeHandle>::new(&mut export)) };
    let mut destroy = DestroyDumb {
        handle: create.handle,
    };
    // SAFETY: the request has the size in its opcode, and the kernel reads and writes only these bytes.
    unsafe {
        ioctl::ioctl(
            card,
            Updater::<DESTROY_DUMB, DestroyDumb>::new(&mut destroy),
        )
    }?;
    exported?;
    // SAFETY: the ioctl succeeded, so the number is a new fd that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

/// Maps a dma-buf with MAP_POPULATE, so that the kernel allocates all pages, and unmaps it.
pub(super) fn populate(dmabuf: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let (access, flags) = (
        ProtFlags::READ | ProtFlags::WRITE,
        MapFlags::SHARED | MapFlags::POPULATE,
    );
    // SAFETY: the kernel chooses the address of the new mapping, so it replaces no memory.
    let start = unsafe { mmap(std::ptr::null_mut(), bytes, access, flags, dmabuf, 0) }?;
    // SAFETY: this is the mapping that was just created, and nothing refers to it.
    unsafe { munmap(start, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_and_opcodes_are_the_headers() {
        assert_eq!(HEAP_ALLOC, 0xc018_4800);
        assert_eq!(UDMABUF_CREATE, 0x4018_7542);
        assert_eq!(CREATE_DUMB, 0xc020_64b2);
        assert_eq!(DESTROY_DUMB, 0xc004_64b4);
        assert_eq!(HANDLE_TO_FD, 0xc00c_642d);
    }
}
