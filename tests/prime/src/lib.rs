//! PRIME for Mesa's drm-shims: a library that is preloaded in front of a shim (`LD_PRELOAD=libcovalent_prime.so:lib….so`).
//!
//! A drm-shim replaces the ioctls of a kernel driver, so that the vendor's user-space driver runs without the hardware. It has no
//! DRM_IOCTL_PRIME_HANDLE_TO_FD and no DRM_IOCTL_PRIME_FD_TO_HANDLE, so its buffer objects cannot leave the process. This library
//! answers both, and passes every other call to the shim:
//!
//! ```text
//!  driver ── ioctl, mmap, close, dup, fcntl ──▶ this library ──▶ shim ──▶ C library
//!                                                │      ▲
//!                      PRIME_HANDLE_TO_FD: UDMABUF_CREATE on the pages of the buffer object
//!                      PRIME_FD_TO_HANDLE: a buffer object of the dma-buf's size, whose mappings are those of the dma-buf
//! ```
//!
//! The library also keeps what a kernel driver keeps with an object and a shim forgets: the size, and the metadata of the driver
//! (tiling flags, modifiers and placement). Only the same driver for the same GPU reads the metadata of another process, as in
//! the kernel, where both processes have the same object.
//!
//! The environment variable `COVALENT_PRIME_STATE` names a folder that the processes share and in which the metadata is kept.
//! Without it, the metadata stays in its process.
//!
//! On a machine without `/dev/udmabuf` a memfd replaces the dma-buf, so that drivers can exchange it, and nothing else accepts
//! it.
//!
//! # References
//! Mesa, `src/drm-shim`; the kernel's `drivers/gpu/drm/drm_prime.c` and `include/uapi/linux/udmabuf.h`.

mod driver;
mod export;
mod files;
mod metadata;
mod objects;
mod prime;
mod sys;
