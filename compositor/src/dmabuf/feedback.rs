//! The dma-buf feedback that clients receive: the formats and modifiers of each tranche.

use covalent_protocols::{
    Device, Feedback, FeedbackError, FormatEntry, FormatTable, Tranche, TrancheFlags,
};

use crate::render::PixelFormat;
use crate::render::gles::SampledFormat;

/// `DRM_FORMAT_MOD_LINEAR`, the only modifier whose layout the CPU can read.
const LINEAR: u64 = 0;

/// The formats and modifiers that an output supports for clients' buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupportedFormats {
    /// The main device as a `dev_t`; 0 if there is no device.
    pub device: u64,
    /// Formats and modifiers of the primary plane.
    pub scanout: Vec<FormatEntry>,
    /// Formats and modifiers of the overlay planes, which can show clients' buffers too.
    pub overlay: Vec<FormatEntry>,
    /// Formats and modifiers that the GPU renderer imports without a copy; empty if the CPU renderer composes.
    pub sampled: Vec<SampledFormat>,
}

impl SupportedFormats {
    /// Returns whether the GPU renderer imports a format and modifier without a copy.
    fn samples(&self, entry: FormatEntry) -> bool {
        self.planes_of(entry).is_some()
    }

    /// Returns the number of planes of a buffer that the GPU renderer imports with this format and modifier; `None` if it cannot
    /// import them.
    fn planes_of(&self, entry: FormatEntry) -> Option<usize> {
        let sampled_format = self.sampled.iter().find(|sampled| {
            sampled.format.fourcc() == entry.fourcc && sampled.modifier == entry.modifier
        });
        sampled_format.map(|sampled| sampled.planes)
    }

    /// Returns the number of planes of a buffer with this format and modifier; `None` if clients may not create such a buffer.
    pub fn planes(&self, fourcc: u32, modifier: u64) -> Option<usize> {
        if modifier == LINEAR {
            return PixelFormat::from_fourcc(fourcc).map(PixelFormat::planes);
        }
        self.planes_of(FormatEntry { fourcc, modifier })
    }
}

