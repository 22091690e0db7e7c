//! Buffers that are there: dma-bufs, what comes in from outside, and the CPU's access to them.

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
pub use pool::{Owner, Pool, Pooled};
pub use traffic::{CpuTraffic, cpu_traffic};

use thiserror::Error;

/// Why the CPU could not get at a buffer.
#[derive(Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The memory cannot be mapped.
    #[error("memory {memory} of a buffer from {origin} ({bytes} bytes) cannot be mapped: {source}")]
    Map {
        /// Index of the memory.
        memory: usize,
        /// Where the buffer came from.
        origin: String,
        /// Its size.
        bytes: u64,
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
    /// The exporter would not begin or end the access.
    #[error("DMA_BUF_IOCTL_SYNC ({step}) on a buffer from {origin} failed: {source}")]
    Sync {
        /// `start` or `end`.
        step: &'static str,
        /// Where the buffer came from.
        origin: String,
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
    /// What has to be waited for cannot be.
    #[error("a buffer from {origin} cannot be waited for: {source}")]
    Fences {
        /// Where the buffer came from.
        origin: String,
        /// What went wrong.
        #[source]
        source: Box<crate::sync::SyncPointError>,
    },
    /// The access lies outside of the plane.
    #[error("plane {plane}: {length} bytes at {offset} lie outside of its {size} bytes")]
    OutOfBounds {
        /// Index of the plane.
        plane: usize,
        /// Where the access begins, from the plane's start.
        offset: u64,
        /// How long it is.
        length: usize,
        /// What the plane has.
        size: u64,
    },
    /// The fd does not allow writing.
    #[error(
        "a buffer from {origin} came as a read-only fd; its exporter has to give one with O_RDWR to be written"
    )]
    ReadOnly {
        /// Where the buffer came from.
        origin: String,
    },
    /// The guard was taken for the other direction.
    #[error("this guard is for {0:?} alone")]
    Direction(CpuAccess),
}

crate::debug_as_display!(AccessError);
