//! The requests of drivers whose fences a test holds back.
#![allow(unsafe_code, reason = "ioctls of two drivers")]

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

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

/// `struct drm_vgem_fence_attach`.
#[repr(C)]
struct FenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FenceSignal {
    fence: u32,
    flags: u32,
}

const FENCE_ATTACH: ioctl::Opcode = ioctl::opcode::read_write::<FenceAttach>(b'd', 0x41);
const FENCE_SIGNAL: ioctl::Opcode = ioctl::opcode::write::<FenceSignal>(b'd', 0x42);

/// Adds a fence of vgem's own to a buffer: of a writer, or of a reader. It ends by itself after ten seconds, with an error.
///
/// # References
/// `drm/vgem_drm.h`, DRM_IOCTL_VGEM_FENCE_ATTACH.
pub(super) fn vgem_attach(card: BorrowedFd<'_>, handle: u32, writes: bool) -> io::Result<u32> {
    let mut request = FenceAttach {
        handle,
        flags: u32::from(writes),
        out_fence: 0,
        pad: 0,
    };
    // SAFETY: the request is of the size in its opcode and holds no pointers.
    unsafe {
        ioctl::ioctl(
            card,
            Updater::<FENCE_ATTACH, FenceAttach>::new(&mut request),
        )
    }?;
    Ok(request.out_fence)
}

/// Signals it.
///
/// # References
/// `drm/vgem_drm.h`, DRM_IOCTL_VGEM_FENCE_SIGNAL.
pub(super) fn vgem_signal(card: BorrowedFd<'_>, fence: u32) -> io::Result<()> {
    let request = FenceSignal { fence, flags: 0 };
    // SAFETY: the request is of the size in its opcode and holds no pointers.
    unsafe { ioctl::ioctl(card, Setter::<FENCE_SIGNAL, FenceSignal>::new(request)) }
}

/// The number of an fd, for messages.
pub(super) fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}
