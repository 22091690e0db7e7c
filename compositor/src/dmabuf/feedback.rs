//! The dma-buf feedback that clients receive: the formats and modifiers of each tranche.

use covalent_protocols::{
    Device, Feedback, FeedbackError, FormatEntry, FormatTable, Tranche, TrancheFlags,
};

use crate::render::PixelFormat;

/// `DRM_FORMAT_MOD_LINEAR`, the only layout that the CPU renderer can read.
const LINEAR: u64 = 0;

/// The buffers that an output supports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupportedFormats {
    /// The main device as a `dev_t`; 0 where there is none.
    pub device: u64,
    /// Formats and modifiers of the primary plane.
    pub scanout: Vec<FormatEntry>,
    /// Formats and modifiers that the GPU renderer imports without a copy; empty where the CPU renderer composes.
    pub sampled: Vec<FormatEntry>,
}

/// Builds the feedback: the scanout tranche first, then the formats that the GPU renderer imports, then the other formats.
///
/// The CPU renderer needs no import into the card: it reads every linear buffer that can be mapped, also one that the card
/// rejects. Every frame can fall back to the CPU renderer, so the feedback contains only formats that it reads. A buffer
/// that could only be scanned out, or only be sampled by the GPU, could no longer be shown as soon as another window is
/// above or beside it.
///
/// # Errors
///
/// When a tranche refers to an entry that the format table lacks, which would be a bug in this function.
pub fn build_feedback(formats: &SupportedFormats) -> Result<Feedback, FeedbackError> {
    let entries: Vec<FormatEntry> = PixelFormat::ALL
        .into_iter()
        .map(|format| FormatEntry {
            fourcc: format.fourcc(),
            modifier: LINEAR,
        })
        .collect();
    let device = Device(formats.device);
    let indices = |keep: &dyn Fn(&FormatEntry) -> bool| {
        (0..=u16::MAX)
            .zip(&entries)
            .filter(|(_, entry)| keep(entry))
            .map(|(index, _)| index)
            .collect::<Vec<u16>>()
    };
    let scanout = indices(&|entry| formats.scanout.contains(entry));
    let mut tranches = Vec::new();
    if !scanout.is_empty() {
        tranches.push(Tranche {
            device,
            flags: TrancheFlags::SCANOUT,
            indices: scanout,
        });
    }
    let sampled = indices(&|entry| formats.sampled.contains(entry));
    let read = indices(&|entry| !formats.sampled.contains(entry));
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

    #[test]
    fn scanout_tranche_with_a_layout_that_cannot_be_composed_omits_it() {
        let formats = SupportedFormats {
            device: 0xe200,
            scanout: vec![
                entry(PixelFormat::Xrgb8888, LINEAR),
                entry(PixelFormat::Xrgb8888, 7),
            ],
            sampled: Vec::new(),
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
            scanout: Vec::new(),
            sampled: vec![
                entry(PixelFormat::Argb8888, LINEAR),
                entry(PixelFormat::Argb8888, 7),
            ],
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
    fn feedback_without_a_plane_has_no_scanout_tranche() {
        let feedback = build_feedback(&SupportedFormats::default()).unwrap();
        assert_eq!(feedback.tranches().len(), 1);
        assert_eq!(feedback.tranches()[0].flags, TrancheFlags::empty());
    }
}
