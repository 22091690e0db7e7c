//! Sampling of pictures in Y'CbCr: which numbers are which colours, and where chroma lies among the pixels.

mod sys;

use std::fmt;

use ash::vk;

use super::{Gpu, VulkanError, format};
use crate::model::{FormatModifier, Fourcc};
pub use sys::YcbcrConversion;

/// What the numbers of a picture in Y'CbCr mean.
///
/// The default is what cameras and MPEG-2 have: BT.601, narrow range, chroma on the left one of two pixels and between two rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct YcbcrColours {
    /// The matrix from Y'CbCr to R'G'B': YCBCR_601, YCBCR_709 or YCBCR_2020.
    pub model: vk::SamplerYcbcrModelConversion,
    /// Narrow (16 to 235) or full (0 to 255).
    pub range: vk::SamplerYcbcrRange,
    /// Where a sample of chroma lies among the two columns that share it.
    pub x_chroma: vk::ChromaLocation,
    /// Where it lies among the two rows that share it.
    pub y_chroma: vk::ChromaLocation,
}

impl Default for YcbcrColours {
    fn default() -> Self {
        Self {
            model: vk::SamplerYcbcrModelConversion::YCBCR_601,
            range: vk::SamplerYcbcrRange::ITU_NARROW,
            x_chroma: vk::ChromaLocation::COSITED_EVEN,
            y_chroma: vk::ChromaLocation::MIDPOINT,
        }
    }
}

impl fmt::Debug for YcbcrColours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("YcbcrColours")
            .field("model", &self.model.as_raw())
            .field("range", &self.range.as_raw())
            .field("x_chroma", &chroma_name(self.x_chroma))
            .field("y_chroma", &chroma_name(self.y_chroma))
            .finish()
    }
}

/// What a device does with the chroma of pictures in one format and modifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChromaSupport {
    /// Chroma on the first one of two pixels (VK_FORMAT_FEATURE_COSITED_CHROMA_SAMPLES_BIT).
    pub cosited: bool,
    /// Chroma between two pixels (VK_FORMAT_FEATURE_MIDPOINT_CHROMA_SAMPLES_BIT).
    pub midpoint: bool,
    /// Chroma is interpolated (VK_FORMAT_FEATURE_SAMPLED_IMAGE_YCBCR_CONVERSION_LINEAR_FILTER_BIT).
    pub linear_chroma: bool,
    /// Pixels are interpolated (VK_FORMAT_FEATURE_SAMPLED_IMAGE_FILTER_LINEAR_BIT).
    pub linear: bool,
    /// Pixels are interpolated otherwise than chroma
    /// (VK_FORMAT_FEATURE_SAMPLED_IMAGE_YCBCR_CONVERSION_SEPARATE_RECONSTRUCTION_FILTER_BIT).
    pub separate_filter: bool,
}

impl ChromaSupport {
    fn of(features: vk::FormatFeatureFlags) -> Self {
        use vk::FormatFeatureFlags as Flags;
        let has = |flag| features.contains(flag);
        Self {
            cosited: has(Flags::COSITED_CHROMA_SAMPLES),
            midpoint: has(Flags::MIDPOINT_CHROMA_SAMPLES),
            linear_chroma: has(Flags::SAMPLED_IMAGE_YCBCR_CONVERSION_LINEAR_FILTER),
            linear: has(Flags::SAMPLED_IMAGE_FILTER_LINEAR),
            separate_filter: has(
                Flags::SAMPLED_IMAGE_YCBCR_CONVERSION_SEPARATE_RECONSTRUCTION_FILTER,
            ),
        }
    }

    /// The best filter between pixels that the device has for the format.
    #[must_use]
    pub fn filter(self) -> vk::Filter {
        if self.linear && (self.linear_chroma || self.separate_filter) {
            vk::Filter::LINEAR
        } else {
            vk::Filter::NEAREST
        }
    }

    /// The same colours with chroma where the device places it, for an application that would rather be half a pixel off than show
    /// nothing; `None` where the device places no chroma of the format.
    #[must_use]
    pub fn nearest(self, colours: YcbcrColours) -> Option<YcbcrColours> {
        let place = |at| {
            [
                at,
                vk::ChromaLocation::COSITED_EVEN,
                vk::ChromaLocation::MIDPOINT,
            ]
            .into_iter()
            .find(|at| self.places(*at))
        };
        Some(YcbcrColours {
            x_chroma: place(colours.x_chroma)?,
            y_chroma: place(colours.y_chroma)?,
            ..colours
        })
    }

    fn places(self, at: vk::ChromaLocation) -> bool {
        match at {
            vk::ChromaLocation::COSITED_EVEN => self.cosited,
            vk::ChromaLocation::MIDPOINT => self.midpoint,
            _ => false,
        }
    }

