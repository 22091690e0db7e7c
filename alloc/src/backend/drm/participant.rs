//! The declaration of a card: the formats of its planes, its import constraints, and the memory that it can allocate.

use std::ops::{Bound, RangeBounds as _};

use covalent_machine::PlaneSizes;
use drm::buffer::DrmFourcc;
use drm::control::Device as _;
use drm::{Device as _, DriverCapability};

use super::card::Card;
use super::{DrmError, PlaneId, PlaneKind};
use crate::backend::{cma, meminfo, prime};
use crate::constraint::{
    Constraints, Crop, FormatSet, MemoryCost, Participant, Plane, PlanePlacement, Role, Source,
    SourceId, SyncMechanism,
};
use crate::model::{FormatModifier, Fourcc};

/// The drivers whose dumb buffers come from the DRM GEM DMA helper, which calls `dma_alloc_wc` for each buffer, with the card's
/// device.
///
/// # References
/// Linux 7.3, `drivers/gpu/drm/drm_gem_dma_helper.c`, and the users of `DRM_GEM_DMA_DRIVER_OPS`.
const DMA_HELPER_DRIVERS: [&str; 14] = [
    "aspeed-gfx-drm",
    "atmel-hlcdc",
    "fsl-dcu-drm",
    "imx-drm",
    "imx-lcdif",
    "ingenic-drm",
    "meson",
    "mxsfb-drm",
    "pl111",
    "stm",
    "sun4i-drm",
    "tidss",
    "tilcdc",
    "vc4",
];

