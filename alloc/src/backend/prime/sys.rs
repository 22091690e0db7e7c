//! The ioctls of virtio-gpu, which the `drm` crate does not have.
#![allow(unsafe_code, reason = "the ioctls of virtio-gpu")]

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io;
use rustix::ioctl::{self, Updater};

/// `VIRTGPU_PARAM_3D_FEATURES`: the device renders (virgl, Venus).
pub(super) const VIRTGPU_3D_FEATURES: u64 = 1;
/// `VIRTGPU_PARAM_RESOURCE_BLOB`: the device can use memory of the guest directly.
pub(super) const VIRTGPU_RESOURCE_BLOB: u64 = 3;

/// `struct drm_virtgpu_getparam`.
#[repr(C)]
struct GetParam {
    param: u64,
    value: u64,
}

const GETPARAM: ioctl::Opcode = ioctl::opcode::read_write::<GetParam>(b'd', 0x43);

/// Queries a parameter of a virtio-gpu.
///
/// # Errors
/// The error of the kernel: EINVAL for a parameter that the kernel does not know.
///
/// # References
/// `drm/virtgpu_drm.h`, DRM_IOCTL_VIRTGPU_GETPARAM.
pub(super) fn virtgpu_parameter(card: impl AsFd, param: u64) -> io::Result<i32> {
    let card: BorrowedFd<'_> = card.as_fd();
    let mut value: i32 = 0;
    let mut request = GetParam {
        param,
        value: (&raw mut value).expose_provenance() as u64,
    };
    // SAFETY: the structure is the one that the opcode takes; the kernel writes one int through its pointer to `value`, which is
    // valid during the call.
    unsafe { ioctl::ioctl(card, Updater::<GETPARAM, GetParam>::new(&mut request)) }?;
    Ok(value)
}
