//! A buffer as somebody else describes it: untrusted until [`Buffer::import`](super::Buffer::import) has checked it.

use std::os::fd::OwnedFd;

use thiserror::Error;

use super::dmabuf::{self, BufferIdentity, DmabufError};
use crate::model::{Extent, FormatModifier, Layout, LayoutError, PlaneLayout};

/// One plane as it is described.
#[derive(Debug)]
pub struct PlaneDescriptor {
    /// The fd of the plane's memory; planes of one buffer may come as different fds of one dma-buf.
    pub fd: OwnedFd,
    /// Bytes from the start of the dma-buf to the plane.
    pub offset_bytes: u32,
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
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
}

/// A described buffer whose numbers have been checked.
pub(super) struct Checked {
    pub(super) layout: Layout,
    pub(super) memories: Vec<(OwnedFd, BufferIdentity)>,
}

impl Descriptor {
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
                    offset_bytes: offset_bytes.into(),
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
}
