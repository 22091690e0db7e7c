//! The dma-buf ioctls that are no access.
#![allow(unsafe_code, reason = "an ioctl that takes the address of a text")]

use std::ffi::{CStr, c_void};
use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

/// The longest name, in bytes, its end not counted.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_NAME_LEN.
pub(super) const LONGEST_NAME: usize = 31;

const SET_NAME: Opcode = opcode::write::<u64>(b'b', 1);

struct Name<'text>(&'text CStr);

// SAFETY: the request's argument is the address of a text that ends with a zero, from which the kernel reads alone.
unsafe impl Ioctl for Name<'_> {
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

/// Names a dma-buf for people who look at what is allocated.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_SET_NAME_B.
pub(super) fn set_name(dmabuf: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: see the implementation of Ioctl; the fd is a dma-buf.
    unsafe { ioctl::ioctl(dmabuf, Name(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcode_is_the_headers() {
        assert_eq!(SET_NAME, 0x4008_6201);
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn opcode_is_the_headers_of_this_target() {
        crate::abi::hold(
            &["DMA_BUF_SET_NAME"],
            &[("request DMA_BUF_SET_NAME_B", SET_NAME.into())],
        );
    }
}
