//! The declaration of a device that copies frames, and which formats it makes of which.
//!
//! A device copies by vkCmdCopyImage where the bytes of a pixel stay as they are, and by vkCmdBlitImage where channels change their
//! places or their bits. What Vulkan does not convert without a shader is not declared:
//!
//! - luma and chroma to or from colours, and between formats of luma and chroma; a frame of such a format is copied to the same format,
//! - one channel (R8) to or from colours,
//! - a fourth channel that is not defined (X) to alpha.
//!
//! A [`CopyDevice`] writes each of its formats from each that it reads, so a device is declared once for each such family.
//!
//! # References
//! Vulkan, vkCmdBlitImage: no format that requires a sampler Y′CBCR conversion (VUID-vkCmdBlitImage-srcImage-06421 and
//! -dstImage-06422), a queue with graphics (VUID-vkCmdBlitImage-commandBuffer-cmdpool), and the features BLIT_SRC and BLIT_DST.

use std::collections::BTreeSet;

use ash::vk;

use super::participant::Kind;
use super::purpose::Purpose;
use super::{Gpu, VulkanError, format};
use crate::constraint::{CopierKind, CopyDevice, ExtraFields, FormatSet};
use crate::model::{Extent, FormatModifier, Fourcc};
use crate::solve::GroupCopier;

/// How a device makes an image of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// By vkCmdCopyImage: the bytes of each pixel stay as they are.
    Copy,
    /// By vkCmdBlitImage: channels change their places or their bits.
    Blit,
}

/// The channel that a colour format has in addition to red, green and blue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FourthChannel {
    None,
    Undefined,
    Alpha,
}

/// Returns the channel that a format has in addition to red, green and blue; `None` for a format without these three.
fn fourth_channel(fourcc: Fourcc) -> Option<FourthChannel> {
    match fourcc {
        Fourcc::RGB888 | Fourcc::BGR888 | Fourcc::RGB565 => Some(FourthChannel::None),
        Fourcc::XRGB8888 | Fourcc::XBGR8888 => Some(FourthChannel::Undefined),
        Fourcc::ARGB8888 | Fourcc::ABGR8888 => Some(FourthChannel::Alpha),
        _ => None,
    }
}

/// Returns the method by which a device converts an image from the format `from` to the format `to`.
///
/// # Errors
/// The reason why a device does not convert between these formats.
pub(super) fn method(from: Fourcc, to: Fourcc) -> Result<Method, &'static str> {
    if from == to {
        return Ok(Method::Copy);
    }
    let (Some(read), Some(written)) = (fourth_channel(from), fourth_channel(to)) else {
        return Err(
            "without a shader Vulkan converts only between formats of red, green and blue; copy to the same format",
        );
    };
    if (read, written) == (FourthChannel::Undefined, FourthChannel::Alpha) {
        return Err(
            "the fourth channel of the image that is read is not defined, and would become alpha; copy to a format without alpha",
        );
    }
    Ok(if format::of(from) == format::of(to) {
        Method::Copy
    } else {
        Method::Blit
    })
}

/// What a device does with images of one format and modifier.
#[derive(Clone, Copy)]
struct Ability {
    format: FormatModifier,
    reads: bool,
    writes: bool,
    blits_from: bool,
    blits_to: bool,
}

impl Ability {
    fn of(kind: &Kind) -> Self {
        let (usage, features) = (kind.kind.usage, kind.features);
        let reads = usage.contains(vk::ImageUsageFlags::TRANSFER_SRC);
        let writes = usage.contains(vk::ImageUsageFlags::TRANSFER_DST);
        Self {
            format: kind.format,
            reads,
            writes,
            blits_from: reads && features.contains(vk::FormatFeatureFlags::BLIT_SRC),
            blits_to: writes && features.contains(vk::FormatFeatureFlags::BLIT_DST),
        }
    }
}

/// What one [`CopyDevice`] reads and writes.
struct Family {
    reads: FormatSet,
    writes: FormatSet,
}

impl Family {
    fn has(&self, ability: &Ability) -> bool {
        (!ability.reads || self.reads.contains(ability.format))
            && (!ability.writes || self.writes.contains(ability.format))
    }
}

/// Returns sets of formats that are read and written such that each written one can be made of each that is read.
fn families(abilities: &[Ability], blits: bool) -> Vec<Family> {
    let set = |filter: &dyn Fn(&Ability) -> bool| -> FormatSet {
        let kept = abilities.iter().filter(|ability| filter(ability));
        kept.map(|ability| ability.format).collect()
    };
    let fourth = |ability: &Ability| fourth_channel(ability.format.fourcc);
    let mut families = Vec::new();
    if blits {
        let is_read = |ability: &Ability| ability.blits_from && fourth(ability).is_some();
        families.push(Family {
            reads: set(&is_read),
            writes: set(&|ability| {
                let is_alpha = fourth(ability) == Some(FourthChannel::Alpha);
                ability.blits_to && fourth(ability).is_some() && !is_alpha
            }),
        });
        families.push(Family {
            reads: set(&|ability| {
                is_read(ability) && fourth(ability) != Some(FourthChannel::Undefined)
            }),
            writes: set(&|ability| {
                ability.blits_to && fourth(ability) == Some(FourthChannel::Alpha)
            }),
        });
    }
    let fourccs: BTreeSet<Fourcc> = abilities
        .iter()
        .map(|ability| ability.format.fourcc)
        .collect();
    for fourcc in fourccs {
        let own = |ability: &&Ability| ability.format.fourcc == fourcc;
        let mut already = families.iter();
        if already.any(|family| abilities.iter().filter(own).all(|one| family.has(one))) {
            continue;
        }
        families.push(Family {
            reads: set(&|ability| own(&ability) && ability.reads),
            writes: set(&|ability| own(&ability) && ability.writes),
        });
    }
    families.retain(|family| {
        family.reads.iter().next().is_some() && family.writes.iter().next().is_some()
    });
    families
}

