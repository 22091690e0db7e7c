//! The compositor's feedback as participants of a plan, one set a tranche.

use covalent_alloc::backend::drm::Card;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{DeviceIdentity, FormatModifier, Fourcc, Modifier};
use covalent_protocols::feedback::{Device, Feedback, Tranche, TrancheFlags};

/// One on the display, one that replaces it at the next refresh, one that was committed meanwhile.
const BUFFERS_HELD: u32 = 3;

/// One tranche: who has to take the buffers for the compositor to use them so.
#[derive(Debug)]
pub struct Wish {
    /// What the buffers would be used for, in words.
    pub usage_label: &'static str,
    /// The compositor, and the card that has to import where it is known which.
    pub participants: Vec<Participant>,
    /// The card that the buffers would be for, where it could be opened.
    pub card: Option<Card>,
}

impl Wish {
    /// Tells whether the compositor takes any modifier of this format for this use.
    #[must_use]
    pub fn takes(&self, fourcc: Fourcc) -> bool {
        self.participants.iter().all(|participant| {
            participant
                .constraints()
                .formats
                .as_ref()
                .is_none_or(|formats| formats.contains_fourcc(fourcc))
        })
    }
}

/// Turns feedback into wishes, the compositor's most preferred first.
#[must_use]
pub fn wishes(feedback: &Feedback) -> Vec<Wish> {
    feedback
        .tranches()
        .iter()
        .map(|tranche| wish(feedback, tranche))
        .collect()
}

fn wish(feedback: &Feedback, tranche: &Tranche) -> Wish {
    let for_display = tranche.flags.contains(TrancheFlags::SCANOUT);
    let card = card(tranche.device);
    let identity = card
        .as_ref()
        .map_or_else(unknown_device, |card| card.identity().clone());
    let (name, usage_label) = if for_display {
        ("compositor (to the display)", "put on the display directly")
    } else {
        ("compositor (composited)", "composited")
    };
    let mut compositor = Participant::new(name, identity, Role::Compositor);
    compositor.for_each_choice(|own| {
        own.formats = Some(formats(feedback, tranche));
        own.buffers_held = BUFFERS_HELD;
    });
    let mut participants = vec![compositor];
    // A compositor may compose by the CPU what its card cannot import, so only the display's own card is asked here; what a
    // renderer takes is told by the compositor's answer to each buffer.
    if let Some(card) = card.as_ref().filter(|_| for_display) {
        participants.push(card.importer());
    }
    Wish {
        usage_label,
        participants,
        card,
    }
}

fn formats(feedback: &Feedback, tranche: &Tranche) -> FormatSet {
    feedback
        .formats(tranche)
        .map(|entry| FormatModifier {
            fourcc: Fourcc(entry.fourcc),
            modifier: Modifier(entry.modifier),
        })
        .collect::<Vec<_>>()
        .into()
}

/// Opens the card of a tranche to ask what it can import; without the right to do so the compositor's answers have to do.
fn card(device: Device) -> Option<Card> {
    if device.0 == 0 {
        return None;
    }
    match Card::open_by_device(device.0) {
        Ok(card) => Some(card),
        Err(error) => {
            tracing::warn!("the compositor's card cannot be asked what it imports: {error}");
            None
        }
    }
}

fn unknown_device() -> DeviceIdentity {
    DeviceIdentity {
        driver: "unknown".to_owned(),
        location: String::new(),
        node: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use covalent_protocols::table::{FormatEntry, FormatTable};

    use super::*;

    fn entry(fourcc: Fourcc) -> FormatEntry {
        FormatEntry {
            fourcc: fourcc.0,
            modifier: 0,
        }
    }

    #[test]
    fn wishes_keep_the_order_of_the_tranches_and_their_formats() {
        let table = FormatTable::new([entry(Fourcc::XRGB8888), entry(Fourcc::NV12)]).unwrap();
        let tranche = |flags, indices: &[u16]| Tranche {
            device: Device(0),
            flags,
            indices: indices.to_vec(),
        };
        let feedback = Feedback::new(
            Device(0),
            table,
            vec![
                tranche(TrancheFlags::SCANOUT, &[0]),
                tranche(TrancheFlags::empty(), &[0, 1]),
            ],
        )
        .unwrap();
        let wishes = wishes(&feedback);
        assert_eq!(wishes.len(), 2);
        assert!(wishes[0].takes(Fourcc::XRGB8888) && !wishes[0].takes(Fourcc::NV12));
        assert!(wishes[1].takes(Fourcc::NV12));
        assert_eq!(
            wishes[0].participants[0].constraints().buffers_held,
            BUFFERS_HELD
        );
    }
}
