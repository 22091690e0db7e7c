//! Samples Y'CbCr images as RGB: the colour model, the range, the chroma location and the filters of the conversion.

mod sys;

use std::fmt;

use ash::vk;

use super::{Gpu, VulkanError, format};
use crate::model::{FormatModifier, Fourcc};
pub use sys::YcbcrConversion;

/// The colour encoding of a Y'CbCr image.
///
/// The default is what most cameras and MPEG-2 use: BT.601, narrow range, and chroma samples at even columns and midway between
/// rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct YcbcrColours {
    /// The matrix between Y'CbCr and R'G'B': YCBCR_601, YCBCR_709 or YCBCR_2020.
    pub model: vk::SamplerYcbcrModelConversion,
    /// The quantization range: narrow (16 to 235) or full (0 to 255).
    pub range: vk::SamplerYcbcrRange,
    /// The horizontal location of a chroma sample in the two columns that share it.
    pub x_chroma: vk::ChromaLocation,
    /// The vertical location of a chroma sample in the two rows that share it.
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

/// The chroma sampling features of a device for one format and modifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChromaSupport {
    /// Chroma samples can be cosited with even pixels (VK_FORMAT_FEATURE_COSITED_CHROMA_SAMPLES_BIT).
    pub cosited: bool,
    /// Chroma samples can lie midway between pixels (VK_FORMAT_FEATURE_MIDPOINT_CHROMA_SAMPLES_BIT).
    pub midpoint: bool,
    /// Chroma can be filtered linearly (VK_FORMAT_FEATURE_SAMPLED_IMAGE_YCBCR_CONVERSION_LINEAR_FILTER_BIT).
    pub linear_chroma: bool,
    /// Pixels can be filtered linearly (VK_FORMAT_FEATURE_SAMPLED_IMAGE_FILTER_LINEAR_BIT).
    pub linear: bool,
    /// Pixels and chroma can have different filters
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

    /// Returns the best pixel filter that the device supports for the format.
    #[must_use]
    pub fn filter(self) -> vk::Filter {
        if self.linear && (self.linear_chroma || self.separate_filter) {
            vk::Filter::LINEAR
        } else {
            vk::Filter::NEAREST
        }
    }

    /// Returns `colours` unchanged if the device supports their chroma location, otherwise with a chroma location that it
    /// supports; `None` if it supports no chroma location for the format.
    ///
    /// A changed chroma location shifts the chroma by up to half a pixel, which an application may prefer to the error of
    /// [`Gpu::ycbcr_conversion`].
    #[must_use]
    pub fn nearest(self, colours: YcbcrColours) -> Option<YcbcrColours> {
        let supported = |at| {
            [
                at,
                vk::ChromaLocation::COSITED_EVEN,
                vk::ChromaLocation::MIDPOINT,
            ]
            .into_iter()
            .find(|at| self.supports_location(*at))
        };
        Some(YcbcrColours {
            x_chroma: supported(colours.x_chroma)?,
            y_chroma: supported(colours.y_chroma)?,
            ..colours
        })
    }

    fn supports_location(self, at: vk::ChromaLocation) -> bool {
        match at {
            vk::ChromaLocation::COSITED_EVEN => self.cosited,
            vk::ChromaLocation::MIDPOINT => self.midpoint,
            _ => false,
        }
    }

    /// Returns why the device cannot sample with these parameters; `None` if it can. The chroma location is checked only in a
    /// direction in which the chroma is subsampled.
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
            if step > 1 && !self.supports_location(at) {
                let others: Vec<&str> = [
                    vk::ChromaLocation::COSITED_EVEN,
                    vk::ChromaLocation::MIDPOINT,
                ]
                .into_iter()
                .filter(|at| self.supports_location(*at))
                .map(chroma_name)
                .collect();
                let has = if others.is_empty() {
                    "it supports no chroma location for this format".to_owned()
                } else {
                    format!("it supports {}", others.join(" and "))
                };
                return Some(format!(
                    "its samplers do not support the chroma location {} ({side}); {has}",
                    chroma_name(at)
                ));
            }
        }
        let is_linear = filter == vk::Filter::LINEAR;
        if is_linear && !self.linear {
            return Some(
                "its samplers do not filter this format linearly; use VK_FILTER_NEAREST".to_owned(),
            );
        }
        if is_linear && !self.linear_chroma && !self.separate_filter {
            return Some(
                "its samplers do not filter the chroma of this format linearly; use VK_FILTER_NEAREST"
                    .to_owned(),
            );
        }
        None
    }

    /// Returns the chroma filter for a pixel filter: the same filter, or NEAREST if the device cannot filter chroma linearly.
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
        _ => "unknown",
    }
}

/// Whether a format is Y'CbCr. In the table of Vulkan formats, exactly the Y'CbCr formats have subsampled chroma.
fn is_ycbcr(fourcc: Fourcc) -> bool {
    format::size_multiples(fourcc) != (1, 1)
}

