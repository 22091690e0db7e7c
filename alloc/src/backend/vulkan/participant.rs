//! A device as plain data: the images that it imports and exports, and what it asks of their layout.

use ash::vk;

use super::format;
use super::image::{self, Trial};
use super::purpose::Purpose;
use super::sys::{ImageKind, ImageSupport};
use super::{Gpu, VulkanError};
use crate::backend::machine;
use crate::constraint::{
    Constraints, FormatSet, ImageConstraints, Interface, MemoryCost, Participant, PlanePlacement,
    Role, SideConstraints, Source, SourceId, StrideConstraints, SyncMechanism, lcm,
};
use crate::model::{Extent, FormatModifier, Fourcc, Layout, Modifier};

/// Images that a renderer holds: the one that it reads, and the one that is next.
const HELD: u32 = 2;

/// The alignments that drivers are asked for, in bytes: 1 to a page, each twice the one before.
const ALIGNMENTS: std::ops::RangeInclusive<u32> = 0..=12;

/// What a driver that works on the processor draws to: rows that begin at whole lines of its cache, in bytes, and blocks of so many
/// rows.
///
/// lavapipe takes any stride for an image and asks for no byte below it. Then it writes blocks of four by four pixels by instructions
/// that want them aligned: it ended its process at 322 pixels of four bytes a row, and at 243 rows.
///
/// # References
/// Mesa, `src/gallium/drivers/llvmpipe/lp_texture.c`, `llvmpipe_texture_layout`: what it has for its own.
const PROCESSOR_DRAWS: (u32, u32) = (64, 4);

/// A format with an arrangement, as a device has it.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) format: FormatModifier,
    pub(super) kind: ImageKind,
    pub(super) support: ImageSupport,
    /// Whether planes may lie in memories of their own.
    pub(super) disjoint: bool,
    /// How many planes lie in memory, those of a driver's own bookkeeping included.
    pub(super) memory_planes: u32,
}

