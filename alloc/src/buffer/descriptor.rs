//! A buffer as somebody else describes it: untrusted until [`Buffer::import`](super::Buffer::import) has checked it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use thiserror::Error;

use super::Buffer;
use super::dmabuf::{self, BufferIdentity, DmabufError};
use crate::model::{Extent, FormatModifier, Layout, LayoutError, PlaneLayout};

/// One plane as it is described.
#[derive(Debug)]
pub struct PlaneDescriptor {
    /// The fd of the plane's memory; planes of one buffer may come as different fds of one dma-buf.
    pub fd: OwnedFd,
    /// Bytes from the start of the dma-buf to the plane.
    pub offset_bytes: u64,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

/// A buffer as it is described.
#[derive(Debug)]
pub struct Descriptor {
    /// Width and height in pixels.
    pub extent: Extent,
    /// Format and modifier.
    pub format: FormatModifier,
    /// Its planes, as DRM counts them.
    pub planes: Vec<PlaneDescriptor>,
}

/// Why a description is not believed.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// A plane's fd is no dma-buf.
    #[error("plane {plane}: {source}")]
    Dmabuf {
        /// Index of the plane.
        plane: usize,
        /// What is wrong with its fd.
        source: DmabufError,
    },
    /// The planes do not fit the format or their memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No planes at all.
    #[error("a buffer without planes")]
    Empty,
    /// Another number of fds than the layout has memories.
    #[error(
        "the layout has {expected} memories and {found} fds came with it; one fd a memory is needed, in the layout's order"
    )]
    Fds {
        /// How many memories there are.
        expected: usize,
        /// How many fds there are.
        found: usize,
    },
    /// An fd cannot be duplicated: the process has none left.
    #[error("an fd of a buffer cannot be duplicated: {0}")]
    Duplicate(Errno),
}

crate::debug_as_display!(DescriptorError);

/// A described buffer whose numbers have been checked.
pub(super) struct Checked {
    pub(super) layout: Layout,
    pub(super) memories: Vec<(OwnedFd, BufferIdentity)>,
}

impl Descriptor {
    /// Describes a buffer that another process is to have: each plane with an fd of its own.
    ///
    /// # Errors
    /// [`DescriptorError::Duplicate`].
    pub fn of(buffer: &Buffer) -> Result<Self, DescriptorError> {
        let fds = (0..buffer.memory_count()).filter_map(|memory| buffer.memory_fd(memory));
        Self::from_borrowed(buffer.layout(), &fds.collect::<Vec<_>>())
    }

    /// Describes a buffer by a layout that was received, and the fds of its memories in their order.
    ///
    /// Nothing of it is believed yet: [`Buffer::import`] asks the kernel.
    ///
    /// # Errors
    /// [`DescriptorError::Fds`], [`DescriptorError::Duplicate`].
    pub fn new(layout: &Layout, fds: Vec<OwnedFd>) -> Result<Self, DescriptorError> {
        Self::from_borrowed(layout, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>())
    }

    fn from_borrowed(layout: &Layout, fds: &[BorrowedFd<'_>]) -> Result<Self, DescriptorError> {
        let expected = layout.memory_sizes().len();
        let wrong = DescriptorError::Fds {
            expected,
            found: fds.len(),
        };
        if fds.len() != expected {
            return Err(wrong);
        }
        let planes = layout.planes().iter().map(|plane| {
            let fd = fds.get(plane.memory).ok_or_else(|| wrong.clone())?;
            Ok(PlaneDescriptor {
                fd: fcntl_dupfd_cloexec(fd, 0).map_err(DescriptorError::Duplicate)?,
                offset_bytes: plane.offset_bytes,
                stride_bytes: plane.stride_bytes,
            })
        });
        Ok(Self {
            extent: layout.extent(),
            format: layout.format(),
            planes: planes.collect::<Result<_, DescriptorError>>()?,
        })
    }

    /// Checks the description against the kernel; fds of the same dma-buf are merged and the spare ones closed.
    pub(super) fn check(self) -> Result<Checked, DescriptorError> {
        if self.planes.is_empty() {
            return Err(DescriptorError::Empty);
        }
        let mut memories: Vec<(OwnedFd, BufferIdentity)> = Vec::new();
        let mut sizes: Vec<u64> = Vec::new();
        let mut planes = Vec::with_capacity(self.planes.len());
        for (plane, described) in self.planes.into_iter().enumerate() {
            let (identity, size_bytes) = dmabuf::identify(&described.fd)
                .map_err(|source| DescriptorError::Dmabuf { plane, source })?;
            let memory = memories
                .iter()
                .position(|(_, known)| *known == identity)
                .unwrap_or_else(|| {
                    memories.push((described.fd, identity));
                    sizes.push(size_bytes);
                    memories.len().saturating_sub(1)
                });
            planes.push((memory, described.offset_bytes, described.stride_bytes));
        }
        let planes = planes
            .into_iter()
            .enumerate()
            .map(|(plane, (memory, offset_bytes, stride_bytes))| {
                let rows = self
                    .format
                    .fourcc
                    .info()
                    .and_then(|info| info.planes.get(plane))
                    .map_or(0, |shape| shape.rows(self.extent.height()));
                let size_bytes = u64::from(stride_bytes)
                    .checked_mul(u64::from(rows))
                    .ok_or(LayoutError::Overflow { plane })?;
                Ok(PlaneLayout {
                    memory,
                    offset_bytes,
                    stride_bytes,
                    size_bytes,
                })
            })
            .collect::<Result<Vec<_>, LayoutError>>()?;
        Ok(Checked {
            layout: Layout::new(self.extent, self.format, planes, sizes)?,
            memories,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fourcc;

    #[test]
    fn descriptor_of_a_socket_is_refused_and_its_fd_closed() {
        let (given, mut kept) = std::os::unix::net::UnixStream::pair().unwrap();
        let descriptor = Descriptor {
            extent: Extent::new(8, 8).unwrap(),
            format: FormatModifier::linear(Fourcc::XRGB8888),
            planes: vec![PlaneDescriptor {
                fd: given.into(),
                offset_bytes: 0,
                stride_bytes: 32,
            }],
        };
        assert!(matches!(
            descriptor.check().map(|_| ()),
            Err(DescriptorError::Dmabuf {
                plane: 0,
                source: DmabufError::NotDmabuf { .. }
            })
        ));
        // The other end sees the end of the stream only when no fd of this end is left.
        assert_eq!(std::io::Read::read(&mut kept, &mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn descriptor_with_too_few_fds_is_refused() {
        let extent = Extent::new(8, 8).unwrap();
        let layout = Layout::linear(extent, Fourcc::XRGB8888, 1, 0).unwrap();
        let refused = Descriptor::new(&layout, Vec::new()).map(|_| ());
        assert_eq!(
            refused,
            Err(DescriptorError::Fds {
                expected: 1,
                found: 0
            })
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        let described = Descriptor::new(&layout, vec![file.into()]).unwrap();
        assert_eq!(described.planes.len(), 1);
        assert_eq!(described.planes[0].stride_bytes, 32);
    }
}