    /// Why the device does not sample so; `None` where it does. Chroma is placed only where a step is more than one pixel.
    ///
    /// # References
    /// VUID-VkSamplerYcbcrConversionCreateInfo-xChromaOffset-01651 and -01652, -chromaFilter-01657;
    /// VUID-VkSamplerCreateInfo-minFilter-01645.
    fn refusal(
        self,
        steps: (u32, u32),
        colours: &YcbcrColours,
        filter: vk::Filter,
    ) -> Option<String> {
        for (step, at, side) in [
            (steps.0, colours.x_chroma, "x_chroma"),
            (steps.1, colours.y_chroma, "y_chroma"),
        ] {
            if step > 1 && !self.places(at) {
                let others: Vec<&str> = [
                    vk::ChromaLocation::COSITED_EVEN,
                    vk::ChromaLocation::MIDPOINT,
                ]
                .into_iter()
                .filter(|at| self.places(*at))
                .map(chroma_name)
                .collect();
                let has = if others.is_empty() {
                    "it places no chroma of this format".to_owned()
                } else {
                    format!("it has {}", others.join(" and "))
                };
                return Some(format!(
                    "its samplers do not place chroma at {} ({side}); {has}",
                    chroma_name(at)
                ));
            }
        }
        let is_linear = filter == vk::Filter::LINEAR;
        if is_linear && !self.linear {
            return Some(
                "its samplers do not interpolate pixels of this format; use VK_FILTER_NEAREST"
                    .to_owned(),
            );
        }
        if is_linear && !self.linear_chroma && !self.separate_filter {
            return Some(
                "its samplers do not interpolate chroma of this format; use VK_FILTER_NEAREST"
                    .to_owned(),
            );
        }
        None
    }

    /// How chroma is interpolated with a filter between pixels: as pixels are, except where the device does only that.
    fn chroma_filter(self, filter: vk::Filter) -> vk::Filter {
        if self.linear_chroma {
            filter
        } else {
            vk::Filter::NEAREST
        }
    }
}

fn chroma_name(at: vk::ChromaLocation) -> &'static str {
    match at {
        vk::ChromaLocation::COSITED_EVEN => "COSITED_EVEN",
        vk::ChromaLocation::MIDPOINT => "MIDPOINT",
        _ => "an unknown place",
    }
}

/// Whether pixels are luma and chroma: the pixels of no format that Vulkan names share anything else.
fn is_ycbcr(fourcc: Fourcc) -> bool {
    format::steps(fourcc) != (1, 1)
}

/// How a component that the sampler reads as red is found, where Cr lies before Cb: Vulkan names formats with Cb first.
fn components(fourcc: Fourcc) -> vk::ComponentMapping {
    let mut components = vk::ComponentMapping::default();
    if matches!(fourcc, Fourcc::NV21 | Fourcc::NV61 | Fourcc::YVU420) {
        components.r = vk::ComponentSwizzle::B;
        components.b = vk::ComponentSwizzle::R;
    }
    components
}

impl Gpu {
    /// What the device does with the chroma of pictures in a format.
    #[must_use]
    pub fn chroma_support(&self, format: FormatModifier) -> ChromaSupport {
        ChromaSupport::of(self.features(format))
    }

