//! The declaration of a Vulkan device: the images that it imports and exports, and its constraints on their layout.

use ash::vk;
use covalent_machine::memory_manager::limit_to_card;

use super::format;
use super::image::{self, AcceptedLayout};
use super::purpose::Purpose;
use super::sys::{ImageKind, ImageSupport};
use super::{Gpu, VulkanError};
use crate::backend::{meminfo, prime};
use crate::constraint::{
    CodedConstraints, Constraints, Crop, FormatSet, ImageConstraints, Interface, MemoryCost,
    Participant, PlanePlacement, Role, SideConstraints, Source, SourceId, StrideConstraints,
    SyncMechanism, lcm,
};
use crate::model::{Extent, FormatModifier, Fourcc, Layout, Modifier};

/// The number of buffers that a renderer holds at once: the one that it reads, and the next one.
const RENDERER_BUFFERS: u32 = 2;

/// The width and height, in pixels, of images that are created only to query their memory types.
const TEST_SIDE: u32 = 64;

/// The base-2 logarithms of the stride alignments that are tried, in bytes: from 1 to 4096 bytes.
const ALIGNMENTS: std::ops::RangeInclusive<u32> = 0..=12;

/// The alignment that a driver that renders on the CPU (lavapipe) needs of an image to which it renders: the alignment of rows in
/// bytes, and the alignment of the height of the image's memory in rows.
///
/// vkCreateImage of lavapipe accepts any stride and requires no memory after the last row. But lavapipe writes blocks of four by
/// four pixels with instructions that require alignment: it crashed with images of 322 pixels of four bytes a row, and of 243
/// rows.
///
/// # References
/// Mesa, `src/gallium/drivers/llvmpipe/lp_texture.c`, `llvmpipe_texture_layout`: the layout of its own images.
const CPU_RENDER_ALIGNMENT: (u32, u32) = (64, 4);

/// A format and modifier, with what the device supports for images of it.
#[derive(Clone)]
pub(super) struct ImageFormat {
    pub(super) format: FormatModifier,
    pub(super) kind: ImageKind,
    pub(super) support: ImageSupport,
    /// The format features of such images, such as VK_FORMAT_FEATURE_DISJOINT_BIT.
    pub(super) features: vk::FormatFeatureFlags,
    /// The number of memory planes, including planes with metadata such as compression data.
    pub(super) memory_planes: u32,
}