impl Gpu {
    /// Lists the pairs that this device imports as images, without asking what it demands of their layout.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn formats(&self) -> Result<FormatSet, VulkanError> {
        let kinds = self.kinds(Purpose::Copy, vk::ExternalMemoryFeatureFlags::IMPORTABLE)?;
        Ok(kinds.iter().map(|kind| kind.format).collect())
    }

    /// Declares what this device reads as images of one size: in `fourcc` alone, or in every format that it has.
    ///
    /// Nothing tells in which steps a driver takes strides and offsets, so it is asked for images with some, without memory
    /// behind them.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn participant(
        &self,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<Participant, VulkanError> {
        self.participant_for(Purpose::Copy, extent, fourcc)
    }

    /// Declares what this device takes as images of one size for a purpose: in `fourcc` alone, or in every format that it has.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] for drawing, where the device has no queue that draws; [`VulkanError::Call`].
    pub fn participant_for(
        &self,
        purpose: Purpose,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<Participant, VulkanError> {
        if purpose == Purpose::Render && !self.draws() {
            return Err(VulkanError::Lacks {
                device: self.name().to_owned(),
                lacks: "queue that draws".to_owned(),
            });
        }
        let (behind, role) = match purpose {
            Purpose::Copy => ("", Role::Import),
            Purpose::Sample => (" (sampled)", Role::Import),
            Purpose::Render => (" (rendered)", Role::Render),
        };
        let name = format!("{} image{behind}", self.identity().driver);
        let mut participant = Participant::new(name, self.identity().clone(), role);
        participant.interface = Some(Interface::Vulkan);
        let mut constraints = Constraints::default();
        let mut formats = Vec::new();
        for kind in self.kinds(purpose, vk::ExternalMemoryFeatureFlags::IMPORTABLE)? {
            if fourcc.is_some_and(|wanted| wanted != kind.format.fourcc) {
                continue;
            }
            formats.push(kind.format);
            // Only linear layouts are chosen by the solver; the demands on others are their drivers'.
            if kind.format.modifier == Modifier::LINEAR {
                let terms = self.terms(extent, &kind);
                constraints.per_fourcc.insert(kind.format.fourcc, terms);
            }
        }
        constraints.formats = Some(FormatSet::from(formats));
        constraints.buffers_held = HELD;
        // The driver imports through the card's, and has to take what that says.
        if let Some(ability) = self.import_ability() {
            constraints.memory.imports = ability.demand(self.identity());
        }
        if self.speaks_sync_file() {
            constraints.sync.insert(SyncMechanism::SyncFile);
        }
        participant.set_constraints(constraints);
        Ok(participant)
    }

    /// Declares the images that this device exports; `None` where it exports none.
    ///
    /// Nothing is said of their strides, which depend on the size: see [`Gpu::source_of_size`].
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn source(&self) -> Result<Option<Source>, VulkanError> {
        self.declare_source(None)
    }

    /// Declares the images of one size that this device exports, with the strides that it takes for them.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn source_of_size(&self, extent: Extent) -> Result<Option<Source>, VulkanError> {
        self.declare_source(Some(extent))
    }

    fn declare_source(&self, extent: Option<Extent>) -> Result<Option<Source>, VulkanError> {
        let kinds = self.kinds(Purpose::Copy, vk::ExternalMemoryFeatureFlags::EXPORTABLE)?;
        if kinds.is_empty() {
            return Ok(None);
        }
        let mut source = Source::new(self.source_id(), self.source_name());
        source.device = Some(self.identity().clone());
        source.guarantees.cost = MemoryCost::System;
        if self.is_processor() {
            source.guarantees.cached = Some(true);
            source.guarantees.has_shadow_copy = Some(false);
        }
        source.guarantees.available_bytes = machine::available_bytes();
        source.constraints.formats = Some(kinds.iter().map(|kind| kind.format).collect());
        // One memory holds all planes of an image that is not disjoint.
        source.constraints.image.placement = PlanePlacement::Together;
        for kind in kinds {
            let terms = match extent {
                Some(extent) if kind.format.modifier == Modifier::LINEAR => {
                    self.terms(extent, &kind)
                }
                _ => ImageConstraints {
                    width: sides(kind.support.width, format::steps(kind.format.fourcc).0),
                    height: sides(kind.support.height, format::steps(kind.format.fourcc).1),
                    ..ImageConstraints::default()
                },
            };
            source
                .constraints
                .per_fourcc
                .insert(kind.format.fourcc, terms);
        }
        Ok(Some(source))
    }

    pub(super) fn source_id(&self) -> SourceId {
        let identity = self.identity();
        SourceId::new(format!("vulkan:{}@{}", identity.driver, identity.location))
    }

    /// What messages call this source: `llvmpipe Vulkan`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} Vulkan", self.identity().driver)
    }

    /// Lists the pairs of which the device has images in dma-bufs with this ability.
    fn kinds(
        &self,
        purpose: Purpose,
        ability: vk::ExternalMemoryFeatureFlags,
    ) -> Result<Vec<Kind>, VulkanError> {
        let mut kinds = Vec::new();
        for (fourcc, _) in format::all() {
            kinds.extend(
                self.kinds_of(fourcc, purpose)?
                    .into_iter()
                    .filter(|kind| kind.support.memory.contains(ability)),
            );
        }
        Ok(kinds)
    }

    /// One pair; `None` where the device has no such images.
    pub(super) fn kind(
        &self,
        wanted: FormatModifier,
        purpose: Purpose,
    ) -> Result<Option<Kind>, VulkanError> {
        Ok(self
            .kinds_of(wanted.fourcc, purpose)?
            .into_iter()
            .find(|kind| kind.format == wanted))
    }

    /// The same kind with planes in memories of their own; `None` where the device imports none.
    pub(super) fn apart(&self, kind: Kind) -> Result<Option<Kind>, VulkanError> {
        if !kind.disjoint || self.binds_the_first_plane_only() {
            return Ok(None);
        }
        let apart = ImageKind {
            flags: vk::ImageCreateFlags::DISJOINT,
            ..kind.kind
        };
        // What holds of images in one memory need not hold of these, and none of these has a memory for itself.
        let support = self
            .device()
            .physical
            .image_support(apart)
            .map_err(self.failed("vkGetPhysicalDeviceImageFormatProperties2"))?
            .filter(|support| {
                support
                    .memory
                    .contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
                    && !support
                        .memory
                        .contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)
            });
        Ok(support.map(|support| Kind {
            kind: apart,
            support,
            ..kind
        }))
    }

    /// Whether the driver binds each plane of a disjoint image to the memory of its first plane, when planes are named as
    /// modifiers want them (VK_IMAGE_ASPECT_MEMORY_PLANE_1_BIT_EXT). The second plane then has none, and the process ends by
    /// SIGSEGV when pixels are copied.
    ///
    /// # References
    /// Mesa 25, `src/gallium/frontends/lavapipe/lvp_private.h`, `lvp_image_aspects_to_plane`;
    /// VUID-VkBindImagePlaneMemoryInfo-planeAspect-02283.
    pub(super) fn binds_the_first_plane_only(&self) -> bool {
        self.identity().driver == "llvmpipe"
    }

    fn kinds_of(&self, fourcc: Fourcc, purpose: Purpose) -> Result<Vec<Kind>, VulkanError> {
        let Some(vulkan) = format::of(fourcc) else {
            return Ok(Vec::new());
        };
        let physical = &self.device().physical;
        let mut kinds = Vec::new();
        for listed in physical.modifiers(vulkan) {
            let features = listed.drm_format_modifier_tiling_features;
            let kind = ImageKind {
                format: vulkan,
                modifier: listed.drm_format_modifier,
                usage: purpose.usage(features),
                flags: vk::ImageCreateFlags::empty(),
            };
            if kind.usage.is_empty() {
                continue;
            }
            let support = physical
                .image_support(kind)
                .map_err(self.failed("vkGetPhysicalDeviceImageFormatProperties2"))?;
            if let Some(support) = support {
                kinds.push(Kind {
                    format: FormatModifier::new(fourcc, Modifier(listed.drm_format_modifier)),
                    kind,
                    support,
                    disjoint: features.contains(vk::FormatFeatureFlags::DISJOINT),
                    memory_planes: listed.drm_format_modifier_plane_count,
                });
            }
        }
        Ok(kinds)
    }

    /// Of how many bytes rows and offsets have to be multiples, and of how many rows there has to be memory for a multiple, so that
    /// the device can draw to images of a kind: beyond what the driver says when it is asked for one.
    pub(super) fn drawn_steps(&self, kind: &Kind) -> (u32, u32) {
        let draws = kind.kind.usage == vk::ImageUsageFlags::COLOR_ATTACHMENT;
        if draws && self.is_processor() {
            PROCESSOR_DRAWS
        } else {
            (1, 1)
        }
    }

    fn terms(&self, extent: Extent, kind: &Kind) -> ImageConstraints {
        let (horizontal, vertical) = format::steps(kind.format.fourcc);
        let mut terms = ImageConstraints {
            width: sides(kind.support.width, horizontal),
            height: sides(kind.support.height, vertical),
            placement: PlanePlacement::Together,
            ..ImageConstraints::default()
        };
        let fits = |side: u32, step: u32| side.checked_rem(step) == Some(0);
        if !fits(extent.width(), horizontal) || !fits(extent.height(), vertical) {
            // No image of this size can be asked for; the sides above say so.
            return terms;
        }
        let trial = |alignment: u32, offset: u32| -> Option<Trial> {
            let layout = image::aligned(extent, kind.format.fourcc, alignment, offset)?;
            image::attempt(self, kind, &layout).ok()
        };
        let aligned = ALIGNMENTS
            .map(|power| 1_u32 << power)
            .find_map(|alignment| Some((alignment, trial(alignment, 0)?)));
        if let Some((alignment, found)) = aligned {
            let (bytes, rows) = self.drawn_steps(kind);
            terms.stride.alignment = lcm(alignment.into(), bytes.into())
                .and_then(|both| u32::try_from(both).ok())
                .unwrap_or(bytes);
            terms.rows_multiple_of = rows;
            terms.padding_bytes = found.padding_bytes;
            if image::takes_planes_apart(self, kind, extent, alignment) {
                terms.placement = PlanePlacement::Either;
            }
            let offset = ALIGNMENTS
                .map(|power| 1_u32 << power)
                .find(|offset| trial(alignment, *offset).is_some())
                .map_or(1, u64::from);
            terms.offset_alignment_bytes = lcm(offset, bytes.into()).unwrap_or(bytes.into());
            return terms;
        }
        // The driver takes its own stride and no other.
        if let Some(own) = image::chosen(self, kind, extent).ok().flatten() {
            terms.stride = exactly(&own);
        }
        terms
    }
}

fn exactly(layout: &Layout) -> StrideConstraints {
    let stride = layout
        .planes()
        .first()
        .map_or(0, |plane| plane.stride_bytes);
    StrideConstraints {
        minimum: stride,
        maximum: stride,
        ..StrideConstraints::default()
    }
}

fn sides(maximum: u32, multiple_of: u32) -> SideConstraints {
    SideConstraints {
        minimum: 1,
        maximum,
        multiple_of,
    }
}
