//! What is true of the buffers that this compositor can use.

use covalent_protocols::{
    Device, Feedback, FeedbackError, FormatEntry, FormatTable, Tranche, TrancheFlags,
};

use crate::render::PixelFormat;

/// The layout without tiles or compression, which the CPU can read.
const LINEAR: u64 = 0;

/// What an output can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The device that pictures are for; 0 where there is none.
    pub device: u64,
    /// Formats that the display's plane takes.
    pub scanout: Vec<FormatEntry>,
    /// What the GPU that composes reads where it lies; nothing where the CPU composes.
    pub sampled: Vec<FormatEntry>,
}

/// States what clients may send: first what goes on the display as it is, then what the GPU composes, then what the CPU does.
///
/// Composition by the CPU needs no import into the card: whatever is linear and can be mapped will do, also what the card
/// itself refuses. It is what every frame can fall back to, so nothing is stated that it cannot read: a format or layout
/// that could only be scanned out, or only be read by the GPU, would become unusable by the next window above or beside it.
///
/// # Errors
///
/// When the parts do not hold together, which would be a fault of this function.
pub fn truthful(offer: &Offer) -> Result<Feedback, FeedbackError> {
    let composed: Vec<FormatEntry> = PixelFormat::ALL
        .into_iter()
        .map(|format| FormatEntry {
            fourcc: format.fourcc(),
            modifier: LINEAR,
        })
        .collect();
    let device = Device(offer.device);
    let indices = |keep: &dyn Fn(&FormatEntry) -> bool| {
        (0..=u16::MAX)
            .zip(&composed)
            .filter(|(_, entry)| keep(entry))
            .map(|(index, _)| index)
            .collect::<Vec<u16>>()
    };
    let scanout = indices(&|entry| offer.scanout.contains(entry));
    let mut tranches = Vec::new();
    if !scanout.is_empty() {
        tranches.push(Tranche {
            device,
            flags: TrancheFlags::SCANOUT,
            indices: scanout,
        });
    }
    let sampled = indices(&|entry| offer.sampled.contains(entry));
    let read = indices(&|entry| !offer.sampled.contains(entry));
    for indices in [sampled, read] {
        if !indices.is_empty() {
            tranches.push(Tranche {
                device,
                flags: TrancheFlags::empty(),
                indices,
            });
        }
    }
    let table = FormatTable::new(composed).unwrap_or_default();
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
    fn feedback_offers_for_scanout_only_what_can_be_composed_too() {
        let offer = Offer {
            device: 0xe200,
            scanout: vec![
                entry(PixelFormat::Xrgb8888, LINEAR),
                entry(PixelFormat::Xrgb8888, 7),
            ],
            sampled: Vec::new(),
        };
        let feedback = truthful(&offer).unwrap();
        let [scanout, composed] = feedback.tranches() else {
            panic!("{feedback:?}");
        };
        assert_eq!(scanout.flags, TrancheFlags::SCANOUT);
        let formats: Vec<_> = feedback.formats(scanout).collect();
        assert_eq!(formats, [entry(PixelFormat::Xrgb8888, LINEAR)]);
        assert_eq!(composed.indices.len(), PixelFormat::ALL.len());
        assert!(!feedback.advertises(entry(PixelFormat::Xrgb8888, 7)));
    }

    #[test]
    fn feedback_names_what_the_gpu_reads_before_what_the_cpu_must() {
        let offer = Offer {
            device: 0xe200,
            scanout: Vec::new(),
            sampled: vec![
                entry(PixelFormat::Argb8888, LINEAR),
                entry(PixelFormat::Argb8888, 7),
            ],
        };
        let feedback = truthful(&offer).unwrap();
        let [sampled, read] = feedback.tranches() else {
            panic!("{feedback:?}");
        };
        let formats: Vec<_> = feedback.formats(sampled).collect();
        assert_eq!(formats, [entry(PixelFormat::Argb8888, LINEAR)]);
        assert_eq!(read.indices.len(), PixelFormat::ALL.len() - 1);
        assert!(!feedback.advertises(entry(PixelFormat::Argb8888, 7)));
    }

    #[test]
    fn feedback_without_a_display_has_no_scanout_tranche() {
        let feedback = truthful(&Offer::default()).unwrap();
        assert_eq!(feedback.tranches().len(), 1);
        assert_eq!(feedback.tranches()[0].flags, TrancheFlags::empty());
    }
}