impl Gpu {
    /// Lists the formats and modifiers that this device imports as images. Their layout constraints are not queried.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn formats(&self) -> Result<FormatSet, VulkanError> {
        let kinds = self.kinds(Purpose::Copy, vk::ExternalMemoryFeatureFlags::IMPORTABLE)?;
        Ok(kinds.iter().map(|kind| kind.format).collect())
    }

    /// Declares the images of one size that this device imports and copies: in `fourcc` only, or in every supported format.
    ///
    /// Vulkan has no query for the alignment of strides and offsets, so images with several alignments are created, without
    /// memory, to find out which alignments the driver accepts.
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

    /// Declares the images of one size that this device imports for a purpose: in `fourcc` only, or in every supported format.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] for [`Purpose::Render`] if the device has no graphics queue; [`VulkanError::Call`].
    pub fn participant_for(
        &self,
        purpose: Purpose,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<Participant, VulkanError> {
        if purpose == Purpose::Render && !self.has_graphics() {
            return Err(VulkanError::Lacks {
                device: self.name().to_owned(),
                lacks: "queue with VK_QUEUE_GRAPHICS_BIT".to_owned(),
            });
        }
        let (suffix, role) = match purpose {
            Purpose::Copy => ("", Role::Import),
            Purpose::Sample => (" (sampled)", Role::Import),
            Purpose::Render => (" (rendered)", Role::Render),
        };
        let name = format!("{} image{suffix}", self.identity().driver);
        let mut participant = Participant::new(name, self.identity().clone(), role);
        participant.interface = Some(Interface::Vulkan);
        participant.maps = self.is_cpu();
        let mut constraints = Constraints::default();
        let mut formats = Vec::new();
        for kind in self.kinds(purpose, vk::ExternalMemoryFeatureFlags::IMPORTABLE)? {
            if fourcc.is_some_and(|wanted| wanted != kind.format.fourcc) {
                continue;
            }
            formats.push(kind.format);
            // Constraints on the layout are needed only for LINEAR: for other modifiers the driver chooses the layout, and not
            // the solver.
            if kind.format.modifier == Modifier::LINEAR {
                let image = self.image_constraints(extent, &kind);
                constraints.per_fourcc.insert(kind.format.fourcc, image);
            }
        }
        constraints.formats = Some(FormatSet::from(formats));
        // The image has the coded extent of the buffer. Copies, texture coordinates and viewports select the picture in it.
        constraints.image.crop = Crop::Anywhere;
        constraints.buffers_held = RENDERER_BUFFERS;
        // If the driver imports through the DRM device, the import limits of that device apply.
        if let Some(ability) = self.import_ability() {
            constraints.memory.imports = ability.imports(self.identity());
        }
        if self.supports_sync_file() {
            constraints.sync.insert(SyncMechanism::SyncFile);
        }
        participant.set_constraints(constraints);
        Ok(participant)
    }

    /// Declares the images that this device exports; `None` if it exports none.
    ///
    /// The declaration contains no strides, which depend on the size: see [`Gpu::source_of_size`].
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn source(&self) -> Result<Option<Source>, VulkanError> {
        self.declare_source(None)
    }

    /// Declares the images of one size that this device exports, with the strides that it accepts.
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
        if self.is_cpu() {
            source.guarantees.cached = Some(true);
            source.guarantees.has_shadow_copy = Some(false);
        }
        source.guarantees.available_bytes = meminfo::available_bytes();
        prime::limit_source(&mut source);
        if self.is_discrete()
            && !prime::knows_memory_manager(&self.identity().driver)
            && self.exports_device_local_memory(&kinds)
        {
            limit_to_card(&mut source);
        }
        source.constraints.formats = Some(kinds.iter().map(|kind| kind.format).collect());
        // The images that are allocated are not disjoint, so all planes are in one dma-buf.
        source.constraints.image.placement = PlanePlacement::Together;
        for kind in kinds {
            let constraints = match extent {
                Some(extent) if kind.format.modifier == Modifier::LINEAR => {
                    self.image_constraints(extent, &kind)
                }
                _ => ImageConstraints {
                    width: sides(
                        kind.support.width,
                        format::size_multiples(kind.format.fourcc).0,
                    ),
                    height: sides(
                        kind.support.height,
                        format::size_multiples(kind.format.fourcc).1,
                    ),
                    ..ImageConstraints::default()
                },
            };
            source
                .constraints
                .per_fourcc
                .insert(kind.format.fourcc, constraints);
        }
        Ok(Some(source))
    }

    /// Returns whether the device would allocate an exported image in memory that the CPU cannot access: DEVICE_LOCAL and not
    /// HOST_VISIBLE.
    fn exports_device_local_memory(&self, kinds: &[ImageFormat]) -> bool {
        let types = self.device().physical.memory_types();
        let Ok(extent) = Extent::new(TEST_SIDE, TEST_SIDE) else {
            return false;
        };
        kinds.iter().any(|kind| {
            let image = image::create_without_memory(self, kind, extent, None).ok();
            let chosen =
                image.and_then(|image| self.exportable_type(image.requirements(None).type_bits));
            let chosen = chosen.and_then(|number| usize::try_from(number).ok());
            chosen
                .and_then(|number| types.get(number))
                .is_some_and(|flags| is_device_local_only(*flags))
        })
    }

    pub(super) fn source_id(&self) -> SourceId {
        let identity = self.identity();
        SourceId::new(format!("vulkan:{}@{}", identity.driver, identity.location))
    }

    /// Returns the source's name in messages, such as `llvmpipe Vulkan`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} Vulkan", self.identity().driver)
    }

    /// Lists the formats and modifiers in which the device can import, or export, dma-buf images for a purpose.
    pub(super) fn kinds(
        &self,
        purpose: Purpose,
        ability: vk::ExternalMemoryFeatureFlags,
    ) -> Result<Vec<ImageFormat>, VulkanError> {
        let mut kinds = Vec::new();
        for (fourcc, _) in format::all() {
            if !self.filter().takes(fourcc) {
                continue;
            }
            kinds.extend(
                self.kinds_of(fourcc, purpose)?
                    .into_iter()
                    .filter(|kind| kind.support.memory.contains(ability)),
            );
        }
        Ok(kinds)
    }

    /// Returns what the device supports for one format and modifier; `None` if it supports no such images.
    pub(super) fn kind(
        &self,
        wanted: FormatModifier,
        purpose: Purpose,
    ) -> Result<Option<ImageFormat>, VulkanError> {
        Ok(self
            .kinds_of(wanted.fourcc, purpose)?
            .into_iter()
            .find(|kind| kind.format == wanted))
    }

    /// Returns the same format and modifier for disjoint images, whose planes are in separate dma-bufs; `None` if the device
    /// cannot import those.
    pub(super) fn disjoint(&self, kind: ImageFormat) -> Result<Option<ImageFormat>, VulkanError> {
        if !kind.features.contains(vk::FormatFeatureFlags::DISJOINT)
            || self.binds_the_first_plane_only()
        {
            return Ok(None);
        }
        let disjoint = ImageKind {
            flags: vk::ImageCreateFlags::DISJOINT,
            ..kind.kind
        };
        // The support is queried again: the limits for disjoint images can differ, and a disjoint image cannot have a dedicated
        // allocation.
        let support = self
            .device()
            .physical
            .image_support(disjoint)
            .map_err(self.failed("vkGetPhysicalDeviceImageFormatProperties2"))?
            .filter(|support| {
                support
                    .memory
                    .contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
                    && !support
                        .memory
                        .contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)
            });
        Ok(support.map(|support| ImageFormat {
            kind: disjoint,
            support,
            ..kind
        }))
    }

    /// Whether the driver ignores memory plane aspects (VK_IMAGE_ASPECT_MEMORY_PLANE_1_BIT_EXT) in vkBindImageMemory2 and binds
    /// each memory to the first plane of a disjoint image. The second plane then has no memory, and a copy of its pixels ends the
    /// process with SIGSEGV. Images with modifiers require these aspects.
    ///
    /// # References
    /// Mesa 25, `src/gallium/frontends/lavapipe/lvp_private.h`, `lvp_image_aspects_to_plane`;
    /// VUID-VkBindImagePlaneMemoryInfo-planeAspect-02283.
    pub(super) fn binds_the_first_plane_only(&self) -> bool {
        self.identity().driver == "llvmpipe"
    }

    fn kinds_of(&self, fourcc: Fourcc, purpose: Purpose) -> Result<Vec<ImageFormat>, VulkanError> {
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
                kinds.push(ImageFormat {
                    format: FormatModifier::new(fourcc, Modifier(listed.drm_format_modifier)),
                    kind,
                    support,
                    features,
                    memory_planes: listed.drm_format_modifier_plane_count,
                });
            }
        }
        Ok(kinds)
    }

    /// Returns the alignment that the device needs to render to images of this kind, in addition to what vkCreateImage checks:
    /// the alignment of rows and offsets in bytes, and the alignment of the height of the image's memory in rows.
    pub(super) fn render_alignment(&self, kind: &ImageFormat) -> (u32, u32) {
        let is_rendered = kind.kind.usage == vk::ImageUsageFlags::COLOR_ATTACHMENT;
        if is_rendered && self.is_cpu() {
            CPU_RENDER_ALIGNMENT
        } else {
            (1, 1)
        }
    }

    fn image_constraints(&self, extent: Extent, kind: &ImageFormat) -> ImageConstraints {
        // The visitor of the format filter is called again, because the following calls create images of this format, and the
        // driver may end the process in them.
        let _ = self.filter().takes(kind.format.fourcc);
        let (horizontal, vertical) = format::size_multiples(kind.format.fourcc);
        let (width, height) = (
            sides(kind.support.width, horizontal),
            sides(kind.support.height, vertical),
        );
        let mut constraints = ImageConstraints {
            coded: Some(CodedConstraints {
                width: width.clone(),
                height: height.clone(),
                ..CodedConstraints::default()
            }),
            width,
            height,
            placement: PlanePlacement::Together,
            ..ImageConstraints::default()
        };
        let fits = |side: u32, step: u32| side.checked_rem(step) == Some(0);
        if !fits(extent.width(), horizontal) || !fits(extent.height(), vertical) {
            // The device supports no image of this size, so there are no strides to determine. The constraints on width and
            // height exclude the size.
            return constraints;
        }
        let trial = |alignment: u32, offset: u32| -> Option<AcceptedLayout> {
            let layout =
                image::layout_with_alignment(extent, kind.format.fourcc, alignment, offset)?;
            image::test_layout(self, kind, &layout).ok()
        };
        let aligned = ALIGNMENTS
            .map(|power| 1_u32 << power)
            .find_map(|alignment| Some((alignment, trial(alignment, 0)?)));
        if let Some((alignment, found)) = aligned {
            let (bytes, rows) = self.render_alignment(kind);
            constraints.stride.alignment = lcm(alignment.into(), bytes.into())
                .and_then(|both| u32::try_from(both).ok())
                .unwrap_or(bytes);
            constraints.rows_multiple_of = rows;
            constraints.padding_bytes = found.padding_bytes;
            if image::supports_disjoint_planes(self, kind, extent, alignment) {
                constraints.placement = PlanePlacement::Either;
            }
            let offset = ALIGNMENTS
                .map(|power| 1_u32 << power)
                .find(|offset| trial(alignment, *offset).is_some())
                .map_or(1, u64::from);
            constraints.offset_alignment_bytes = lcm(offset, bytes.into()).unwrap_or(bytes.into());
            return constraints;
        }
        // The driver accepts none of the tried strides, so only the stride that it chooses itself is declared.
        if let Some(own) = image::driver_layout(self, kind, extent).ok().flatten() {
            constraints.stride = exactly(&own);
        }
        constraints
    }
}

/// Returns whether memory of a type is DEVICE_LOCAL and not HOST_VISIBLE, so that the CPU cannot access it.
fn is_device_local_only(flags: vk::MemoryPropertyFlags) -> bool {
    flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL)
        && !flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
}

/// Returns constraints that permit only the stride of the first plane of `layout`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_card_alone_is_local_and_not_visible_to_the_host() {
        use vk::MemoryPropertyFlags as Flags;
        assert!(is_device_local_only(Flags::DEVICE_LOCAL));
        assert!(!is_device_local_only(
            Flags::DEVICE_LOCAL | Flags::HOST_VISIBLE
        ));
        assert!(!is_device_local_only(
            Flags::HOST_VISIBLE | Flags::HOST_COHERENT
        ));
    }
}
