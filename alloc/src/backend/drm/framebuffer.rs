//! Framebuffers: buffers that a card can scan out.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::slice;

use drm::buffer;
use drm::control::{Device as _, FbCmd2Flags, framebuffer, from_u32};

use super::DrmError;
use super::card::Card;
use crate::buffer::{Buffer, BufferIdentity};
use crate::model::{Layout, Modifier, Rect};
use crate::trace::{self, Action};

/// A DRM framebuffer of one card with the memory of a buffer; removed (RMFB) on drop.
///
/// RMFB of a framebuffer that a plane scans out disables the plane, so keep this value until the plane scans out another
/// framebuffer.
#[derive(Debug)]
pub struct Framebuffer {
    card: Card,
    handle: framebuffer::Handle,
    buffer: Buffer,
}

impl Framebuffer {
    /// Returns the framebuffer's handle, for a commit.
    #[must_use]
    pub fn handle(&self) -> framebuffer::Handle {
        self.handle
    }

    /// Returns the buffer, which lives as long as the framebuffer.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns the identity of the buffer.
    #[must_use]
    pub fn identity(&self) -> BufferIdentity {
        self.buffer.identity()
    }
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        if let Err(error) = self.card.destroy_framebuffer(self.handle) {
            // RMFB fails if the card was unplugged. The kernel has removed its framebuffers then.
            tracing::debug!(%error, "RMFB failed");
        }
    }
}

impl Framebuffer {
    /// Returns the KMS properties of a plane that select the picture in the framebuffer (SRC_X, SRC_Y, SRC_W and SRC_H), with
    /// their values.
    ///
    /// # References
    /// Linux, `Documentation/gpu/drm-kms.rst`, "Plane Composition Properties": coordinates have 16 fractional bits.
    #[must_use]
    pub fn source_properties(&self) -> [(&'static str, u64); 4] {
        source_properties(self.buffer.layout().visible())
    }
}

fn source_properties(visible: Rect) -> [(&'static str, u64); 4] {
    [
        ("SRC_X", u64::from(visible.x()) << 16),
        ("SRC_Y", u64::from(visible.y()) << 16),
        ("SRC_W", u64::from(visible.width()) << 16),
        ("SRC_H", u64::from(visible.height()) << 16),
    ]
}

impl Card {
    /// Makes a framebuffer of a buffer: PRIME import, then ADDFB2.
    ///
    /// Pitches, offsets and sizes were checked when the [`Buffer`] was made, because ADDFB2 is no sufficient check: virtio-gpu
    /// accepts any values, and other cards return EINVAL without a reason.
    ///
    /// # Errors
    /// [`DrmError::Import`] if the card cannot import the memory, [`DrmError::Unsuitable`] if ADDFB2 cannot express the layout,
    /// [`DrmError::Request`] if ADDFB2 fails. After an error no handle stays open.
    pub fn framebuffer(&self, buffer: &Buffer) -> Result<Framebuffer, DrmError> {
        let layout = buffer.layout();
        let unsuitable = |why| DrmError::Unsuitable {
            card: self.path().to_owned(),
            format: layout.format(),
            why,
        };
        let modifier = layout.format().modifier;
        let explicit = self.has_modifiers() && !modifier.is_implicit();
        if !explicit && modifier != Modifier::LINEAR && !modifier.is_implicit() {
            return Err(unsuitable(
                "the card does not support modifiers, and the modifier of the layout is not LINEAR",
            ));
        }
        let begun = trace::begin();
        let guard = self.lock_handles();
        let mut opened: Vec<buffer::Handle> = Vec::with_capacity(buffer.dmabuf_count());
        let result = self.import_all(buffer, &mut opened).and_then(|()| {
            let fb_layout = FramebufferLayout::new(layout, explicit, &opened).ok_or_else(|| {
                unsuitable("the layout has more than four planes, or an offset of 4 GiB or more")
            })?;
            fb_layout
                .add_framebuffer(self)
                .map_err(|source| self.failed("ADDFB2", source))
        });
        // The framebuffer keeps the memory, so the GEM handles are closed.
        self.close_each(&guard, opened);
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

    /// Imports one dma-buf of a buffer and returns its GEM handle. If two dma-bufs of the buffer are the same, both imports
    /// return one handle, which the caller closes once.
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

    /// Imports each dma-buf of a buffer and appends its GEM handle to `opened`, also if a later import fails.
    pub(super) fn import_all(
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

/// A layout as the arguments of ADDFB2.
///
/// ADDFB2 is called with the fourcc as a number and not through the format type of the `drm` crate, which lacks some formats that
/// planes list, such as ABGR16161616.
struct FramebufferLayout {
    size: (u32, u32),
    fourcc: u32,
    flags: FbCmd2Flags,
    pitches: [u32; 4],
    offsets: [u32; 4],
    handles: [u32; 4],
    modifiers: [u64; 4],
}

impl FramebufferLayout {
    fn new(layout: &Layout, explicit: bool, gem_handles: &[buffer::Handle]) -> Option<Self> {
        let mut fb_layout = Self {
            size: (layout.extent().width(), layout.extent().height()),
            fourcc: layout.format().fourcc.0,
            flags: FbCmd2Flags::empty(),
            pitches: [0; 4],
            offsets: [0; 4],
            handles: [0; 4],
            modifiers: [0; 4],
        };
        for (index, plane) in layout.planes().iter().enumerate() {
            *fb_layout.pitches.get_mut(index)? = plane.stride_bytes;
            *fb_layout.offsets.get_mut(index)? = u32::try_from(plane.offset_bytes).ok()?;
            *fb_layout.handles.get_mut(index)? = (*gem_handles.get(plane.memory)?).into();
            if explicit {
                fb_layout.flags = FbCmd2Flags::MODIFIERS;
                *fb_layout.modifiers.get_mut(index)? = layout.format().modifier.0;
            }
        }
        Some(fb_layout)
    }

    /// Adds the framebuffer to a card (DRM_IOCTL_MODE_ADDFB2).
    fn add_framebuffer(&self, card: &Card) -> io::Result<framebuffer::Handle> {
        let (width, height) = self.size;
        let added = drm_ffi::mode::add_fb2(
            card.as_fd(),
            width,
            height,
            self.fourcc,
            &self.handles,
            &self.pitches,
            &self.offsets,
            &self.modifiers,
            self.flags.bits(),
        )?;
        from_u32(added.fb_id).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Extent, Fourcc};

    #[test]
    fn framebuffer_has_the_coded_extent_and_the_source_rectangle_is_the_picture() {
        let visible = Rect::new(0, 8, Extent::new(1920, 1080).unwrap());
        let layout = Layout::linear(Extent::new(1920, 1088).unwrap(), Fourcc::XRGB8888, 64, 0)
            .and_then(|layout| layout.with_visible(visible))
            .unwrap();
        let handle = from_u32(1).unwrap();
        let added = FramebufferLayout::new(&layout, false, &[handle]).unwrap();
        assert_eq!(added.size, (1920, 1088));
        let [x, y, width, height] = source_properties(layout.visible()).map(|(_, value)| value);
        assert_eq!((x, y), (0, 8 << 16));
        assert_eq!((width, height), (1920 << 16, 1080 << 16));
    }
}
