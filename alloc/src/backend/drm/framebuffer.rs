//! A buffer that a card can show.

use std::os::fd::BorrowedFd;
use std::slice;

use drm::buffer::{self, DrmFourcc, DrmModifier, PlanarBuffer};
use drm::control::{Device as _, FbCmd2Flags, framebuffer};

use super::DrmError;
use super::card::Card;
use crate::buffer::{Buffer, BufferIdentity};
use crate::model::{Layout, Modifier};
use crate::trace::{self, Action};

/// A framebuffer of one card over a shared buffer; removed from the card on drop.
///
/// Removing one that a plane shows turns the plane off: keep it until the display shows another.
#[derive(Debug)]
pub struct Framebuffer {
    card: Card,
    handle: framebuffer::Handle,
    buffer: Buffer,
}

impl Framebuffer {
    /// The card's object, for a commit.
    #[must_use]
    pub fn handle(&self) -> framebuffer::Handle {
        self.handle
    }

    /// The buffer behind it, which lives as long as it does.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Which buffer it shows.
    #[must_use]
    pub fn identity(&self) -> BufferIdentity {
        self.buffer.identity()
    }
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        if let Err(error) = self.card.destroy_framebuffer(self.handle) {
            // The card may be gone; then its objects are as well.
            tracing::debug!(%error, "RMFB failed");
        }
    }
}

impl Card {
    /// Makes a buffer one that this card can show: PRIME import, then ADDFB2.
    ///
    /// Pitch, offsets and sizes were checked when the buffer was made, for every card alike: virtio-gpu takes whatever it
    /// is told, and others answer EINVAL without a word.
    ///
    /// # Errors
    /// [`DrmError::Import`] when the card does not take the memory, [`DrmError::Unsuitable`] when the format cannot be said
    /// to it, [`DrmError::Request`] when ADDFB2 is refused. No handle is left.
    pub fn framebuffer(&self, buffer: &Buffer) -> Result<Framebuffer, DrmError> {
        let layout = buffer.layout();
        let unsuitable = |why| DrmError::Unsuitable {
            card: self.path().to_owned(),
            format: layout.format(),
            why,
        };
        let fourcc = DrmFourcc::try_from(layout.format().fourcc.0)
            .map_err(|_| unsuitable("the format is none that DRM names"))?;
        let modifier = layout.format().modifier;
        let explicit = self.has_modifiers() && !modifier.is_implicit();
        if !explicit && modifier != Modifier::LINEAR && !modifier.is_implicit() {
            return Err(unsuitable(
                "the card knows no modifiers, and this layout needs one",
            ));
        }
        let begun = trace::begin();
        let guard = self.lock_handles();
        let mut opened: Vec<buffer::Handle> = Vec::with_capacity(buffer.dmabuf_count());
        let result = self.import_all(buffer, &mut opened).and_then(|()| {
            let described = Described::new(layout, fourcc, explicit, &opened)
                .ok_or_else(|| unsuitable("more than four planes, or an offset past 4 GiB"))?;
            let flags = if explicit {
                FbCmd2Flags::MODIFIERS
            } else {
                FbCmd2Flags::empty()
            };
            self.add_planar_framebuffer(&described, flags)
                .map_err(|source| self.failed("ADDFB2", source))
        });
        // The framebuffer holds the memory by itself.
        self.close_each(opened);
        drop(guard);
        let handle = result?;
        trace::end(
            self.driver(),
            Action::Import,
            slice::from_ref(buffer),
            begun,
        );
        Ok(Framebuffer {
            card: self.clone(),
            handle,
            buffer: buffer.clone(),
        })
    }

    /// Imports one memory of a buffer. One that the card has already has the same handle again, and the caller closes it once.
    pub(crate) fn import_memory(
        &self,
        buffer: &Buffer,
        fd: BorrowedFd<'_>,
    ) -> Result<buffer::Handle, DrmError> {
        self.prime_fd_to_buffer(fd)
            .map_err(|source| DrmError::Import {
                card: self.path().to_owned(),
                driver: self.driver().to_owned(),
                origin: buffer.source_name().to_owned(),
                ability: self.import_ability().clone(),
                source,
            })
    }

    fn import_all(
        &self,
        buffer: &Buffer,
        opened: &mut Vec<buffer::Handle>,
    ) -> Result<(), DrmError> {
        for memory in 0..buffer.dmabuf_count() {
            let Some(fd) = buffer.dmabuf_fd(memory) else {
                continue;
            };
            let handle = self.import_memory(buffer, fd)?;
            opened.push(handle);
        }
        Ok(())
    }
}

/// A layout in the words of ADDFB2.
struct Described {
    size: (u32, u32),
    fourcc: DrmFourcc,
    modifier: Option<DrmModifier>,
    pitches: [u32; 4],
    offsets: [u32; 4],
    handles: [Option<buffer::Handle>; 4],
}

impl Described {
    fn new(
        layout: &Layout,
        fourcc: DrmFourcc,
        explicit: bool,
        memories: &[buffer::Handle],
    ) -> Option<Self> {
        let mut described = Self {
            size: (layout.extent().width(), layout.extent().height()),
            fourcc,
            modifier: explicit.then(|| DrmModifier::from(layout.format().modifier.0)),
            pitches: [0; 4],
            offsets: [0; 4],
            handles: [None; 4],
        };
        for (index, plane) in layout.planes().iter().enumerate() {
            *described.pitches.get_mut(index)? = plane.stride_bytes;
            *described.offsets.get_mut(index)? = u32::try_from(plane.offset_bytes).ok()?;
            *described.handles.get_mut(index)? = Some(*memories.get(plane.memory)?);
        }
        Some(described)
    }
}

impl PlanarBuffer for Described {
    fn size(&self) -> (u32, u32) {
        self.size
    }
    fn format(&self) -> DrmFourcc {
        self.fourcc
    }
    fn modifier(&self) -> Option<DrmModifier> {
        self.modifier
    }
    fn pitches(&self) -> [u32; 4] {
        self.pitches
    }
    fn handles(&self) -> [Option<buffer::Handle>; 4] {
        self.handles
    }
    fn offsets(&self) -> [u32; 4] {
        self.offsets
    }
}
