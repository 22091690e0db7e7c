//! The description of a buffer that another process sent. It is not trusted until [`Buffer::import`](super::Buffer::import) has
//! checked it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use thiserror::Error;

use super::Buffer;
use super::dmabuf::{self, BufferIdentity, DmabufError};
use crate::SystemError;
use crate::model::{Extent, FormatModifier, Layout, LayoutError, PlaneLayout};

/// The description of one plane of a buffer.
#[derive(Debug)]
pub struct PlaneDescriptor {
    /// The file descriptor of the dma-buf that contains the plane. Planes may have different file descriptors of the same
    /// dma-buf.
    pub fd: OwnedFd,
    /// The offset of the plane in the dma-buf, in bytes.
    pub offset_bytes: u64,
    /// The stride: the bytes from one row to the next.
    pub stride_bytes: u32,
}

/// The description of a buffer: size, format and planes.
#[derive(Debug)]
pub struct Descriptor {
    /// Width and height in pixels.
    pub extent: Extent,
    /// Format and modifier.
    pub format: FormatModifier,
    /// The planes, in the order that the DRM format defines.
    pub planes: Vec<PlaneDescriptor>,
}

/// The description of a buffer is not valid.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The file descriptor of a plane is not a dma-buf.
    #[error("plane {plane}: {source}")]
    Dmabuf {
        /// The index of the plane.
        plane: usize,
        /// Why the file descriptor is not a dma-buf.
        source: DmabufError,
    },
    /// The planes do not match the format, or do not fit into their dma-bufs.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The description has no planes.
    #[error("the description of a buffer has no planes")]
    Empty,
    /// The number of file descriptors differs from the number of dma-bufs in the layout.
    #[error(
        "the layout has {expected} dma-bufs and {found} file descriptors came with it; give one for each dma-buf, in the order of the layout"
    )]
    Fds {
        /// The number of dma-bufs in the layout.
        expected: usize,
        /// The number of file descriptors.
        found: usize,
    },
    /// A file descriptor cannot be duplicated, since the process has none left.
    #[error("dup of a buffer's file descriptor failed: {0}")]
    Duplicate(SystemError),
}

crate::debug_as_display!(DescriptorError);

/// A description that has passed the checks, with one file descriptor for each dma-buf.
pub(super) struct CheckedDescriptor {
    pub(super) layout: Layout,
    pub(super) dmabufs: Vec<(OwnedFd, BufferIdentity)>,
}

impl Descriptor {
    /// Describes a buffer for another process. Each plane gets a duplicate of its file descriptor.
    ///
    /// # Errors
    /// [`DescriptorError::Duplicate`].
    pub fn of(buffer: &Buffer) -> Result<Self, DescriptorError> {
        let fds = (0..buffer.dmabuf_count()).filter_map(|memory| buffer.dmabuf_fd(memory));
        Self::from_borrowed(buffer.layout(), &fds.collect::<Vec<_>>())
    }

    /// Describes a buffer by a received layout and one file descriptor for each of its dma-bufs, in the order of the layout.
    ///
    /// This function does not check the description. [`Buffer::import`] does.
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
                fd: fcntl_dupfd_cloexec(fd, 0)
                    .map_err(|error| DescriptorError::Duplicate(error.into()))?,
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

    /// Checks the description against the sizes and identities of the dma-bufs that the kernel reports. If several file
    /// descriptors refer to one dma-buf, the first is kept and the others are closed.
    pub(super) fn check(self) -> Result<CheckedDescriptor, DescriptorError> {
        if self.planes.is_empty() {
            return Err(DescriptorError::Empty);
        }
        let mut dmabufs: Vec<(OwnedFd, BufferIdentity)> = Vec::new();
        let mut sizes: Vec<u64> = Vec::new();
        let mut planes = Vec::with_capacity(self.planes.len());
        for (plane, described) in self.planes.into_iter().enumerate() {
            let (identity, size_bytes) = dmabuf::identify(&described.fd)
                .map_err(|source| DescriptorError::Dmabuf { plane, source })?;
            let memory = dmabufs
                .iter()
                .position(|(_, known)| *known == identity)
                .unwrap_or_else(|| {
                    dmabufs.push((described.fd, identity));
                    sizes.push(size_bytes);
                    dmabufs.len().saturating_sub(1)
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
        Ok(CheckedDescriptor {
            layout: Layout::new(self.extent, self.format, planes, sizes)?,
            dmabufs,
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
        // The other end of the socket pair reads the end of the stream only if the file descriptor was closed.
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