    /// Makes what converts pictures in a format to RGB while they are sampled: a VkSamplerYcbcrConversion and a sampler with it.
    ///
    /// What the device does not do is not approximated: [`Gpu::chroma_support`] says what it does. `filter` is between pixels and
    /// between samples of chroma; where the device interpolates pixels alone, chroma is not interpolated.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where samplerYcbcrConversion is not switched on; [`VulkanError::Sampling`] for a format that is not
    /// Y'CbCr, that the device does not sample, or whose chroma it does not place or interpolate so; [`VulkanError::Call`].
    ///
    /// # References
    /// Vulkan, "Sampler Y'CBCR Conversion" and "Chroma Reconstruction".
    pub fn ycbcr_conversion(
        &self,
        format: FormatModifier,
        colours: YcbcrColours,
        filter: vk::Filter,
    ) -> Result<YcbcrConversion, VulkanError> {
        if !self.device().has_ycbcr {
            return Err(VulkanError::Lacks {
                device: self.name().to_owned(),
                lacks: "samplerYcbcrConversion switched on (Capabilities::YCBCR)".to_owned(),
            });
        }
        let refused = |why: String| VulkanError::Sampling {
            device: self.name().to_owned(),
            format,
            why,
        };
        let vulkan = format::of(format.fourcc)
            .filter(|_| is_ycbcr(format.fourcc))
            .ok_or_else(|| {
                refused("it is no format of luma and chroma that Vulkan names".to_owned())
            })?;
        let features = self.features(format);
        if !features.contains(vk::FormatFeatureFlags::SAMPLED_IMAGE) {
            return Err(refused("it samples no such images".to_owned()));
        }
        let support = ChromaSupport::of(features);
        if let Some(why) = support.refusal(format::steps(format.fourcc), &colours, filter) {
            return Err(refused(why));
        }
        let info = vk::SamplerYcbcrConversionCreateInfo::default()
            .format(vulkan)
            .ycbcr_model(colours.model)
            .ycbcr_range(colours.range)
            .components(components(format.fourcc))
            .x_chroma_offset(colours.x_chroma)
            .y_chroma_offset(colours.y_chroma)
            .chroma_filter(support.chroma_filter(filter));
        YcbcrConversion::new(self, vulkan, &info, filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ChromaSupport = ChromaSupport {
        cosited: true,
        midpoint: true,
        linear_chroma: true,
        linear: true,
        separate_filter: false,
    };

    fn refusal(support: ChromaSupport, fourcc: Fourcc, filter: vk::Filter) -> Option<String> {
        support.refusal(format::steps(fourcc), &YcbcrColours::default(), filter)
    }

    #[test]
    fn chroma_is_placed_where_the_device_places_it_and_nowhere_else() {
        let midpoint = ChromaSupport {
            cosited: false,
            ..ALL
        };
        assert_eq!(refusal(ALL, Fourcc::NV12, vk::Filter::LINEAR), None);
        assert_eq!(
            refusal(midpoint, Fourcc::NV12, vk::Filter::LINEAR).unwrap(),
            "its samplers do not place chroma at COSITED_EVEN (x_chroma); it has MIDPOINT"
        );
        let cosited = ChromaSupport {
            midpoint: false,
            ..ALL
        };
        // Rows share nothing in 4:2:2, so that where chroma lies among them is not asked.
        assert_eq!(refusal(cosited, Fourcc::NV16, vk::Filter::LINEAR), None);
        assert_eq!(refusal(cosited, Fourcc::YUYV, vk::Filter::LINEAR), None);
        assert!(refusal(cosited, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        assert!(
            refusal(ChromaSupport::default(), Fourcc::NV12, vk::Filter::NEAREST)
                .is_some_and(|why| why.ends_with("it places no chroma of this format"))
        );
    }

    #[test]
    fn chroma_that_is_not_placed_as_asked_moves_to_where_it_is() {
        let colours = YcbcrColours::default();
        assert_eq!(ALL.nearest(colours), Some(colours));
        let midpoint = ChromaSupport {
            cosited: false,
            ..ALL
        };
        let moved = midpoint.nearest(colours).unwrap();
        assert!(moved.x_chroma == vk::ChromaLocation::MIDPOINT);
        assert!(moved.model == colours.model);
        assert_eq!(ChromaSupport::default().nearest(colours), None);
        assert!(ALL.filter() == vk::Filter::LINEAR);
        assert!(ChromaSupport::default().filter() == vk::Filter::NEAREST);
    }

    #[test]
    fn linear_filter_needs_both_of_its_features_or_a_filter_apart() {
        let none = ChromaSupport {
            linear: false,
            ..ALL
        };
        assert!(refusal(none, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        assert_eq!(refusal(none, Fourcc::NV12, vk::Filter::NEAREST), None);
        let pixels_alone = ChromaSupport {
            linear_chroma: false,
            ..ALL
        };
        assert!(refusal(pixels_alone, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        let apart = ChromaSupport {
            separate_filter: true,
            ..pixels_alone
        };
        assert_eq!(refusal(apart, Fourcc::NV12, vk::Filter::LINEAR), None);
        assert!(apart.chroma_filter(vk::Filter::LINEAR) == vk::Filter::NEAREST);
        assert!(ALL.chroma_filter(vk::Filter::LINEAR) == vk::Filter::LINEAR);
    }

    #[test]
    fn formats_with_cr_first_have_the_two_swapped() {
        for (fourcc, is_swapped) in [
            (Fourcc::NV12, false),
            (Fourcc::NV21, true),
            (Fourcc::NV61, true),
            (Fourcc::YUV420, false),
            (Fourcc::YVU420, true),
            (Fourcc::YUYV, false),
        ] {
            assert!(is_ycbcr(fourcc), "{fourcc}");
            let found = components(fourcc);
            assert_eq!(found.r == vk::ComponentSwizzle::B, is_swapped, "{fourcc}");
            assert_eq!(found.b == vk::ComponentSwizzle::R, is_swapped, "{fourcc}");
        }
        assert!(!is_ycbcr(Fourcc::XRGB8888) && !is_ycbcr(Fourcc::R8));
    }

    #[test]
    fn every_format_of_luma_and_chroma_is_found_by_its_steps() {
        let found: Vec<Fourcc> = format::all()
            .map(|(fourcc, _)| fourcc)
            .filter(|fourcc| is_ycbcr(*fourcc))
            .collect();
        assert_eq!(found.len(), 9, "{found:?}");
    }
}
