//! The framebuffers that the planes of a card scan out at present, also those of other programs.

use std::fs::File;
use std::os::fd::AsFd as _;

use drm::buffer;
use drm::control::{Device as _, FbCmd2Flags, framebuffer, from_u32};

use super::DrmError;
use super::card::Card;
use crate::buffer::{BufferIdentity, identify};
use crate::model::{Extent, FormatModifier, Fourcc, Modifier};

/// A framebuffer that a plane scans out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanoutFramebuffer {
    /// The size in pixels.
    pub extent: Extent,
    /// The format and modifier; the modifier is INVALID if the framebuffer was made without one and need not be linear.
    pub format: FormatModifier,
    /// The location of each memory plane of the framebuffer.
    pub planes: Vec<ScanoutPlane>,
}

/// The location of one memory plane of a framebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanoutPlane {
    /// The identity of the dma-buf that contains the plane.
    pub memory: BufferIdentity,
    /// The offset of the plane in the dma-buf, in bytes.
    pub offset_bytes: u32,
    /// The stride in bytes a row.
    pub stride_bytes: u32,
}

impl Card {
    /// Lists the framebuffers that the planes of this card scan out; empty if the card has no planes, or if the process is
    /// neither DRM master nor has CAP_SYS_ADMIN.
    ///
    /// A framebuffer that is not a dma-buf is exported as one for the duration of this call.
    ///
    /// # Errors
    /// [`DrmError::Request`]. After an error no handle stays open.
    ///
    /// # References
    /// `drm_mode.h`, DRM_IOCTL_MODE_GETFB2: only the master and CAP_SYS_ADMIN get the handles.
    pub fn scanout_framebuffers(&self) -> Result<Vec<ScanoutFramebuffer>, DrmError> {
        // A card without displays (vgem) has no planes.
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

    fn describe(
        &self,
        handle: framebuffer::Handle,
    ) -> Result<Option<ScanoutFramebuffer>, DrmError> {
        let guard = self.lock_handles();
        // The framebuffer can have been removed. GETFB2 is not called through the crate `drm`, whose function returns an error
        // for a format that the crate does not know, and then leaves the GEM handles open.
        let Ok(info) = drm_ffi::mode::get_framebuffer2(self.as_fd(), handle.into()) else {
            return Ok(None);
        };
        let opened: [Option<buffer::Handle>; 4] = info.handles.map(from_u32);
        let [first_modifier, ..] = info.modifier;
        let has_modifier =
            FbCmd2Flags::from_bits_truncate(info.flags).contains(FbCmd2Flags::MODIFIERS);
        let modifier = if has_modifier {
            Modifier(first_modifier)
        } else {
            Modifier::INVALID
        };
        let places = opened.iter().zip(info.offsets).zip(info.pitches);
        let planes = places
            .filter_map(|((handle, offset), stride)| Some(((*handle)?, offset, stride)))
            .map(|(handle, offset_bytes, stride_bytes)| {
                Ok(ScanoutPlane {
                    memory: self.memory_of(handle)?,
                    offset_bytes,
                    stride_bytes,
                })
            })
            .collect::<Result<Vec<_>, DrmError>>();
        self.close_each(&guard, opened.into_iter().flatten().collect());
        drop(guard);
        let planes = planes?;
        let Ok(extent) = Extent::new(info.width, info.height) else {
            return Ok(None);
        };
        Ok((!planes.is_empty()).then_some(ScanoutFramebuffer {
            extent,
            format: FormatModifier::new(Fourcc(info.pixel_format), modifier),
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
