//! The declaration of a GBM device: the formats that it imports and allocates.

use gbm::{BufferObjectFlags, Format};

use super::device::{Gbm, TEST_SIDE};
use crate::backend::{meminfo, prime};
use crate::buffer::{Buffer, Descriptor, PlaneDescriptor};
use crate::constraint::{
    Coherency, Constraints, Crop, ExtraFields, FormatSet, ImageConstraints, Interface,
    InternalCopy, MemoryCost, Participant, PlanePlacement, Role, Source, SourceId,
    StrideConstraints, SyncMechanism,
};
use crate::model::{Extent, FormatInfo, FormatModifier, Fourcc, Layout, Modifier};

/// The number of buffers that a renderer holds at once: the one that it reads, and the next one.
const RENDERER_BUFFERS: u32 = 2;

/// The drivers of cards for which Mesa has neither a driver nor a separate GPU that renders for the display (kmsro). For these
/// cards Mesa renders on the CPU and maps the imported buffers, so it can also import a buffer that the CPU can map and the card
/// cannot attach. For example, Mesa on vgem imports the buffers of bochs-drm on Linux 6.12, whose exporter rejects every
/// attachment.
const RENDERED_BY_THE_CPU: [&str; 12] = [
    "ast",
    "bochs-drm",
    "cirrus",
    "cirrus-qemu",
    "efidrm",
    "mgag200",
    "ofdrm",
    "simpledrm",
    "udl",
    "vesadrm",
    "vgem",
    "vkms",
];

impl Gbm {
    /// Returns the `candidates` that the driver supports. All have explicit modifiers.
    ///
    /// GBM cannot list modifiers, so the caller passes candidates: those of a card's planes (IN_FORMATS), of EGL, or of a
    /// compositor's dma-buf feedback. Implicit modifiers are left out. For a driver that does not support modifiers, a format
    /// counts as supported with LINEAR if a small buffer that was allocated with GBM_BO_USE_LINEAR is reported as linear.
    #[must_use]
    pub fn formats(&self, candidates: &FormatSet) -> FormatSet {
        candidates
            .iter()
            .filter(|candidate| !candidate.modifier.is_implicit() && self.supports(*candidate))
            .collect()
    }

    /// Returns every format that both GBM and this crate know, with the modifier LINEAR, for callers without another list of
    /// candidates.
    #[must_use]
    pub fn linear_candidates() -> FormatSet {
        FormatInfo::all()
            .map(|info| info.fourcc)
            .filter(|fourcc| format_of(*fourcc).is_some())
            .map(FormatModifier::linear)
            .collect()
    }

    /// Returns whether GBM supports this format and modifier, as [`Gbm::formats`] defines it.
    fn supports(&self, wanted: FormatModifier) -> bool {
        let Some(format) = format_of(wanted.fourcc) else {
            return false;
        };
        let device = self.lock();
        let planes = device.format_modifier_plane_count(format, wanted.modifier.0.into());
        if planes.is_some_and(|planes| planes > 0) {
            return device.is_format_supported(format, BufferObjectFlags::RENDERING);
        }
        let linear = BufferObjectFlags::LINEAR;
        wanted.modifier == Modifier::LINEAR
            && device.is_format_supported(format, linear)
            && device
                .create_buffer_object::<()>(TEST_SIDE, TEST_SIDE, format, linear)
                .is_ok_and(|made| u64::from(made.modifier()) == Modifier::LINEAR.0)
    }

    /// Returns the `candidates` that the driver imports: the formats that it supports, and others that it can only import.
    ///
    /// GBM cannot report which formats a driver imports. So for each linear candidate that [`Gbm::formats`] leaves out, a small
    /// buffer of the driver is imported as if it had that format. Mesa imports YUV formats in this way, as one image for each
    /// plane, and does not report them as supported.
    ///
    /// The driver can end the process during this call; call it in a child process.
    #[must_use]
    pub fn imports(&self, candidates: &FormatSet) -> FormatSet {
        let supported = self.formats(candidates);
        candidates
            .iter()
            .filter(|candidate| supported.contains(*candidate) || self.imports_linear(*candidate))
            .collect()
    }

