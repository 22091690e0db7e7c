//! How a camera's pictures are sampled: which numbers mean which colours, and what the device does to get there.

mod sys;

use ash::vk;
use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::backend::vulkan::{Gpu, VulkanError, format_of};
use covalent_alloc::model::{FormatModifier, Fourcc};

pub(super) use sys::Look;

/// How pictures in one format are sampled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampling {
    /// Between pixels, and between samples of chroma.
    pub(super) filter: vk::Filter,
    /// From Y'CbCr to colours; none for RGB.
    pub(super) conversion: Option<Conversion>,
}

/// From Y'CbCr to colours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversion {
    pub(super) format: vk::Format,
    pub(super) model: vk::SamplerYcbcrModelConversion,
    pub(super) range: vk::SamplerYcbcrRange,
    /// Where a sample of chroma lies among the pixels that have it, from left to right and from top to bottom.
    pub(super) chroma: [vk::ChromaLocation; 2],
    /// Whether Cr comes before Cb.
    pub(super) is_swapped: bool,
}

impl Sampling {
    /// Decides for pictures in a format, by what the device has.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device cannot place chroma as cameras do.
    pub(super) fn new(
        gpu: &Gpu,
        format: FormatModifier,
        colours: Colours,
    ) -> Result<Self, VulkanError> {
        format_of(format.fourcc)
            .and_then(|vulkan| Self::by(vulkan, gpu.features(format), format.fourcc, colours))
            .ok_or_else(|| VulkanError::Lacks {
                device: gpu.name().to_owned(),
                lacks: format!("place for the chroma of pictures in {format}"),
            })
    }

    fn by(
        format: vk::Format,
        features: vk::FormatFeatureFlags,
        fourcc: Fourcc,
        colours: Colours,
    ) -> Option<Self> {
        let has = |feature| features.contains(feature);
        let linear = has(vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR);
        let filter = |linear: bool| {
            if linear {
                vk::Filter::LINEAR
            } else {
                vk::Filter::NEAREST
            }
        };
        if !is_ycbcr(fourcc) {
            return Some(Self {
                filter: filter(linear),
                conversion: None,
            });
        }
        let cosited = has(vk::FormatFeatureFlags::COSITED_CHROMA_SAMPLES);
        let midpoint = has(vk::FormatFeatureFlags::MIDPOINT_CHROMA_SAMPLES);
        // As MPEG-2 and every camera has it: on the left one of two pixels, and between two rows.
        let chroma = match (cosited, midpoint) {
            (true, true) => [
                vk::ChromaLocation::COSITED_EVEN,
                vk::ChromaLocation::MIDPOINT,
            ],
            (true, false) => [vk::ChromaLocation::COSITED_EVEN; 2],
            (false, true) => [vk::ChromaLocation::MIDPOINT; 2],
            (false, false) => return None,
        };
        Some(Self {
            // The same between pixels as between samples of chroma, which every device takes.
            filter: filter(
                linear && has(vk::FormatFeatureFlags::SAMPLED_IMAGE_YCBCR_CONVERSION_LINEAR_FILTER),
            ),
            conversion: Some(Conversion {
                format,
                model: match colours.encoding {
                    Encoding::Bt709 => vk::SamplerYcbcrModelConversion::YCBCR_709,
                    Encoding::Bt2020 => vk::SamplerYcbcrModelConversion::YCBCR_2020,
                    _ => vk::SamplerYcbcrModelConversion::YCBCR_601,
                },
                range: if colours.is_full_range {
                    vk::SamplerYcbcrRange::ITU_FULL
                } else {
                    vk::SamplerYcbcrRange::ITU_NARROW
                },
                chroma,
                is_swapped: [Fourcc::NV21, Fourcc::NV61, Fourcc::YVU420].contains(&fourcc),
            }),
        })
    }
}

/// Whether pixels are luma and chroma.
fn is_ycbcr(fourcc: Fourcc) -> bool {
    [
        Fourcc::YUYV,
        Fourcc::UYVY,
        Fourcc::NV12,
        Fourcc::NV21,
        Fourcc::NV16,
        Fourcc::NV61,
        Fourcc::YUV420,
        Fourcc::YVU420,
        Fourcc::YUV422,
    ]
    .contains(&fourcc)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBCAM: Colours = Colours {
        encoding: Encoding::Bt601,
        is_full_range: false,
    };

    #[test]
    fn rgb_is_sampled_as_it_is() {
        let features = vk::FormatFeatureFlags::SAMPLED_IMAGE_FILTER_LINEAR;
        let format = vk::Format::B8G8R8A8_UNORM;
        let sampling = Sampling::by(format, features, Fourcc::XRGB8888, WEBCAM).unwrap();
        assert!(sampling.conversion.is_none());
        assert!(sampling.filter == vk::Filter::LINEAR);
    }

    #[test]
    fn chroma_is_placed_where_the_device_can() {
        let by = |features| {
            let format = vk::Format::G8_B8R8_2PLANE_420_UNORM;
            Sampling::by(format, features, Fourcc::NV21, WEBCAM)
        };
        assert!(by(vk::FormatFeatureFlags::SAMPLED_IMAGE).is_none());
        let sampling = by(vk::FormatFeatureFlags::MIDPOINT_CHROMA_SAMPLES).unwrap();
        let conversion = sampling.conversion.unwrap();
        assert!(conversion.chroma == [vk::ChromaLocation::MIDPOINT; 2]);
        assert!(conversion.is_swapped);
        assert!(conversion.range == vk::SamplerYcbcrRange::ITU_NARROW);
        assert!(sampling.filter == vk::Filter::NEAREST);
    }
}
