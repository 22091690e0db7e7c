//! The sampling of a camera's textures: filter, YUV matrix, range and chroma location.

mod sys;

use ash::vk;
use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::backend::vulkan::{ChromaSupport, Gpu, VulkanError, YcbcrColours};
use covalent_alloc::model::{FormatModifier, Fourcc};

pub(super) use sys::SharedLayout;

/// The sampling of textures of one format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampling {
    /// The format of the textures.
    pub(super) format: FormatModifier,
    /// The filter for pixels and for chroma samples.
    pub(super) filter: vk::Filter,
    /// The conversion from Y'CbCr; `None` for RGB.
    pub(super) colours: Option<YcbcrColours>,
}

impl Sampling {
    /// Chooses the sampling of a format by what the device supports.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device supports no chroma location for the format.
    pub(super) fn new(
        gpu: &Gpu,
        format: FormatModifier,
        colours: Colours,
    ) -> Result<Self, VulkanError> {
        Self::by(gpu.chroma_support(format), format, colours).ok_or_else(|| VulkanError::Lacks {
            device: gpu.name().to_owned(),
            lacks: format!("chroma location for images in {format}"),
        })
    }

    /// Returns the sampling of a format with what the device supports; `None` if it supports no chroma location for the format.
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
        // The default chroma location is that of MPEG-2, which cameras use.
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

/// Returns whether a format is Y'CbCr.
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
    fn rgb_texture_needs_no_conversion() {
        let mut support = ChromaSupport::default();
        support.linear = true;
        let format = FormatModifier::linear(Fourcc::XRGB8888);
        let sampling = Sampling::by(support, format, WEBCAM).unwrap();
        assert!(sampling.colours.is_none());
        assert!(sampling.filter == vk::Filter::LINEAR);
    }

    #[test]
    fn chroma_location_without_a_cosited_one_is_the_midpoint() {
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