/// Returns the component mapping of a conversion. It swaps Cb and Cr for fourccs with Cr before Cb, because Vulkan only has
/// formats with Cb first.
fn components(fourcc: Fourcc) -> vk::ComponentMapping {
    let mut components = vk::ComponentMapping::default();
    if matches!(fourcc, Fourcc::NV21 | Fourcc::NV61 | Fourcc::YVU420) {
        components.r = vk::ComponentSwizzle::B;
        components.b = vk::ComponentSwizzle::R;
    }
    components
}

impl Gpu {
    /// Returns the chroma sampling features of the device for a format and modifier.
    #[must_use]
    pub fn chroma_support(&self, format: FormatModifier) -> ChromaSupport {
        ChromaSupport::of(self.features(format))
    }

    /// Creates a VkSamplerYcbcrConversion and a sampler that converts a format to RGB while it is sampled.
    ///
    /// A chroma location or filter that the device does not support is an error; [`Gpu::chroma_support`] returns which ones it
    /// supports. `filter` applies to luma and chroma; if the device can filter linearly but not chroma, the chroma filter is
    /// NEAREST.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if samplerYcbcrConversion is not enabled; [`VulkanError::Sampling`] for a format that is not Y'CbCr
    /// or that the device cannot sample, and for a chroma location or a filter that the device does not support;
    /// [`VulkanError::Call`].
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
                lacks: "samplerYcbcrConversion enabled (Capabilities::YCBCR)".to_owned(),
            });
        }
        let refused = |why: String| VulkanError::Sampling {
            device: self.name().to_owned(),
            format,
            why,
        };
        let vulkan = format::of(format.fourcc)
            .filter(|_| is_ycbcr(format.fourcc))
            .ok_or_else(|| refused("Vulkan has no Y'CbCr format for this fourcc".to_owned()))?;
        let features = self.features(format);
        if !features.contains(vk::FormatFeatureFlags::SAMPLED_IMAGE) {
            return Err(refused(
                "the device cannot sample images of this format and modifier".to_owned(),
            ));
        }
        let support = ChromaSupport::of(features);
        if let Some(why) = support.refusal(format::size_multiples(format.fourcc), &colours, filter)
        {
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
        support.refusal(
            format::size_multiples(fourcc),
            &YcbcrColours::default(),
            filter,
        )
    }

    #[test]
    fn chroma_location_that_the_device_lacks_is_refused() {
        let midpoint = ChromaSupport {
            cosited: false,
            ..ALL
        };
        assert_eq!(refusal(ALL, Fourcc::NV12, vk::Filter::LINEAR), None);
        assert_eq!(
            refusal(midpoint, Fourcc::NV12, vk::Filter::LINEAR).unwrap(),
            "its samplers do not support the chroma location COSITED_EVEN (x_chroma); it supports MIDPOINT"
        );
        let cosited = ChromaSupport {
            midpoint: false,
            ..ALL
        };
        // The chroma of 4:2:2 is not subsampled vertically, so the vertical chroma location is not checked.
        assert_eq!(refusal(cosited, Fourcc::NV16, vk::Filter::LINEAR), None);
        assert_eq!(refusal(cosited, Fourcc::YUYV, vk::Filter::LINEAR), None);
        assert!(refusal(cosited, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        assert!(
            refusal(ChromaSupport::default(), Fourcc::NV12, vk::Filter::NEAREST)
                .is_some_and(|why| why.ends_with("it supports no chroma location for this format"))
        );
    }

    #[test]
    fn unsupported_chroma_location_moves_to_a_supported_one() {
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
    fn linear_filter_needs_both_features_or_separate_filters() {
        let none = ChromaSupport {
            linear: false,
            ..ALL
        };
        assert!(refusal(none, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        assert_eq!(refusal(none, Fourcc::NV12, vk::Filter::NEAREST), None);
        let pixels_only = ChromaSupport {
            linear_chroma: false,
            ..ALL
        };
        assert!(refusal(pixels_only, Fourcc::NV12, vk::Filter::LINEAR).is_some());
        let separate = ChromaSupport {
            separate_filter: true,
            ..pixels_only
        };
        assert_eq!(refusal(separate, Fourcc::NV12, vk::Filter::LINEAR), None);
        assert!(separate.chroma_filter(vk::Filter::LINEAR) == vk::Filter::NEAREST);
        assert!(ALL.chroma_filter(vk::Filter::LINEAR) == vk::Filter::LINEAR);
    }

    #[test]
    fn format_with_cr_first_has_red_and_blue_swapped() {
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
    fn every_ycbcr_format_is_recognised_by_its_size_multiples() {
        let found: Vec<Fourcc> = format::all()
            .map(|(fourcc, _)| fourcc)
            .filter(|fourcc| is_ycbcr(*fourcc))
            .collect();
        assert_eq!(found.len(), 9, "{found:?}");
    }
}
