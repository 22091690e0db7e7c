//! A card as plain data: what its planes show, what it imports, what it can allocate.

use std::ops::{Bound, RangeBounds as _};

use drm::buffer::DrmFourcc;
use drm::control::Device as _;
use drm::{Device as _, DriverCapability};

use super::card::Card;
use super::{DrmError, PlaneId, PlaneKind};
use crate::backend::{machine, prime};
use crate::constraint::{
    Constraints, FormatSet, ImageConstraints, MemoryCost, Participant, Plane, PlanePlacement, Role,
    Source, SourceId, SyncMechanism,
};
use crate::model::{FormatModifier, Fourcc};

/// Buffers that a plane holds: the one that is shown, and the one that is next.
const HELD: u32 = 2;

impl Card {
    /// Declares what one plane of this card shows.
    ///
    /// # Errors
    /// [`DrmError::Request`] where the card has no such plane.
    pub fn participant(&self, plane: impl Into<PlaneId>) -> Result<Participant, DrmError> {
        let plane = plane.into();
        let plane_kind = self.plane_kind(plane)?;
        let name = format!(
            "{} {} plane {}",
            self.driver(),
            plane_kind.label(),
            u32::from(plane)
        );
        let mut participant = self.declare(name, Role::Display);
        participant.plane = Some(Plane {
            kind: plane_kind,
            id: Some(u32::from(plane)),
        });
        let formats = FormatSet::from(self.plane_formats(plane)?);
        let resources = self
            .resource_handles()
            .map_err(|source| self.failed("GETRESOURCES", source))?;
        let (widths, heights) = (
            resources.supported_fb_width(),
            resources.supported_fb_height(),
        );
        let mut image = ImageConstraints::default();
        image.width.minimum = smallest(widths.start_bound());
        image.height.minimum = smallest(heights.start_bound());
        image.width.maximum = largest(widths.end_bound());
        image.height.maximum = largest(heights.end_bound());
        if plane_kind == PlaneKind::Cursor {
            image.width.maximum = self.cursor_side(DriverCapability::CursorWidth);
            image.height.maximum = self.cursor_side(DriverCapability::CursorHeight);
        }
        participant.for_each_choice(|own| {
            own.formats = Some(formats.clone());
            own.buffers_held = HELD;
            own.image = image.clone();
        });
        Ok(participant)
    }

    /// The longest side of a cursor in pixels.
    ///
    /// # References
    /// `drm.h`, DRM_CAP_CURSOR_WIDTH: 64 where a driver does not say.
    fn cursor_side(&self, capability: DriverCapability) -> u32 {
        const UNSAID: u32 = 64;
        let said = self.get_driver_capability(capability).ok();
        said.and_then(|pixels| u32::try_from(pixels).ok())
            .filter(|pixels| *pixels > 0)
            .unwrap_or(UNSAID)
    }

    /// Declares what this card as a whole imports, whatever it then does with it.
    #[must_use]
    pub fn importer(&self) -> Participant {
        self.declare(format!("{} import", self.driver()), Role::Import)
    }

    /// Declares the card's dumb buffers; `None` where it has none or cannot export them.
    #[must_use]
    pub fn dumb_source(&self) -> Option<Source> {
        /// `DRM_PRIME_CAP_EXPORT`.
        const EXPORT: u64 = 2;
        let exports = self
            .get_driver_capability(DriverCapability::Prime)
            .is_ok_and(|value| value & EXPORT != 0);
        if !exports || !self.has_dumb_buffers() {
            return None;
        }
        let mut source = Source::new(self.dumb_id(), self.dumb_name());
        source.device = Some(self.identity().clone());
        source.guarantees.cost = MemoryCost::System;
        source.guarantees.available_bytes = machine::available_bytes();
        source.guarantees.has_shadow_copy = prime::has_shadow_copy(self, self.driver());
        let image = &mut source.constraints.image;
        // One memory of 32-bit words, the one kind that every card's dumb buffers have.
        image.placement = PlanePlacement::Together;
        image.stride.alignment = 4;
        Some(source)
    }

    /// Declares textures of a virtio-gpu that renders (virgl), with memory of this machine behind them; `None` elsewhere.
    ///
    /// They are what its GPU samples and its display shows; a dumb buffer's texture is upside down to the GPU, since the
    /// host made it for a display. Either has to be told of writes: see [`HostTransfer`](super::HostTransfer).
    #[must_use]
    pub(crate) fn texture_source(&self) -> Option<Source> {
        if !self.renders_implicitly() {
            return None;
        }
        let mut source = self.dumb_source()?;
        source.id = self.texture_id();
        source.name = self.texture_name();
        let formats = [Fourcc::XRGB8888, Fourcc::ARGB8888].map(FormatModifier::linear);
        source.constraints.formats = Some(formats.to_vec().into());
        // The host counts rows by the texture's own width.
        source.constraints.image.stride.packed = true;
        Some(source)
    }

    /// Declares the card's own memory: its textures where it has them, since its GPU could not read dumb buffers the right way up,
    /// else its dumb buffers.
    #[must_use]
    pub fn own_source(&self) -> Option<Source> {
        self.texture_source().or_else(|| self.dumb_source())
    }

    /// Whether a source is one of this card's: its dumb buffers or its textures.
    pub(super) fn gives(&self, source: &SourceId) -> bool {
        *source == self.dumb_id() || *source == self.texture_id()
    }

    pub(super) fn texture_id(&self) -> SourceId {
        SourceId::new(format!(
            "texture:{}@{}",
            self.driver(),
            self.identity().location
        ))
    }

    pub(super) fn texture_name(&self) -> String {
        format!("{} texture", self.driver())
    }

    pub(super) fn dumb_id(&self) -> SourceId {
        SourceId::new(format!(
            "dumb:{}@{}",
            self.driver(),
            self.identity().location
        ))
    }

    fn has_dumb_buffers(&self) -> bool {
        match self.get_driver_capability(DriverCapability::DumbBuffer) {
            Ok(value) => value != 0,
            // Cards without a display, like vgem, do not answer this question: only an attempt does.
            Err(_) => {
                let _guard = self.lock_handles();
                self.create_dumb_buffer((1, 1), DrmFourcc::Xrgb8888, 32)
                    .and_then(|dumb| self.destroy_dumb_buffer(dumb))
                    .is_ok()
            }
        }
    }

    fn declare(&self, name: String, role: Role) -> Participant {
        let mut participant = Participant::new(name, self.identity().clone(), role);
        let mut constraints = Constraints::default();
        constraints.memory.imports = self.import_ability().demand(self.identity());
        constraints.memory.contiguity = prime::contiguity(self, self.driver());
        constraints
            .sync
            .extend([SyncMechanism::Implicit, SyncMechanism::SyncFile]);
        if self
            .get_driver_capability(DriverCapability::TimelineSyncObj)
            .is_ok_and(|value| value != 0)
        {
            constraints.sync.insert(SyncMechanism::Timeline);
        }
        participant.set_constraints(constraints);
        participant
    }
}

/// Not even a cursor's framebuffer may be smaller: virtio-gpu refuses less than 32 pixels a side.
fn smallest(start: Bound<&u32>) -> u32 {
    match start {
        Bound::Included(pixels) => (*pixels).max(1),
        Bound::Excluded(pixels) => pixels.saturating_add(1),
        Bound::Unbounded => 1,
    }
}

fn largest(end: Bound<&u32>) -> u32 {
    match end {
        Bound::Included(pixels) => *pixels,
        Bound::Excluded(pixels) => pixels.saturating_sub(1),
        Bound::Unbounded => u32::MAX,
    }
}
