//! A GBM device as plain data.

use gbm::{BufferObjectFlags, Format};

use super::device::{Gbm, SMALL};
use crate::backend::machine;
use crate::buffer::{Buffer, Descriptor, PlaneDescriptor};
use crate::constraint::{
    Coherency, Constraints, FormatSet, ImageConstraints, Interface, MemoryCost, Participant,
    PlanePlacement, Role, Source, SourceId, StrideConstraints, SyncMechanism,
};
use crate::model::{Extent, FormatInfo, FormatModifier, Fourcc, Layout, Modifier};

/// Images that a renderer holds: the one that it reads, and the one that is next.
const HELD: u32 = 2;

impl Gbm {
    /// Returns those of `candidates` that the driver has, with explicit modifiers alone.
    ///
    /// GBM lists no modifiers, so somebody has to name them: a card's planes (IN_FORMATS), EGL, or a compositor's feedback.
    /// Implicit ones are left out. A driver that knows no modifiers has linear buffers where a small one that was asked for as
    /// linear says that it is.
    #[must_use]
    pub fn formats(&self, candidates: &FormatSet) -> FormatSet {
        candidates
            .iter()
            .filter(|candidate| !candidate.modifier.is_implicit() && self.has(*candidate))
            .collect()
    }

    /// Every format that GBM and this crate both name, in rows: candidates for who has no other list.
    #[must_use]
    pub fn linear_candidates() -> FormatSet {
        FormatInfo::all()
            .map(|info| info.fourcc)
            .filter(|fourcc| format_of(*fourcc).is_some())
            .map(FormatModifier::linear)
            .collect()
    }

    fn has(&self, wanted: FormatModifier) -> bool {
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
                .create_buffer_object::<()>(SMALL, SMALL, format, linear)
                .is_ok_and(|made| u64::from(made.modifier()) == Modifier::LINEAR.0)
    }

    /// Returns those of `candidates` that the driver imports: the formats that it has, and others that it only reads.
    ///
    /// No question of GBM's is about that, so a small buffer of the driver's own is described as each linear format that it
    /// has not, and imported: Mesa takes YUV as planes of other formats, and says of none that it has it.
    ///
    /// A driver may end the process here: ask in a child process.
    #[must_use]
    pub fn imports(&self, candidates: &FormatSet) -> FormatSet {
        let own = self.formats(candidates);
        candidates
            .iter()
            .filter(|candidate| own.contains(*candidate) || self.takes(*candidate))
            .collect()
    }

    fn takes(&self, wanted: FormatModifier) -> bool {
        /// Rows of XRGB8888 that hold a small picture of every known format with the strides below.
        const ROWS: u32 = 4 * SMALL;
        /// Bytes that every driver takes as a step of strides.
        const STEP_BYTES: u32 = 256;
        // The host has a texture of one format behind the buffer, and is not to be asked to see another in it.
        if wanted.modifier != Modifier::LINEAR || self.has_shadow_copy() != Some(false) {
            return false;
        }
        let plain = FormatModifier::linear(Fourcc::XRGB8888);
        let Ok(made) = self.create(plain.fourcc, &[plain.modifier], SMALL, ROWS) else {
            return false;
        };
        let described = || {
            let extent = Extent::new(SMALL, SMALL).ok()?;
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
        described().is_some_and(|buffer| self.import(&buffer).is_ok())
    }

    /// Declares what this device imports: `formats`, which [`Gbm::formats`] or, for all of them, [`Gbm::imports`] gave.
    #[must_use]
    pub fn participant(&self, formats: &FormatSet) -> Participant {
        let identity = self.identity();
        let name = format!("{} GBM", identity.driver);
        let mut participant = Participant::new(name, identity.clone(), Role::Import);
        participant.interface = Some(Interface::Gbm);
        let mut constraints = Constraints {
            formats: Some(formats.clone()),
            buffers_held: HELD,
            ..Constraints::default()
        };
        // For a card that renders Mesa imports through the card's driver, and has to take what that says. For one that only
        // shows it renders on the processor, and maps what it is given.
        if self.import_ability().is_of_a_renderer() {
            constraints.memory.imports = self.import_ability().demand(identity);
        }
        constraints.memory.contiguity = self.contiguity();
        // Mesa's import asks the kernel for no transfer: the driver goes on with the copy that it has.
        constraints.memory.coherency = Coherency::Untransferred;
        constraints.sync.insert(SyncMechanism::Implicit);
        participant.set_constraints(constraints);
        participant
    }

    /// Declares the buffers that this device allocates in `formats`, which [`Gbm::formats`] gave; `None` where it makes none.
    ///
    /// What is imported can be more than what is made: virtio-gpu has no dumb buffers of 16 bits a pixel, and Mesa says so only
    /// when one is asked for. So one small linear buffer is made in each format; other modifiers are taken at the driver's word.
    #[must_use]
    pub fn source(&self, formats: &FormatSet) -> Option<Source> {
        let makes = |format: &FormatModifier| {
            format.modifier != Modifier::LINEAR
                || self
                    .create(format.fourcc, &[format.modifier], SMALL, SMALL)
                    .is_ok_and(|made| u64::from(made.modifier()) == Modifier::LINEAR.0)
        };
        let formats: FormatSet = formats.iter().filter(makes).collect();
        if formats.is_empty() {
            return None;
        }
        let mut source = Source::new(self.source_id(), self.source_name());
        source.device = Some(self.identity().clone());
        source.guarantees.cost = MemoryCost::System;
        source.guarantees.available_bytes = machine::available_bytes();
        source.guarantees.has_shadow_copy = self.has_shadow_copy();
        source.constraints.formats = Some(formats);
        source.constraints.image.placement = PlanePlacement::Together;
        Some(source)
    }

    /// The same for pictures of one size, with the strides that the driver gives them.
    ///
    /// GBM takes no stride from who asks and tells one only of a buffer that is there, so a linear one of this size is made in
    /// each format. A format of which none is made now, or whose planes lie otherwise than their strides say, is left out.
    #[must_use]
    pub fn source_of_size(&self, formats: &FormatSet, extent: Extent) -> Option<Source> {
        let mut source = self.source(formats)?;
        let given: Vec<FormatModifier> = source
            .constraints
            .formats
            .iter()
            .flat_map(FormatSet::iter)
            .collect();
        let mut kept = Vec::new();
        for format in given {
            if format.modifier != Modifier::LINEAR {
                kept.push(format);
                continue;
            }
            let Some(terms) = self.terms(format, extent) else {
                continue;
            };
            source.constraints.per_fourcc.insert(format.fourcc, terms);
            kept.push(format);
        }
        source.constraints.formats = Some(kept.into());
        Some(source)
    }

    fn terms(&self, format: FormatModifier, extent: Extent) -> Option<ImageConstraints> {
        let made = match self.create(
            format.fourcc,
            &[format.modifier],
            extent.width(),
            extent.height(),
        ) {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(%error, %format, "not declared");
                return None;
            }
        };
        let stride = made.stride_for_plane(0);
        let rows = Layout::linear(extent, format.fourcc, 1, stride).ok()?;
        let same = rows.planes().iter().zip(0_i32..).all(|(plane, number)| {
            made.stride_for_plane(number) == plane.stride_bytes
                && u64::from(made.offset(number)) == plane.offset_bytes
        });
        same.then(|| ImageConstraints {
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

    /// What messages call this source: `virtio_gpu GBM`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} GBM", self.identity().driver)
    }
}

/// GBM's name; `None` for a format that the crate does not know.
pub(super) fn format_of(fourcc: Fourcc) -> Option<Format> {
    Format::try_from(fourcc.0).ok()
}
