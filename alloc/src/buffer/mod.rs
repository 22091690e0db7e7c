//! Buffers: dma-bufs with their layout, untrusted descriptions of them, and CPU access.

mod access;
mod cache;
mod descriptor;
mod dmabuf;
mod map;
mod name;
mod object;
mod pool;
mod sys;
mod traffic;

pub use access::{CpuAccess, MapGuard};
pub use cache::ImportCache;
pub use descriptor::{Descriptor, DescriptorError, PlaneDescriptor};
pub use dmabuf::{BufferIdentity, DmabufError, exporter, identify, reference_count};
pub use map::Mapping;
pub use name::{NamedLayout, named_layout};
pub use object::Buffer;
pub use pool::{ContentOwner, Pool, Pooled};
pub use traffic::{CpuTraffic, cpu_traffic};

use thiserror::Error;

/// The error of a CPU access to a buffer.
#[derive(Error)]
#[non_exhaustive]
pub enum AccessError {
    /// mmap failed.
    #[error("mmap of dma-buf {memory} of a buffer from {origin} ({bytes} bytes) failed: {source}")]
    Map {
        /// The index of the dma-buf in the buffer.
        memory: usize,
        /// The source or process that the buffer came from.
        origin: String,
        /// The size of the dma-buf in bytes.
        bytes: u64,
        /// The kernel's error.
        source: crate::SystemError,
    },
    /// The exporter refused to begin or end the access.
    #[error("DMA_BUF_IOCTL_SYNC ({step}) on a buffer from {origin} failed: {source}")]
    Sync {
        /// The step of the access that failed: `start` or `end`.
        step: &'static str,
        /// The source or process that the buffer came from.
        origin: String,
        /// The kernel's error.
        source: crate::SystemError,
    },
    /// The implicit fences of the buffer cannot be read, or a fence cannot be waited for.
    #[error("the fences of a buffer from {origin} cannot be read: {source}")]
    Fences {
        /// The source or process that the buffer came from.
        origin: String,
        /// The error of the fence query or of the wait.
        #[source]
        source: Box<crate::sync::SyncPointError>,
    },
    /// The access is outside of the plane.
    #[error(
        "an access of {length} bytes at offset {offset} of plane {plane} is outside of its {size} bytes"
    )]
    OutOfBounds {
        /// The index of the plane.
        plane: usize,
        /// The offset of the first byte of the access from the start of the plane.
        offset: u64,
        /// The length of the access in bytes.
        length: usize,
        /// The size of the plane in bytes.
        size: u64,
    },
    /// The file descriptor does not permit writing.
    #[error(
        "a buffer from {origin} has a read-only file descriptor; export it with O_RDWR to write"
    )]
    ReadOnly {
        /// The source or process that the buffer came from.
        origin: String,
    },
    /// The guard was created for another direction than the access.
    #[error(
        "the guard permits only CpuAccess::{0:?}; begin the access with the direction that is needed, or with ReadWrite"
    )]
    Direction(CpuAccess),
}

crate::debug_as_display!(AccessError);
