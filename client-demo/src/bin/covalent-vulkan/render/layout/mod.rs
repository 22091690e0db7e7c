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
        let (model, range) = model_and_range(colours);
        let wanted = YcbcrColours {
            model,
            range,
            ..YcbcrColours::default()
        };
        Some(Self {
            format,
            filter: support.filter(),
            colours: Some(support.nearest(wanted)?),
        })
    }
}

/// Returns the matrix and the range of Vulkan's Y'CbCr conversion.
fn model_and_range(colours: Colours) -> (vk::SamplerYcbcrModelConversion, vk::SamplerYcbcrRange) {
    let model = match colours.encoding {
        Encoding::Bt709 => vk::SamplerYcbcrModelConversion::YCBCR_709,
        Encoding::Bt2020 => vk::SamplerYcbcrModelConversion::YCBCR_2020,
        _ => vk::SamplerYcbcrModelConversion::YCBCR_601,
    };
    let range = match colours.is_full_range {
        true => vk::SamplerYcbcrRange::ITU_FULL,
        false => vk::SamplerYcbcrRange::ITU_NARROW,
    };
    (model, range)
}

/// Returns whether a format is Y'CbCr.
fn is_ycbcr(fourcc: Fourcc) -> bool {
    fourcc.info().is_some_and(|info| info.is_yuv)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBCAM: Colours = Colours {
        encoding: Encoding::Bt601,
        is_full_range: false,
    };

    #[test]
    fn every_matrix_and_range_has_its_conversion() {
        use vk::SamplerYcbcrModelConversion as Model;
        let table = [
            (Encoding::Bt601, Model::YCBCR_601),
            (Encoding::Bt709, Model::YCBCR_709),
            (Encoding::Bt2020, Model::YCBCR_2020),
        ];
        for (encoding, model) in table {
            for (is_full_range, range) in [
                (true, vk::SamplerYcbcrRange::ITU_FULL),
                (false, vk::SamplerYcbcrRange::ITU_NARROW),
            ] {
                let colours = Colours {
                    encoding,
                    is_full_range,
                };
                assert!(model_and_range(colours) == (model, range), "{colours}");
            }
        }
    }

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
