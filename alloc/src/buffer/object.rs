//! The type [`Buffer`]: owned dma-bufs, with the layout of the planes in them.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::fcntl_dupfd_cloexec;

use super::descriptor::{Descriptor, DescriptorError};
use super::dmabuf::{self, BufferIdentity, DmabufError};
use super::name::name_of;
use super::{AccessError, Mapping, sys};
use crate::model::{Layout, LayoutError, Rect};

/// The memory of a picture: one or several dma-bufs, with their layout. A clone is cheap and shares the file descriptors.
#[derive(Clone, Debug)]
pub struct Buffer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    dmabufs: Vec<(OwnedFd, BufferIdentity)>,
    origin: String,
}

/// Why the dma-bufs that a source allocated cannot be used as a buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AssembleError {
    /// A file descriptor of the source is not a dma-buf.
    #[error(transparent)]
    Dmabuf(#[from] DmabufError),
    /// A dma-buf of the source is smaller than the layout requires.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Buffer {
    /// Imports a buffer that another process described, after a check of every claim against the kernel.
    ///
    /// # Errors
    /// [`DescriptorError`] with the plane and the field. After an error all file descriptors are closed.
    pub fn import(descriptor: Descriptor) -> Result<Self, DescriptorError> {
        Self::described(descriptor, "another process")
    }

    /// Creates a buffer from a description that comes from `origin`, a source or process. Planes in the same dma-buf share its
    /// file descriptor.
    pub(crate) fn described(descriptor: Descriptor, origin: &str) -> Result<Self, DescriptorError> {
        let checked = descriptor.check()?;
        let inner = Inner {
            layout: checked.layout,
            dmabufs: checked.dmabufs,
            origin: origin.to_owned(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Creates a buffer from the dma-bufs that a source allocated, in the order of the layout.
    ///
    /// The sizes are read from the kernel, and a dma-buf that is smaller than the layout requires is an error.
    #[allow(
        dead_code,
        reason = "each backend is a feature, and without backends no source allocates"
    )]
    pub(crate) fn assemble(
        layout: &Layout,
        fds: Vec<OwnedFd>,
        origin: &str,
    ) -> Result<Self, AssembleError> {
        let mut identified = Vec::with_capacity(fds.len());
        let mut sizes = Vec::with_capacity(fds.len());
        for fd in fds {
            let (identity, size_bytes) = dmabuf::identify(&fd)?;
            identified.push((fd, identity));
            sizes.push(size_bytes);
        }
        let layout = layout.with_memory_sizes(sizes)?;
        let buffer = Self {
            inner: Arc::new(Inner {
                layout,
                dmabufs: identified,
                origin: origin.to_owned(),
            }),
        };
        // The kernel shows the name in bufinfo and fdinfo. Kernels before 5.3 have no names, so an error is ignored.
        buffer.set_name(&name_of(buffer.layout()));
        Ok(buffer)
    }

    /// Returns the same buffer with another visible rectangle. It is for buffers from a [`Descriptor`], which contains no visible
    /// rectangle. If other clones of the buffer exist, the file descriptors are duplicated.
    ///
    /// # Errors
    /// [`DescriptorError::Layout`] if the rectangle is not inside of the coded extent; [`DescriptorError::Duplicate`].
    pub fn with_visible(self, visible: Rect) -> Result<Self, DescriptorError> {
        if self.layout().visible() == visible {
            return Ok(self);
        }
        let inner = match Arc::try_unwrap(self.inner) {
            Ok(only) => only,
            Err(shared) => Inner {
                layout: shared.layout.clone(),
                dmabufs: shared
                    .dmabufs
                    .iter()
                    .map(|(fd, identity)| Ok((fcntl_dupfd_cloexec(fd, 0)?, *identity)))
                    .collect::<rustix::io::Result<_>>()
                    .map_err(|error| DescriptorError::Duplicate(error.into()))?,
                origin: shared.origin.clone(),
            },
        };
        let inner = Inner {
            layout: inner.layout.with_visible(visible)?,
            ..inner
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Sets the name of the dma-bufs, which bufinfo and fdinfo show. The kernel keeps 31 bytes, so a longer name is cut, and so
    /// is a name with a zero byte.
    ///
    /// Returns whether the kernel accepted the name. Kernels before 5.3 have no names.
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_SET_NAME_B.
    pub fn set_name(&self, name: &str) -> bool {
        let bytes: Vec<u8> = name
            .bytes()
            .take_while(|byte| *byte != 0)
            .take(sys::MAX_NAME_BYTES)
            .collect();
        let Ok(name) = CString::new(bytes) else {
            return false;
        };
        self.inner
            .dmabufs
            .iter()
            .all(|(fd, _)| sys::set_name(fd.as_fd(), &name).is_ok())
    }

    /// Returns whether this is the only clone.
    pub(super) fn is_only_clone(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }

    /// Returns whether no other clone, process, mapping or device has a reference to any of the dma-bufs; `false` if the kernel
    /// does not report the number of references.
    pub(super) fn is_exclusively_held(&self) -> bool {
        self.is_only_clone()
            && self
                .inner
                .dmabufs
                .iter()
                .all(|(fd, _)| dmabuf::reference_count(fd) == Some(1))
    }

    /// Returns the layout of the planes.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Returns the number of dma-bufs.
    #[must_use]
    pub fn dmabuf_count(&self) -> usize {
        self.inner.dmabufs.len()
    }

    /// Returns the file descriptor of the dma-buf with this index; `None` after the last.
    #[must_use]
    pub fn dmabuf_fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.inner.dmabufs.get(index).map(|(fd, _)| fd.as_fd())
    }

    /// Returns the file descriptor of the dma-buf that contains a plane; `None` after the last plane.
    #[must_use]
    pub fn plane_fd(&self, plane: usize) -> Option<BorrowedFd<'_>> {
        self.dmabuf_fd(self.layout().planes().get(plane)?.memory)
    }

    /// Returns the identity of the first dma-buf, which identifies the buffer.
    #[must_use]
    pub fn identity(&self) -> BufferIdentity {
        self.inner
            .dmabufs
            .first()
            .map_or(BufferIdentity(0), |(_, identity)| *identity)
    }

    /// Returns the identity of each dma-buf.
    pub fn identities(&self) -> impl Iterator<Item = BufferIdentity> + '_ {
        self.inner.dmabufs.iter().map(|(_, identity)| *identity)
    }

    /// Returns the source or process that the buffer came from, for messages.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.inner.origin
    }

    /// Returns the name of the exporter of the first dma-buf, such as `virtio_gpu`; `None` if `/proc` does not show it.
    #[must_use]
    pub fn exporter(&self) -> Option<String> {
        dmabuf::exporter(self.dmabuf_fd(0)?)
    }

    /// Maps the buffer for the CPU. The CPU may read or write only after [`Mapping::access`].
    ///
    /// Keep the mapping of a buffer that is used for many frames: a new mapping for each frame costs more than the access.
    ///
    /// # Errors
    /// [`AccessError::Map`].
    pub fn map(&self) -> Result<Mapping, AccessError> {
        Mapping::new(self.clone())
    }
}
