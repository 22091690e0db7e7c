//! How a camera's pictures are sampled: which numbers mean which colours, and what the device does to get there.

mod sys;

use ash::vk;
use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::backend::vulkan::{ChromaSupport, Gpu, VulkanError, YcbcrColours};
use covalent_alloc::model::{FormatModifier, Fourcc};

pub(super) use sys::Look;

/// How pictures in one format are sampled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampling {
    /// The format of the pictures.
    pub(super) format: FormatModifier,
    /// Between pixels, and between samples of chroma.
    pub(super) filter: vk::Filter,
    /// What the numbers mean from which RGB is made; none for RGB.
    pub(super) colours: Option<YcbcrColours>,
}

impl Sampling {
    /// Decides for pictures in a format, by what the device has.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device places no chroma of the format.
    pub(super) fn new(
        gpu: &Gpu,
        format: FormatModifier,
        colours: Colours,
    ) -> Result<Self, VulkanError> {
        Self::by(gpu.chroma_support(format), format, colours).ok_or_else(|| VulkanError::Lacks {
            device: gpu.name().to_owned(),
            lacks: format!("place for the chroma of pictures in {format}"),
        })
    }

    fn by(support: ChromaSupport, format: FormatModifier, colours: Colours) -> Option<Self> {
        if !is_ycbcr(format.fourcc) {
            return Some(Self {
                format,
                filter: if support.linear {
                    vk::Filter::LINEAR
                } else {
                    vk::Filter::NEAREST
                },
                colours: None,
            });
        }
        // Chroma lies as MPEG-2 and every camera has it, which is the default.
        let wanted = YcbcrColours {
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
            ..YcbcrColours::default()
        };
        Some(Self {
            format,
            filter: support.filter(),
            colours: Some(support.nearest(wanted)?),
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
        let mut support = ChromaSupport::default();
        support.linear = true;
        let format = FormatModifier::linear(Fourcc::XRGB8888);
        let sampling = Sampling::by(support, format, WEBCAM).unwrap();
        assert!(sampling.colours.is_none());
        assert!(sampling.filter == vk::Filter::LINEAR);
    }

    #[test]
    fn chroma_is_placed_where_the_device_can() {
        let by = |support| Sampling::by(support, FormatModifier::linear(Fourcc::NV21), WEBCAM);
        assert!(by(ChromaSupport::default()).is_none());
        let mut support = ChromaSupport::default();
        support.midpoint = true;
        let sampling = by(support).unwrap();
        let colours = sampling.colours.unwrap();
        assert!(colours.x_chroma == vk::ChromaLocation::MIDPOINT);
        assert!(colours.y_chroma == vk::ChromaLocation::MIDPOINT);
        assert!(colours.range == vk::SamplerYcbcrRange::ITU_NARROW);
        assert!(sampling.filter == vk::Filter::NEAREST);
    }
}
