//! The requests of sw_sync.
#![allow(unsafe_code, reason = "ioctls of a driver")]

use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io;
use rustix::ioctl::{self, Setter, Updater};

/// `struct sw_sync_create_fence_data`.
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: RawFd,
}

const CREATE_FENCE: ioctl::Opcode = ioctl::opcode::read_write::<CreateFence>(b'W', 0);
const INCREMENT: ioctl::Opcode = ioctl::opcode::write::<u32>(b'W', 1);

/// Makes a fence that signals when the timeline's counter reaches `value`.
///
/// # References
/// Linux, `drivers/dma-buf/sw_sync.c`, SW_SYNC_IOC_CREATE_FENCE.
pub(super) fn create_fence(timeline: impl AsFd, value: u32) -> io::Result<OwnedFd> {
    let mut request = CreateFence {
        value,
        name: [0; 32],
        fence: -1,
    };
    // SAFETY: the request is of the size in its opcode and holds no pointers.
    unsafe {
        ioctl::ioctl(
            timeline.as_fd(),
            Updater::<CREATE_FENCE, CreateFence>::new(&mut request),
        )
    }?;
    // SAFETY: the request has just made this fd.
    Ok(unsafe { OwnedFd::from_raw_fd(request.fence) })
}

/// Advances the timeline's counter.
///
/// # References
/// Linux, `drivers/dma-buf/sw_sync.c`, SW_SYNC_IOC_INC.
pub(super) fn increment(timeline: impl AsFd, by: u32) -> io::Result<()> {
    // SAFETY: the request reads one u32.
    unsafe { ioctl::ioctl(timeline.as_fd(), Setter::<INCREMENT, u32>::new(by)) }
}
