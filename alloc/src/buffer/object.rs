//! The buffer itself: owned dma-bufs and what lies where in them.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::descriptor::{Descriptor, DescriptorError};
use super::dmabuf::{self, BufferIdentity, DmabufError};
use super::name::name_of;
use super::{AccessError, Mapping, sys};
use crate::model::{Layout, LayoutError};

/// A picture's memory: one dma-buf or several, with their layout. Clones are cheap and share the same fds.
#[derive(Clone, Debug)]
pub struct Buffer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    memories: Vec<(OwnedFd, BufferIdentity)>,
    origin: String,
}

/// Why an allocation did not turn into a buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AssembleError {
    /// An fd that a source gave is no dma-buf.
    #[error(transparent)]
    Dmabuf(#[from] DmabufError),
    /// What the source gave is smaller than the plan.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Buffer {
    /// Takes a buffer that somebody else described, after checking every claim against the kernel.
    ///
    /// # Errors
    /// [`DescriptorError`] with the plane and the field; all fds are closed.
    pub fn import(descriptor: Descriptor) -> Result<Self, DescriptorError> {
        Self::described(descriptor, "another process")
    }

    /// Makes a buffer of what `origin` described, plane by plane; planes in one dma-buf share one memory.
    pub(crate) fn described(descriptor: Descriptor, origin: &str) -> Result<Self, DescriptorError> {
        let checked = descriptor.check()?;
        let inner = Inner {
            layout: checked.layout,
            memories: checked.memories,
            origin: origin.to_owned(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Makes a buffer of what a source allocated: `memories` in the order in which `layout` counts them.
    ///
    /// The sizes are asked of the kernel, so that a source that gave less than the layout needs is found here.
    #[allow(
        dead_code,
        reason = "each backend is a feature; with none there is no source"
    )]
    pub(crate) fn assemble(
        layout: &Layout,
        memories: Vec<OwnedFd>,
        origin: &str,
    ) -> Result<Self, AssembleError> {
        let mut identified = Vec::with_capacity(memories.len());
        let mut sizes = Vec::with_capacity(memories.len());
        for fd in memories {
            let (identity, size_bytes) = dmabuf::identify(&fd)?;
            identified.push((fd, identity));
            sizes.push(size_bytes);
        }
        let layout = layout.with_memory_sizes(sizes)?;
        let buffer = Self {
            inner: Arc::new(Inner {
                layout,
                memories: identified,
                origin: origin.to_owned(),
            }),
        };
        // For who looks at bufinfo or fdinfo; a kernel that has no names loses nothing.
        buffer.set_name(&name_of(buffer.layout()));
        Ok(buffer)
    }

    /// Names the buffer's memory for people who look at what is allocated (bufinfo, fdinfo). The kernel keeps 31 bytes; what
    /// stands behind them or behind a zero is left out.
    ///
    /// Returns whether the kernel took it; kernels before 5.3 have no names.
    pub fn set_name(&self, name: &str) -> bool {
        let bytes: Vec<u8> = name
            .bytes()
            .take_while(|byte| *byte != 0)
            .take(sys::LONGEST_NAME)
            .collect();
        let Ok(name) = CString::new(bytes) else {
            return false;
        };
        self.inner
            .memories
            .iter()
            .all(|(fd, _)| sys::set_name(fd.as_fd(), &name).is_ok())
    }

    /// Whether this is the only clone.
    pub(super) fn is_only_clone(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }

    /// Whether no other clone, process, mapping or device has any of its memory; false where the kernel does not tell.
    pub(super) fn is_held_here_alone(&self) -> bool {
        self.is_only_clone()
            && self
                .inner
                .memories
                .iter()
                .all(|(fd, _)| dmabuf::reference_count(fd) == Some(1))
    }

    /// Where each plane lies.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// How many dma-bufs there are.
    #[must_use]
    pub fn memory_count(&self) -> usize {
        self.inner.memories.len()
    }

    /// The fd of a memory; `None` past the last.
    #[must_use]
    pub fn memory_fd(&self, memory: usize) -> Option<BorrowedFd<'_>> {
        self.inner.memories.get(memory).map(|(fd, _)| fd.as_fd())
    }

    /// The fd of a plane's memory; `None` past the last plane.
    #[must_use]
    pub fn plane_fd(&self, plane: usize) -> Option<BorrowedFd<'_>> {
        self.memory_fd(self.layout().planes().get(plane)?.memory)
    }

    /// Which buffer this is: the identity of its first memory.
    #[must_use]
    pub fn identity(&self) -> BufferIdentity {
        self.inner
            .memories
            .first()
            .map_or(BufferIdentity(0), |(_, identity)| *identity)
    }

    /// The identity of each memory.
    pub fn identities(&self) -> impl Iterator<Item = BufferIdentity> + '_ {
        self.inner.memories.iter().map(|(_, identity)| *identity)
    }

    /// Where the memory came from, for messages.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.inner.origin
    }

    /// The kernel's name for the exporter of the first memory, such as `virtio_gpu`; `None` where `/proc` does not tell.
    #[must_use]
    pub fn exporter(&self) -> Option<String> {
        dmabuf::exporter(self.memory_fd(0)?)
    }

    /// Maps the buffer for the CPU. Nothing may be touched before [`Mapping::access`].
    ///
    /// Keep the mapping when frames come again and again: mapping anew for each one costs more than the access.
    ///
    /// # Errors
    /// [`AccessError::Map`].
    pub fn map(&self) -> Result<Mapping, AccessError> {
        Mapping::new(self.clone())
    }
}
