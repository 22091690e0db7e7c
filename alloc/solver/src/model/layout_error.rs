//! The errors of [`Layout::new`](super::Layout::new) and [`Layout::linear`](super::Layout::linear).

use thiserror::Error;

use super::{Extent, Fourcc, Rect};

/// Why planes are not a valid layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The format's linear layout is not known.
    #[error("the linear layout of format {0} is not known")]
    UnknownFormat(Fourcc),
    /// The number of planes differs from the number of the format's planes.
    #[error("{fourcc} has {expected} planes, and {found} were given")]
    PlaneCount {
        /// The format.
        fourcc: Fourcc,
        /// The number of planes of the format.
        expected: usize,
        /// The number of planes that were given.
        found: usize,
    },
    /// The stride is less than the bytes of a row.
    #[error(
        "plane {plane}: a stride of {stride_bytes} bytes does not hold a row of {row_bytes} bytes"
    )]
    Stride {
        /// The index of the plane.
        plane: usize,
        /// The stride in bytes.
        stride_bytes: u32,
        /// The number of bytes in a row, without padding.
        row_bytes: u32,
    },
    /// The plane ends after the end of its dma-buf.
    #[error(
        "plane {plane}: offset {offset_bytes} and {size_bytes} bytes of rows end after the {memory_bytes} bytes of its dma-buf"
    )]
    OutOfBounds {
        /// The index of the plane.
        plane: usize,
        /// The offset of the plane in bytes.
        offset_bytes: u64,
        /// The number of bytes that the plane needs from its offset on.
        size_bytes: u64,
        /// The size of the dma-buf in bytes.
        memory_bytes: u64,
    },
    /// The plane refers to a dma-buf that is not in the list.
    #[error("plane {plane} refers to dma-buf {memory}, and there are {dmabufs}")]
    NoMemory {
        /// The index of the plane.
        plane: usize,
        /// The index of the dma-buf to which the plane refers.
        memory: usize,
        /// The number of dma-bufs in the list.
        dmabufs: usize,
    },
    /// The end of the plane, computed from offset, stride and rows, overflows.
    #[error("plane {plane}: its offset, stride and rows overflow")]
    Overflow {
        /// The index of the plane.
        plane: usize,
    },
    /// The sum of the dma-bufs' sizes overflows 64 bits.
    #[error("the sum of the dma-bufs' sizes overflows 64 bits")]
    Uncountable,
    /// The visible rectangle is not inside of the coded extent.
    #[error("the picture, {visible}, is not inside of the coded size, {extent}")]
    Visible {
        /// The visible rectangle.
        visible: Rect,
        /// The coded extent.
        extent: Extent,
    },
    /// The stride alignment in bytes is not supported.
    #[error("a stride alignment of {0} bytes is not supported: it has to be from 1 byte to 1 MiB")]
    Alignment(u32),
}
