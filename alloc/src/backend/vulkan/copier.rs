//! The declaration of a Vulkan device as a copier of frames: between which formats it copies.
//!
//! A device copies with vkCmdCopyImage if both fourccs have the same Vulkan format, and with vkCmdBlitImage if the order or the
//! size of the channels differs. Conversions that Vulkan cannot make without a shader are not declared:
//!
//! - to or from a YUV format: a frame in a YUV format is copied only to the same format,
//! - between a format with one channel (R8) and a format with red, green and blue,
//! - from a format with an undefined fourth channel (X) to a format with alpha.
//!
//! A [`CopyDevice`] can convert each format that it reads to each format that it writes, so a device is declared once for each
//! set of formats for which that holds.
//!
//! # References
//! Vulkan, vkCmdBlitImage: no format that requires a sampler Y′CBCR conversion (VUID-vkCmdBlitImage-srcImage-06421 and
//! -dstImage-06422), a queue with graphics (VUID-vkCmdBlitImage-commandBuffer-cmdpool), and the features BLIT_SRC and BLIT_DST.

use std::collections::BTreeSet;

use ash::vk;

use super::participant::ImageFormat;
use super::purpose::Purpose;
use super::{Gpu, VulkanError, format};
use crate::constraint::{CopierKind, CopyDevice, ExtraFields, FormatSet};
use crate::model::{Extent, FormatModifier, Fourcc};
use crate::solve::GroupCopier;

/// The Vulkan command with which a device copies one image to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyMethod {
    /// vkCmdCopyImage: the bytes of each pixel do not change.
    Copy,
    /// vkCmdBlitImage: the order or the size of the channels changes.
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
pub(super) fn copy_method(from: Fourcc, to: Fourcc) -> Result<CopyMethod, &'static str> {
    if from == to {
        return Ok(CopyMethod::Copy);
    }
    let (Some(read), Some(written)) = (fourth_channel(from), fourth_channel(to)) else {
        return Err(
            "without a shader, Vulkan converts only between formats with red, green and blue; copy to an image of the same format",
        );
    };
    if (read, written) == (FourthChannel::Undefined, FourthChannel::Alpha) {
        return Err(
            "the source image has an undefined fourth channel (X), which would become alpha; copy to a format without alpha",
        );
    }
    Ok(if format::of(from) == format::of(to) {
        CopyMethod::Copy
    } else {
        CopyMethod::Blit
    })
}

/// Which copies a device can make from and to images of one format and modifier.
#[derive(Clone, Copy)]
struct Ability {
    format: FormatModifier,
    reads: bool,
    writes: bool,
    blits_from: bool,
    blits_to: bool,
}

impl Ability {
    fn of(kind: &ImageFormat) -> Self {
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

/// The formats that one [`CopyDevice`] reads and writes.
struct FormatFamily {
    reads: FormatSet,
    writes: FormatSet,
}

impl FormatFamily {
    /// Returns whether the family already has the format for the abilities that the device has.
    fn has(&self, ability: &Ability) -> bool {
        (!ability.reads || self.reads.contains(ability.format))
            && (!ability.writes || self.writes.contains(ability.format))
    }
}

/// Groups the formats: within each family, each format that is read can be converted to each format that is written.
fn families(abilities: &[Ability], blits: bool) -> Vec<FormatFamily> {
    let set = |filter: &dyn Fn(&Ability) -> bool| -> FormatSet {
        let kept = abilities.iter().filter(|ability| filter(ability));
        kept.map(|ability| ability.format).collect()
    };
    let fourth = |ability: &Ability| fourth_channel(ability.format.fourcc);
    let mut families = Vec::new();
    if blits {
        let is_read = |ability: &Ability| ability.blits_from && fourth(ability).is_some();
        families.push(FormatFamily {
            reads: set(&is_read),
            writes: set(&|ability| {
                let is_alpha = fourth(ability) == Some(FourthChannel::Alpha);
                ability.blits_to && fourth(ability).is_some() && !is_alpha
            }),
        });
        families.push(FormatFamily {
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
        families.push(FormatFamily {
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
    /// Declares the copies that [`Gpu::copy`] makes on this device for images of `extent`, in pixels. Each [`CopyDevice`] has the
    /// formats that the device can import and read, and those that it can import and write. The list is empty for a device that
    /// imports only the buffers of its own DRM device (Venus), because a copy is between buffers of different devices.
    ///
    /// The strides and the memory that the device accepts are not declared: if [`Gpu::import`] refuses a buffer, the CPU has to
    /// copy instead. A device that renders on the CPU (lavapipe) has the cost of a copy by the CPU; all other devices have
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

    /// Returns whether this is the device that a solution chose for a copy, which [`Gpu::copy`] then makes.
    #[must_use]
    pub fn is_copier(&self, copier: &GroupCopier) -> bool {
        copier.kind == CopierKind::Gpu && self.identity().same_device(&copier.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The abilities of a device that copies all formats, and blits those with red, green and blue.
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
                    let found = copy_method(read.fourcc, written.fourcc);
                    assert!(found.is_ok(), "{read} to {written}: {found:?}");
                    assert!(
                        blits || found == Ok(CopyMethod::Copy),
                        "{read} to {written}"
                    );
                }
            }
            for ability in abilities() {
                let is_copied = |family: &FormatFamily| family.has(&ability);
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
        assert!(copy_method(Fourcc::XRGB8888, Fourcc::ARGB8888).is_err());
        assert_eq!(
            copy_method(Fourcc::ARGB8888, Fourcc::XRGB8888),
            Ok(CopyMethod::Copy)
        );
        assert_eq!(
            copy_method(Fourcc::RGB565, Fourcc::ARGB8888),
            Ok(CopyMethod::Blit)
        );
    }

    #[test]
    fn luma_and_chroma_are_copied_to_the_same_format_only() {
        assert_eq!(
            copy_method(Fourcc::NV12, Fourcc::NV12),
            Ok(CopyMethod::Copy)
        );
        assert!(copy_method(Fourcc::NV12, Fourcc::NV21).is_err());
        assert!(copy_method(Fourcc::YUYV, Fourcc::XRGB8888).is_err());
        assert!(copy_method(Fourcc::R8, Fourcc::XRGB8888).is_err());
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