impl Gpu {
    /// Declares what this device copies by [`Gpu::copy`] for images of `extent`, in pixels: for each family of formats those that it
    /// imports and reads, and those that it imports and writes. The list is empty for a device that imports only the buffers of its own
    /// DRM device (Venus), because a copy has buffers of other devices too.
    ///
    /// A copier declares formats and not the strides and memory that it accepts: [`Gpu::import`] refuses other buffers, and the CPU has to
    /// copy then. A device that is a CPU (lavapipe) costs what a copy by the CPU costs, because it is one; all others cost
    /// [`CopyDevice::USUAL_COST`].
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn copiers(&self, extent: Extent) -> Result<Vec<CopyDevice>, VulkanError> {
        if self.import_ability().is_some() {
            return Ok(Vec::new());
        }
        let kinds = self.kinds(Purpose::Copy, vk::ExternalMemoryFeatureFlags::IMPORTABLE)?;
        let abilities: Vec<Ability> = kinds
            .iter()
            .filter(|kind| {
                let (horizontal, vertical) = format::size_multiples(kind.format.fourcc);
                extent.width() <= kind.support.width
                    && extent.height() <= kind.support.height
                    && extent.width().checked_rem(horizontal) == Some(0)
                    && extent.height().checked_rem(vertical) == Some(0)
            })
            .map(Ability::of)
            .collect();
        let families = families(&abilities, self.has_graphics()).into_iter();
        Ok(families
            .map(|family| CopyDevice {
                name: self.source_name(),
                device: self.identity().clone(),
                kind: CopierKind::Gpu,
                reads: family.reads,
                writes: family.writes,
                cost: if self.is_cpu() {
                    CopyDevice::PROCESSOR_COST
                } else {
                    CopyDevice::USUAL_COST
                },
                extra_fields: ExtraFields::default(),
            })
            .collect())
    }

    /// Returns whether this device is the one that a solution chose to copy, so that [`Gpu::copy`] makes the copy.
    #[must_use]
    pub fn is_copier(&self, copier: &GroupCopier) -> bool {
        copier.kind == CopierKind::Gpu && self.identity().same_device(&copier.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abilities of all formats, as of a device that blits those of colours.
    fn abilities() -> Vec<Ability> {
        let ability = |(fourcc, _)| {
            let is_colour = fourth_channel(fourcc).is_some();
            Ability {
                format: FormatModifier::linear(fourcc),
                reads: true,
                writes: true,
                blits_from: is_colour,
                blits_to: is_colour,
            }
        };
        format::all().map(ability).collect()
    }

    #[test]
    fn every_declared_pair_of_formats_has_a_method() {
        for blits in [false, true] {
            let families = families(&abilities(), blits);
            for family in &families {
                for (read, written) in family
                    .reads
                    .iter()
                    .flat_map(|read| family.writes.iter().map(move |written| (read, written)))
                {
                    let found = method(read.fourcc, written.fourcc);
                    assert!(found.is_ok(), "{read} to {written}: {found:?}");
                    assert!(blits || found == Ok(Method::Copy), "{read} to {written}");
                }
            }
            for ability in abilities() {
                let is_copied = |family: &Family| family.has(&ability);
                assert!(families.iter().any(is_copied), "{}", ability.format);
            }
        }
    }

    #[test]
    fn device_that_only_writes_a_format_does_not_read_it() {
        let mut only_written = abilities();
        only_written.retain(|ability| ability.format.fourcc == Fourcc::XRGB8888);
        only_written[0].reads = false;
        only_written[0].blits_from = false;
        assert!(families(&only_written, true).is_empty());
        assert!(families(&[], true).is_empty());
    }

    #[test]
    fn undefined_channel_does_not_become_alpha() {
        assert!(method(Fourcc::XRGB8888, Fourcc::ARGB8888).is_err());
        assert_eq!(method(Fourcc::ARGB8888, Fourcc::XRGB8888), Ok(Method::Copy));
        assert_eq!(method(Fourcc::RGB565, Fourcc::ARGB8888), Ok(Method::Blit));
    }

    #[test]
    fn luma_and_chroma_are_copied_to_the_same_format_only() {
        assert_eq!(method(Fourcc::NV12, Fourcc::NV12), Ok(Method::Copy));
        assert!(method(Fourcc::NV12, Fourcc::NV21).is_err());
        assert!(method(Fourcc::YUYV, Fourcc::XRGB8888).is_err());
        assert!(method(Fourcc::R8, Fourcc::XRGB8888).is_err());
    }

    #[test]
    fn every_colour_format_of_the_table_has_a_fourth_channel_as_it_is_known() {
        for (fourcc, _) in format::all() {
            let info = fourcc.info().unwrap();
            let is_colour = !info.is_yuv && fourcc != Fourcc::R8;
            assert_eq!(fourth_channel(fourcc).is_some(), is_colour, "{fourcc}");
            let is_alpha = fourth_channel(fourcc) == Some(FourthChannel::Alpha);
            assert_eq!(is_alpha, info.has_alpha, "{fourcc}");
        }
    }
}