impl Card {
    /// Declares the constraints of one plane of this card.
    ///
    /// # Errors
    /// [`DrmError::Request`] if the card has no such plane.
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
            possible_crtcs: self.possible_crtcs(plane)?,
        });
        let formats = FormatSet::from(self.plane_formats(plane)?);
        let resources = self
            .resource_handles()
            .map_err(|source| self.failed("GETRESOURCES", source))?;
        let (widths, heights) = (
            resources.supported_fb_width(),
            resources.supported_fb_height(),
        );
        let mut sizes = PlaneSizes {
            widths: (
                minimum_side(widths.start_bound()),
                largest(widths.end_bound()),
            ),
            heights: (
                minimum_side(heights.start_bound()),
                largest(heights.end_bound()),
            ),
        };
        if plane_kind == PlaneKind::Cursor {
            sizes.widths.1 = self.max_cursor_size(DriverCapability::CursorWidth);
            sizes.heights.1 = self.max_cursor_size(DriverCapability::CursorHeight);
        }
        sizes.constrain(&mut participant, plane_kind, &formats);
        Ok(participant)
    }

    /// Returns the mask of the CRTCs to which a plane can be attached; bit 0 is the card's first CRTC.
    fn possible_crtcs(&self, plane: PlaneId) -> Result<u32, DrmError> {
        let info = self
            .get_plane(self.plane_handle(plane)?)
            .map_err(|source| self.failed("GETPLANE", source))?;
        let resources = self
            .resource_handles()
            .map_err(|source| self.failed("GETRESOURCES", source))?;
        let possible = resources.filter_crtcs(info.possible_crtcs());
        let bits = resources.crtcs().iter().zip(0_u32..u32::BITS);
        let bits = bits.filter(|(crtc, _)| possible.contains(crtc));
        Ok(bits.fold(0, |mask, (_, number)| mask | 1 << number))
    }

    /// Returns the largest width or height of a cursor, in pixels.
    fn max_cursor_size(&self, capability: DriverCapability) -> u32 {
        PlaneSizes::max_cursor_size(self.get_driver_capability(capability).ok())
    }

    /// Declares the card as a participant that only imports dma-bufs (PRIME), independent of its planes.
    #[must_use]
    pub fn importer(&self) -> Participant {
        let mut participant = self.declare(format!("{} import", self.driver()), Role::Import);
        // An import only attaches the dma-buf and accesses no pixels, so the picture may be anywhere in the buffer.
        participant.for_each_choice(|own| own.image.crop = Crop::Anywhere);
        participant
    }

    /// Declares the card's dumb buffers as a source; `None` if the card has none or cannot export them.
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
        source.guarantees.available_bytes = meminfo::available_bytes();
        source.guarantees.has_shadow_copy = prime::has_shadow_copy(self, self.driver());
        prime::limit_source(&mut source);
        if DMA_HELPER_DRIVERS.contains(&self.driver()) && !self.has_iommu() {
            // These dumb buffers are contiguous: they come from CMA, with the page allocator as its fallback.
            source.guarantees.contiguous_up_to_bytes = u64::MAX;
            source.guarantees.pools = cma::default_pool().into_iter().collect();
        }
        let image = &mut source.constraints.image;
        // Every buffer is allocated as one dumb buffer of 32 bits a pixel, because every card supports those.
        image.placement = PlanePlacement::Together;
        image.stride.alignment = 4;
        Some(source)
    }

    /// Returns whether the card's device, or a parent of it, is behind an IOMMU. In that case its dumb buffers are scattered
    /// pages.
    fn has_iommu(&self) -> bool {
        let Ok(status) = rustix::fs::stat(self.path()) else {
            return false;
        };
        let (major, minor) = (
            rustix::fs::major(status.st_rdev),
            rustix::fs::minor(status.st_rdev),
        );
        let link = format!("/sys/dev/char/{major}:{minor}/device");
        std::fs::canonicalize(link).is_ok_and(|folder| {
            let mut above = folder.ancestors();
            above.any(|folder| folder.join("iommu_group").exists())
        })
    }

    /// Declares the textures of a virtio-gpu that renders (virgl), with backing memory in this machine; `None` for other cards.
    ///
    /// The GPU can sample a texture, and the display can scan it out. A dumb buffer is not suitable for the GPU, which would read
    /// it upside down, because the host makes its texture for scanout. After each write to the backing memory, a texture needs a
    /// transfer to the host: see [`HostTransfer`](super::HostTransfer).
    #[must_use]
    pub(crate) fn texture_source(&self) -> Option<Source> {
        if !self.renders_with_implicit_modifiers() {
            return None;
        }
        let mut source = self.dumb_source()?;
        source.id = self.texture_id();
        source.name = self.texture_name();
        let formats = [Fourcc::XRGB8888, Fourcc::ARGB8888].map(FormatModifier::linear);
        source.constraints.formats = Some(formats.to_vec().into());
        // The host computes the stride from the texture's width.
        source.constraints.image.stride.packed = true;
        Some(source)
    }

    /// Declares the memory that the card allocates: its textures if it has them, because its GPU would read dumb buffers upside
    /// down; otherwise its dumb buffers.
    #[must_use]
    pub fn own_source(&self) -> Option<Source> {
        self.texture_source().or_else(|| self.dumb_source())
    }

    /// Whether a source id is that of this card's dumb buffers or textures.
    pub(super) fn allocates(&self, source: &SourceId) -> bool {
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
            // Cards without a display, such as vgem, do not support this query. Only an allocation shows whether such a card has
            // dumb buffers.
            Err(_) => {
                let _guard = self.lock_handles();
                self.create_dumb_buffer((1, 1), DrmFourcc::Xrgb8888, 32)
                    .and_then(|dumb| self.destroy_dumb_buffer(dumb))
                    .is_ok()
            }
        }
    }

    /// Declares the card as a participant with its memory constraints and sync mechanisms.
    fn declare(&self, name: String, role: Role) -> Participant {
        let mut participant = Participant::new(name, self.identity().clone(), role);
        let mut constraints = Constraints::default();
        constraints.memory.imports = self.import_ability().imports(self.identity());
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

/// Returns the minimum width or height of a framebuffer, in pixels, from the lower bound of a range. The minimum also applies to
/// the framebuffer of a cursor: virtio-gpu accepts no cursor framebuffer with a side of less than 32 pixels.
fn minimum_side(start: Bound<&u32>) -> u32 {
    match start {
        Bound::Included(pixels) => (*pixels).max(1),
        Bound::Excluded(pixels) => pixels.saturating_add(1),
        Bound::Unbounded => 1,
    }
}

/// Returns the largest number of pixels that a range permits.
fn largest(end: Bound<&u32>) -> u32 {
    match end {
        Bound::Included(pixels) => *pixels,
        Bound::Excluded(pixels) => pixels.saturating_sub(1),
        Bound::Unbounded => u32::MAX,
    }
}
