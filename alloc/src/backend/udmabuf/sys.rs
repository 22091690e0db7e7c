//! The udmabuf ioctl.
#![allow(
    unsafe_code,
    reason = "UDMABUF_CREATE, which returns an fd as its result"
)]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

const CLOEXEC: u32 = 1;

/// `struct udmabuf_create`.
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const CREATE: Opcode = opcode::write::<UdmabufCreate>(b'u', 0x42);

// SAFETY: the opcode reads one `struct udmabuf_create`, which `UdmabufCreate` equals, and returns a new fd.
unsafe impl Ioctl for UdmabufCreate {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CREATE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> io::Result<OwnedFd> {
        // SAFETY: the ioctl succeeded, so its result is a new fd that no other value owns.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// Makes a dma-buf of a range of a memfd. Offset and size are in bytes, and are multiples of the page size.
///
/// # References
/// `linux/udmabuf.h`, UDMABUF_CREATE.
pub(super) fn create(
    udmabuf: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> io::Result<OwnedFd> {
    let request = UdmabufCreate {
        memfd: u32::try_from(memfd.as_raw_fd()).map_err(|_| io::Errno::BADF)?,
        flags: CLOEXEC,
        offset,
        size,
    };
    // SAFETY: `UdmabufCreate` equals `struct udmabuf_create`, which the opcode reads. The fd is of the udmabuf device, to which
    // the opcode belongs.
    unsafe { ioctl::ioctl(udmabuf, request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_and_opcode_equal_those_of_the_headers() {
        assert_eq!(size_of::<UdmabufCreate>(), 24);
        assert_eq!(CREATE, 0x4018_7542);
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn structure_and_opcode_equal_those_of_this_targets_headers() {
        let mut ours = crate::abi::layouts! {
            UdmabufCreate => "udmabuf_create" { flags => "flags", offset => "offset", size => "size" }
        };
        ours.push(("request UDMABUF_CREATE", CREATE.into()));
        crate::abi::assert_equals_headers(&["udmabuf_", "UDMABUF_"], &ours);
    }
}
