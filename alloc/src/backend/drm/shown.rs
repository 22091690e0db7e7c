//! What the planes of a card show now, whoever put it there.

use std::fs::File;

use drm::buffer;
use drm::control::{Device as _, framebuffer};

use super::DrmError;
use super::card::Card;
use crate::buffer::{BufferIdentity, identify};
use crate::model::{Extent, FormatModifier, Fourcc, Modifier};

/// A framebuffer that a plane shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its size.
    pub extent: Extent,
    /// Its format and modifier; INVALID where whoever made it said none and it may be other than linear.
    pub format: FormatModifier,
    /// Where each plane of the picture lies.
    pub planes: Vec<ShownPlane>,
}

/// One plane of a picture that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownPlane {
    /// Which dma-buf it lies in.
    pub memory: BufferIdentity,
    /// Bytes from its start to the plane.
    pub offset_bytes: u32,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

impl Card {
    /// Lists what the planes of this card show; nothing where the card has no planes, or tells only its master and root.
    ///
    /// What is shown becomes a dma-buf for the length of this call, where it was none.
    ///
    /// # Errors
    /// [`DrmError::Request`]. No handle is left.
    ///
    /// # References
    /// `drm_mode.h`, DRM_IOCTL_MODE_GETFB2: handles are given to the master and to CAP_SYS_ADMIN alone.
    pub fn shown(&self) -> Result<Vec<Shown>, DrmError> {
        // A card without displays (vgem) has no planes to list.
        let Ok(planes) = self.plane_handles() else {
            return Ok(Vec::new());
        };
        let mut framebuffers: Vec<framebuffer::Handle> = Vec::new();
        for plane in planes {
            let info = self
                .get_plane(plane)
                .map_err(|source| self.failed("GETPLANE", source))?;
            framebuffers.extend(info.framebuffer());
        }
        let mut shown = Vec::new();
        for handle in framebuffers {
            shown.extend(self.describe(handle)?);
        }
        Ok(shown)
    }

    fn describe(&self, handle: framebuffer::Handle) -> Result<Option<Shown>, DrmError> {
        let guard = self.lock_handles();
        // It may be gone by now, or in a format that has no name.
        let Ok(info) = self.get_planar_framebuffer(handle) else {
            return Ok(None);
        };
        let opened = info.buffers();
        let (width, height) = info.size();
        let fourcc = Fourcc(info.pixel_format() as u32);
        let modifier = info
            .modifier()
            .map_or(Modifier::INVALID, |modifier| Modifier(u64::from(modifier)));
        let places = opened.iter().zip(info.offsets()).zip(info.pitches());
        let planes = places
            .filter_map(|((handle, offset), stride)| Some(((*handle)?, offset, stride)))
            .map(|(handle, offset_bytes, stride_bytes)| {
                Ok(ShownPlane {
                    memory: self.memory_of(handle)?,
                    offset_bytes,
                    stride_bytes,
                })
            })
            .collect::<Result<Vec<_>, DrmError>>();
        self.close_each(opened.into_iter().flatten().collect());
        drop(guard);
        let planes = planes?;
        let Ok(extent) = Extent::new(width, height) else {
            return Ok(None);
        };
        Ok((!planes.is_empty()).then_some(Shown {
            extent,
            format: FormatModifier::new(fourcc, modifier),
            planes,
        }))
    }

    fn memory_of(&self, handle: buffer::Handle) -> Result<BufferIdentity, DrmError> {
        let exported = self
            .buffer_to_prime_fd(handle, drm::CLOEXEC)
            .map_err(|source| self.failed("PRIME_HANDLE_TO_FD", source))?;
        let (memory, _) = identify(File::from(exported)).map_err(|error| DrmError::Unusable {
            card: self.path().to_owned(),
            why: error.to_string(),
        })?;
        Ok(memory)
    }
}
