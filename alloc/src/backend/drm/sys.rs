//! The ioctls of virtio-gpu, which the `drm` crate does not have.
#![allow(unsafe_code, reason = "the ioctls of virtio-gpu")]

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{self, Errno};
use rustix::ioctl::{self, Updater};

/// Repeats an ioctl as long as it returns EINTR or EAGAIN, as libdrm does: the driver waits for locks and for space in its queue,
/// and a signal interrupts the wait.
fn retry_interrupted(mut request: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match request() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            done => return done,
        }
    }
}

/// `struct drm_virtgpu_context_set_param`.
#[repr(C)]
struct ContextParam {
    param: u64,
    value: u64,
}

/// `struct drm_virtgpu_context_init`.
#[repr(C)]
struct ContextInit {
    num_params: u32,
    pad: u32,
    ctx_set_params: u64,
}

const CONTEXT_INIT: ioctl::Opcode = ioctl::opcode::read_write::<ContextInit>(b'd', 0x4b);

/// Creates the rendering context of an open virtio-gpu; buffers that are imported later belong to it.
///
/// # Errors
/// The error of the kernel: EEXIST if the context exists already; EINVAL if the kernel creates contexts itself.
///
/// # References
/// `drm/virtgpu_drm.h`, DRM_IOCTL_VIRTGPU_CONTEXT_INIT.
pub(super) fn virtgpu_context(card: impl AsFd) -> io::Result<()> {
    /// `VIRTGPU_CONTEXT_PARAM_CAPSET_ID`.
    const CAPSET_ID: u64 = 1;
    /// `VIRTIO_GPU_CAPSET_VIRGL2`: the capability set of contexts with textures.
    const VIRGL2: u64 = 2;
    let card: BorrowedFd<'_> = card.as_fd();
    let param = ContextParam {
        param: CAPSET_ID,
        value: VIRGL2,
    };
    let mut request = ContextInit {
        num_params: 1,
        pad: 0,
        ctx_set_params: (&raw const param).expose_provenance() as u64,
    };
    retry_interrupted(|| {
        // SAFETY: the structure is the one that the opcode takes; the kernel reads one parameter through its pointer, which is
        // valid during the call.
        unsafe {
            ioctl::ioctl(
                card,
                Updater::<CONTEXT_INIT, ContextInit>::new(&mut request),
            )
        }
    })
}

/// `struct drm_virtgpu_3d_transfer_to_host`, with the fields of its box.
#[repr(C)]
struct TransferToHost {
    bo_handle: u32,
    x: u32,
    y: u32,
    z: u32,
    width: u32,
    height: u32,
    depth: u32,
    level: u32,
    offset: u32,
    stride: u32,
    layer_stride: u32,
}

const TRANSFER_TO_HOST: ioctl::Opcode = ioctl::opcode::read_write::<TransferToHost>(b'd', 0x47);

/// Requests the transfer of a buffer's guest memory to its texture on the host. The kernel adds a fence to the buffer that
/// signals when the transfer has finished.
///
/// # Errors
/// The error of the kernel.
///
/// # References
/// `drm/virtgpu_drm.h`, DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST.
pub(super) fn virtgpu_transfer_to_host(
    card: impl AsFd,
    bo_handle: u32,
    (width, height): (u32, u32),
) -> io::Result<()> {
    let card: BorrowedFd<'_> = card.as_fd();
    let mut request = TransferToHost {
        bo_handle,
        x: 0,
        y: 0,
        z: 0,
        width,
        height,
        depth: 1,
        level: 0,
        offset: 0,
        // With a stride of 0 the host uses the stride of its texture.
        stride: 0,
        layer_stride: 0,
    };
    retry_interrupted(|| {
        // SAFETY: the structure is the one that the opcode takes and has no pointers; the kernel refuses an invalid GEM handle.
        unsafe {
            ioctl::ioctl(
                card,
                Updater::<TRANSFER_TO_HOST, TransferToHost>::new(&mut request),
            )
        }
    })
}

/// `struct drm_virtgpu_resource_create`.
#[repr(C)]
#[derive(Default)]
struct ResourceCreate {
    target: u32,
    format: u32,
    bind: u32,
    width: u32,
    height: u32,
    depth: u32,
    array_size: u32,
    last_level: u32,
    nr_samples: u32,
    flags: u32,
    bo_handle: u32,
    res_handle: u32,
    size: u32,
    stride: u32,
}

const RESOURCE_CREATE: ioctl::Opcode = ioctl::opcode::read_write::<ResourceCreate>(b'd', 0x44);

/// `VIRGL_FORMAT_B8G8R8A8_UNORM`, DRM's ARGB8888.
pub(super) const VIRGL_ARGB8888: u32 = 1;
/// `VIRGL_FORMAT_B8G8R8X8_UNORM`, DRM's XRGB8888.
pub(super) const VIRGL_XRGB8888: u32 = 2;

/// Creates a texture of a virtio-gpu with backing memory in the guest; returns its GEM handle.
///
/// # Errors
/// The error of the kernel.
///
/// # References
/// `drm/virtgpu_drm.h`, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE; `virgl_hw.h` for the targets and the bind flags.
pub(super) fn virtgpu_texture(
    card: impl AsFd,
    format: u32,
    (width, height): (u32, u32),
    size_bytes: u32,
) -> io::Result<u32> {
    /// `PIPE_TEXTURE_2D`.
    const TEXTURE_2D: u32 = 2;
    /// `VIRGL_BIND_RENDER_TARGET`, `_SAMPLER_VIEW` and `_SCANOUT`.
    const BIND: u32 = 1 << 1 | 1 << 3 | 1 << 18;
    let card: BorrowedFd<'_> = card.as_fd();
    let mut request = ResourceCreate {
        target: TEXTURE_2D,
        format,
        bind: BIND,
        width,
        height,
        depth: 1,
        array_size: 1,
        size: size_bytes,
        ..ResourceCreate::default()
    };
    retry_interrupted(|| {
        // SAFETY: the structure is the one that the opcode takes, and has no pointers.
        unsafe {
            ioctl::ioctl(
                card,
                Updater::<RESOURCE_CREATE, ResourceCreate>::new(&mut request),
            )
        }
    })?;
    Ok(request.bo_handle)
}