    fn imports_linear(&self, wanted: FormatModifier) -> bool {
        /// The number of rows of an XRGB8888 buffer that is large enough for a small image of every known format, with the
        /// strides below.
        const ROWS: u32 = 4 * TEST_SIDE;
        /// A stride alignment in bytes that every driver accepts.
        const STEP_BYTES: u32 = 256;
        // If the device has a shadow copy, the buffer has a texture of one format on the host and cannot be imported in another
        // format.
        if wanted.modifier != Modifier::LINEAR || self.has_shadow_copy() != Some(false) {
            return false;
        }
        let plain = FormatModifier::linear(Fourcc::XRGB8888);
        let Ok(made) = self.create(plain.fourcc, &[plain.modifier], TEST_SIDE, ROWS) else {
            return false;
        };
        let described = || {
            let _device = self.lock();
            let extent = Extent::new(TEST_SIDE, TEST_SIDE).ok()?;
            let layout = Layout::linear(extent, wanted.fourcc, STEP_BYTES, 0).ok()?;
            let planes = layout
                .planes()
                .iter()
                .map(|plane| {
                    Some(PlaneDescriptor {
                        fd: made.fd().ok()?,
                        offset_bytes: plane.offset_bytes,
                        stride_bytes: plane.stride_bytes,
                    })
                })
                .collect::<Option<Vec<_>>>()?;
            let descriptor = Descriptor {
                extent,
                format: wanted,
                planes,
            };
            Buffer::described(descriptor, &self.source_name()).ok()
        };
        let is_imported = described().is_some_and(|buffer| self.import(&buffer).is_ok());
        let _device = self.lock();
        drop(made);
        is_imported
    }

    /// Declares the device as an importer of `formats`: the result of [`Gbm::formats`], or of [`Gbm::imports`], which also has
    /// formats that the driver can only import.
    #[must_use]
    pub fn participant(&self, formats: &FormatSet) -> Participant {
        let identity = self.identity();
        let name = format!("{} GBM", identity.driver);
        let mut participant = Participant::new(name, identity.clone(), Role::Import);
        participant.interface = Some(Interface::Gbm);
        // For a virtio-gpu without 3D_FEATURES, Mesa renders on the CPU.
        let has_no_3d =
            identity.driver == "virtio_gpu" && !self.import_ability().is_limited_by_rendering();
        participant.maps = has_no_3d || RENDERED_BY_THE_CPU.contains(&identity.driver.as_str());
        // The renderer imports the whole coded extent, and selects the picture by texture coordinates.
        let mut constraints = Constraints {
            formats: Some(formats.clone()),
            buffers_held: RENDERER_BUFFERS,
            ..Constraints::default()
        };
        // On a card that renders, Mesa imports through the kernel driver, so the import limits of the card apply. On a card that
        // only has a display, Mesa renders on the CPU and maps the imported buffers.
        if self.import_ability().is_limited_by_rendering() {
            constraints.memory.imports = self.import_ability().imports(identity);
        }
        constraints.internal_copies = internal_copies(&identity.driver, formats);
        constraints.memory.contiguity = self.contiguity();
        // An import by Mesa does not request a transfer to the host (DRM_IOCTL_VIRTGPU_TRANSFER_TO_HOST): a device with a shadow
        // copy reads that copy.
        constraints.memory.coherency = Coherency::Untransferred;
        constraints.sync.insert(SyncMechanism::Implicit);
        constraints.image.crop = Crop::Anywhere;
        participant.set_constraints(constraints);
        participant
    }

    /// Declares the device as a source of buffers in `formats`, the result of [`Gbm::formats`]; `None` if it can allocate none.
    ///
    /// `formats` can contain formats that the device cannot allocate: virtio-gpu has no dumb buffers of 16 bits a pixel, and Mesa
    /// reports that only at the allocation. Some cards cannot export what they allocate, such as those with GEM VRAM helpers
    /// before Linux 6.6. So one small linear buffer is allocated and exported in each format. Other modifiers are not tested.
    #[must_use]
    pub fn source(&self, formats: &FormatSet) -> Option<Source> {
        let makes = |format: &FormatModifier| {
            format.modifier != Modifier::LINEAR
                || self
                    .create(format.fourcc, &[format.modifier], TEST_SIDE, TEST_SIDE)
                    .is_ok_and(|made| {
                        let device = self.lock();
                        let is_exported = u64::from(made.modifier()) == Modifier::LINEAR.0
                            && made.fd_for_plane(0).is_ok();
                        drop(made);
                        drop(device);
                        is_exported
                    })
        };
        let formats: FormatSet = formats.iter().filter(makes).collect();
        if formats.is_empty() {
            return None;
        }
        let mut source = Source::new(self.source_id(), self.source_name());
        source.device = Some(self.identity().clone());
        source.guarantees.cost = MemoryCost::System;
        source.guarantees.available_bytes = meminfo::available_bytes();
        source.guarantees.has_shadow_copy = self.has_shadow_copy();
        prime::limit_source(&mut source);
        source.constraints.formats = Some(formats);
        source.constraints.image.placement = PlanePlacement::Together;
        Some(source)
    }

