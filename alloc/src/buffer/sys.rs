//! The dma-buf ioctl that sets a name.
#![allow(unsafe_code, reason = "an ioctl that takes the address of a C string")]

use std::ffi::{CStr, c_void};
use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

/// The maximum length of a name in bytes, without the terminating zero.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_NAME_LEN.
pub(super) const MAX_NAME_BYTES: usize = 31;

const SET_NAME: Opcode = opcode::write::<u64>(b'b', 1);

struct SetName<'text>(&'text CStr);

// SAFETY: the argument is the address of a C string, from which the kernel only reads.
unsafe impl Ioctl for SetName<'_> {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        SET_NAME
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_ptr().cast_mut().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> io::Result<()> {
        Ok(())
    }
}

/// Sets the name of a dma-buf, which bufinfo and fdinfo show.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_SET_NAME_B.
pub(super) fn set_name(dmabuf: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the argument is the address of a C string, which the kernel only reads. The file descriptor is a dma-buf.
    unsafe { ioctl::ioctl(dmabuf, SetName(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcode_equals_the_kernel_header() {
        assert_eq!(SET_NAME, 0x4008_6201);
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn opcode_equals_the_header_of_this_target() {
        crate::abi::assert_equals_headers(
            &["DMA_BUF_SET_NAME"],
            &[("request DMA_BUF_SET_NAME_B", SET_NAME.into())],
        );
    }
}