/// Builds the feedback. The tranches are, in this order: scanout by the primary plane, scanout by the overlay planes, formats
/// that the GPU renderer imports, and all other formats.
///
/// The CPU can read every linear buffer that can be mapped, even if the card rejects it: the CPU renderer composes it, or the CPU
/// uploads it for the GPU renderer. So linear is advertised for all formats. Other modifiers are advertised only if the GPU
/// renderer can sample them. The scanout tranches contain only formats and modifiers that can also be composed, because a buffer
/// has to be composed when another window covers it or is next to it.
///
/// # Errors
///
/// When a tranche refers to an entry that the format table lacks, which would be a bug in this function.
pub fn build_feedback(formats: &SupportedFormats) -> Result<Feedback, FeedbackError> {
    let tiled = formats
        .sampled
        .iter()
        .filter(|sampled| sampled.modifier != LINEAR)
        .map(|sampled| FormatEntry {
            fourcc: sampled.format.fourcc(),
            modifier: sampled.modifier,
        });
    let linear = PixelFormat::ALL.into_iter().map(|format| FormatEntry {
        fourcc: format.fourcc(),
        modifier: LINEAR,
    });
    // The driver's own modifiers come first, because the GPU samples them faster than linear buffers.
    let entries: Vec<FormatEntry> = tiled.chain(linear).collect();
    let device = Device(formats.device);
    let indices = |keep: &dyn Fn(&FormatEntry) -> bool| {
        (0..=u16::MAX)
            .zip(&entries)
            .filter(|(_, entry)| keep(entry))
            .map(|(index, _)| index)
            .collect::<Vec<u16>>()
    };
    let scanout = indices(&|entry| formats.scanout.contains(entry));
    // The second tranche has only entries that the first tranche lacks, because the protocol forbids repeating an entry for the
    // same device and flags. The primary plane comes first, because it can show a fullscreen window.
    let overlay =
        indices(&|entry| formats.overlay.contains(entry) && !formats.scanout.contains(entry));
    let mut tranches = Vec::new();
    for indices in [scanout, overlay] {
        if !indices.is_empty() {
            tranches.push(Tranche {
                device,
                flags: TrancheFlags::SCANOUT,
                indices,
            });
        }
    }
    let sampled = indices(&|entry| formats.samples(*entry));
    let read = indices(&|entry| !formats.samples(*entry));
    for indices in [sampled, read] {
        if !indices.is_empty() {
            tranches.push(Tranche {
                device,
                flags: TrancheFlags::empty(),
                indices,
            });
        }
    }
    let table = FormatTable::new(entries).unwrap_or_default();
    Feedback::new(device, table, tranches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(format: PixelFormat, modifier: u64) -> FormatEntry {
        FormatEntry {
            fourcc: format.fourcc(),
            modifier,
        }
    }

    fn sampled(format: PixelFormat, modifier: u64, planes: usize) -> SampledFormat {
        SampledFormat {
            format,
            modifier,
            planes,
        }
    }

    #[test]
    fn scanout_tranche_with_a_layout_that_cannot_be_composed_omits_it() {
        let formats = SupportedFormats {
            device: 0xe200,
            scanout: vec![
                entry(PixelFormat::Xrgb8888, LINEAR),
                entry(PixelFormat::Xrgb8888, 7),
            ],
            ..SupportedFormats::default()
        };
        let feedback = build_feedback(&formats).unwrap();
        let [scanout, read] = feedback.tranches() else {
            panic!("{feedback:?}");
        };
        assert_eq!(scanout.flags, TrancheFlags::SCANOUT);
        let entries: Vec<_> = feedback.formats(scanout).collect();
        assert_eq!(entries, [entry(PixelFormat::Xrgb8888, LINEAR)]);
        assert_eq!(read.indices.len(), PixelFormat::ALL.len());
        assert!(!feedback.advertises(entry(PixelFormat::Xrgb8888, 7)));
    }

    #[test]
    fn tranche_of_gpu_formats_comes_before_the_tranche_of_cpu_formats() {
        let formats = SupportedFormats {
            device: 0xe200,
            sampled: vec![sampled(PixelFormat::Argb8888, LINEAR, 1)],
            ..SupportedFormats::default()
        };
        let feedback = build_feedback(&formats).unwrap();
        let [sampled, read] = feedback.tranches() else {
            panic!("{feedback:?}");
        };
        let entries: Vec<_> = feedback.formats(sampled).collect();
        assert_eq!(entries, [entry(PixelFormat::Argb8888, LINEAR)]);
        assert_eq!(read.indices.len(), PixelFormat::ALL.len() - 1);
        assert!(!feedback.advertises(entry(PixelFormat::Argb8888, 7)));
    }

    #[test]
    fn window_gets_the_formats_of_the_overlay_planes_as_a_scanout_tranche() {
        let fullscreen = SupportedFormats {
            device: 0xe200,
            scanout: vec![entry(PixelFormat::Xrgb8888, LINEAR)],
            overlay: vec![
                entry(PixelFormat::Xrgb8888, LINEAR),
                entry(PixelFormat::Nv12, LINEAR),
            ],
            sampled: Vec::new(),
        };
        let feedback = build_feedback(&fullscreen).unwrap();
        let formats: Vec<Vec<_>> = feedback
            .tranches()
            .iter()
            .filter(|tranche| tranche.flags == TrancheFlags::SCANOUT)
            .map(|tranche| feedback.formats(tranche).collect())
            .collect();
        let (rgb, video) = (
            entry(PixelFormat::Xrgb8888, LINEAR),
            entry(PixelFormat::Nv12, LINEAR),
        );
        assert_eq!(formats, [vec![rgb], vec![video]]);
        let windowed = build_feedback(&SupportedFormats {
            scanout: Vec::new(),
            ..fullscreen
        })
        .unwrap();
        let [overlay, _] = windowed.tranches() else {
            panic!("{windowed:?}");
        };
        assert_eq!(overlay.flags, TrancheFlags::SCANOUT);
        assert_eq!(windowed.formats(overlay).collect::<Vec<_>>(), [rgb, video]);
    }

    #[test]
    fn modifier_that_the_gpu_samples_is_advertised_before_linear_with_its_planes() {
        let compressed = sampled(PixelFormat::Xrgb8888, 9, 2);
        let formats = SupportedFormats {
            device: 0xe200,
            scanout: vec![
                entry(PixelFormat::Xrgb8888, 7),
                entry(PixelFormat::Xrgb8888, 9),
                entry(PixelFormat::Argb8888, 7),
            ],
            overlay: Vec::new(),
            sampled: vec![
                sampled(PixelFormat::Xrgb8888, 7, 1),
                compressed,
                sampled(PixelFormat::Xrgb8888, LINEAR, 1),
            ],
        };
        let feedback = build_feedback(&formats).unwrap();
        let [scanout, sampled, read] = feedback.tranches() else {
            panic!("{feedback:?}");
        };
        let entries: Vec<_> = feedback.formats(scanout).collect();
        let tiled = [7, 9].map(|modifier| entry(PixelFormat::Xrgb8888, modifier));
        assert_eq!(entries, tiled);
        let entries: Vec<_> = feedback.formats(sampled).collect();
        let linear = entry(PixelFormat::Xrgb8888, LINEAR);
        assert_eq!(entries, [tiled[0], tiled[1], linear]);
        assert_eq!(read.indices.len(), PixelFormat::ALL.len() - 1);
        let fourcc = PixelFormat::Xrgb8888.fourcc();
        assert_eq!(formats.planes(fourcc, 9), Some(2));
        assert_eq!(formats.planes(fourcc, LINEAR), Some(1));
        assert_eq!(formats.planes(fourcc, 8), None);
        let nv12 = PixelFormat::Nv12.fourcc();
        assert_eq!(formats.planes(nv12, LINEAR), Some(2));
    }

    #[test]
    fn feedback_without_a_plane_has_no_scanout_tranche() {
        let feedback = build_feedback(&SupportedFormats::default()).unwrap();
        assert_eq!(feedback.tranches().len(), 1);
        assert_eq!(feedback.tranches()[0].flags, TrancheFlags::empty());
    }
}