    /// Declares the source as [`Gbm::source`] does, for buffers of one size and with the strides that the driver chooses for it.
    ///
    /// GBM has no parameter for the stride and reports it only for an allocated buffer, so one linear buffer of this size is
    /// allocated in each format. A format is left out if the allocation fails, or if its planes do not follow one another.
    #[must_use]
    pub fn source_of_size(&self, formats: &FormatSet, extent: Extent) -> Option<Source> {
        let mut source = self.source(formats)?;
        let allocatable: Vec<FormatModifier> = source
            .constraints
            .formats
            .iter()
            .flat_map(FormatSet::iter)
            .collect();
        let mut declared = Vec::new();
        for format in allocatable {
            if format.modifier != Modifier::LINEAR {
                declared.push(format);
                continue;
            }
            let Some(image) = self.image_constraints(format, extent) else {
                continue;
            };
            source.constraints.per_fourcc.insert(format.fourcc, image);
            declared.push(format);
        }
        source.constraints.formats = Some(declared.into());
        Some(source)
    }

    fn image_constraints(
        &self,
        format: FormatModifier,
        extent: Extent,
    ) -> Option<ImageConstraints> {
        let made = match self.create(
            format.fourcc,
            &[format.modifier],
            extent.width(),
            extent.height(),
        ) {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(%error, %format, "GBM cannot allocate this format, so the format is not declared");
                return None;
            }
        };
        let _device = self.lock();
        // This variable is declared after the lock guard, so it is dropped before the lock is released.
        let buffer_object = made;
        let stride = buffer_object.stride_for_plane(0);
        let rows = Layout::linear(extent, format.fourcc, 1, stride).ok()?;
        let has_consecutive_planes = rows.planes().iter().zip(0_i32..).all(|(plane, number)| {
            buffer_object.stride_for_plane(number) == plane.stride_bytes
                && u64::from(buffer_object.offset(number)) == plane.offset_bytes
        });
        has_consecutive_planes.then(|| ImageConstraints {
            stride: StrideConstraints {
                minimum: stride,
                maximum: stride,
                ..StrideConstraints::default()
            },
            ..ImageConstraints::default()
        })
    }

    pub(super) fn source_id(&self) -> SourceId {
        let identity = self.identity();
        SourceId::new(format!("gbm:{}@{}", identity.driver, identity.location))
    }

    /// Returns the source's name in messages, such as `virtio_gpu GBM`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} GBM", self.identity().driver)
    }
}

/// Returns the copies that the driver makes of linear pictures before it samples them.
///
/// The texture units of a V3D read only tiled images, so its Mesa driver copies each linear picture into a tiled image before a
/// shader samples it.
///
/// # References
/// Mesa, `src/gallium/drivers/v3d/v3dx_state.c`, `v3d_create_sampler_view`; `v3d_resource.c`, `v3d_update_shadow_texture`.
fn internal_copies(driver: &str, formats: &FormatSet) -> Vec<InternalCopy> {
    const UIF: Modifier = Modifier(0x0700_0000_0000_0006);
    let linear: FormatSet = formats
        .iter()
        .filter(|pair| pair.modifier == Modifier::LINEAR)
        .collect();
    if driver != "v3d" || linear.is_empty() {
        return Vec::new();
    }
    vec![InternalCopy {
        from: linear,
        to: UIF,
        reason: "its texture units read tiles alone".to_owned(),
        extra_fields: ExtraFields::default(),
    }]
}

/// Returns the GBM format of a fourcc; `None` if the crate `gbm` does not know it.
pub(super) fn format_of(fourcc: Fourcc) -> Option<Format> {
    Format::try_from(fourcc.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v3d_alone_copies_linear_pictures_into_tiles_of_its_own() {
        let uif = FormatModifier::new(Fourcc::NV12, Modifier(0x0700_0000_0000_0006));
        let linear = FormatModifier::linear(Fourcc::NV12);
        let formats = FormatSet::from([linear, uif]);
        let copies = internal_copies("v3d", &formats);
        assert_eq!(copies.len(), 1);
        assert_eq!(copies[0].from, FormatSet::from([linear]));
        assert_eq!(format!("{}", copies[0].to), "BROADCOM_UIF");
        assert_eq!(internal_copies("v3d", &FormatSet::from([uif])), []);
        assert_eq!(internal_copies("panfrost", &formats), []);
    }
}
