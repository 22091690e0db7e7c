//! Converts the compositor's dma-buf feedback to participants of a plan. Each tranche becomes one [`TrancheRequest`].

use covalent_alloc::backend::drm::Card;
use covalent_alloc::constraint::{Crop, FormatSet, Participant, Role};
use covalent_alloc::model::{DeviceIdentity, FormatModifier, Fourcc, Modifier};
use covalent_protocols::feedback::{Device, Feedback, Tranche, TrancheFlags};

/// The number of buffers that a compositor holds at a time: one on the display, one that replaces it at the next refresh, and one
/// that was committed meanwhile.
const BUFFERS_HELD: u32 = 3;

/// A tranche of the feedback, converted to participants of a plan. The compositor can use buffers that all of these participants
/// support as the tranche says.
#[derive(Debug)]
pub struct TrancheRequest {
    /// What the compositor does with the buffers, as a phrase for messages, such as `composited`.
    pub usage_label: &'static str,
    /// Whether the display scans out the buffers (the scanout flag of the tranche).
    pub for_display: bool,
    /// The compositor, and also the card if the display scans out the buffers and the card could be opened.
    pub participants: Vec<Participant>,
    /// The card that is the tranche's target device, if it could be opened.
    pub card: Option<Card>,
}

impl TrancheRequest {
    /// Returns whether the tranche contains this format with any modifier.
    #[must_use]
    pub fn supports(&self, fourcc: Fourcc) -> bool {
        self.participants.iter().all(|participant| {
            participant
                .constraints()
                .formats
                .as_ref()
                .is_none_or(|formats| formats.contains_fourcc(fourcc))
        })
    }
}

/// Converts feedback into one request for each tranche, in the compositor's order of preference. `crop` is the result of
/// [`Compositor::crop`](crate::compositor::Compositor::crop).
#[must_use]
pub fn tranche_requests(feedback: &Feedback, crop: Crop) -> Vec<TrancheRequest> {
    feedback
        .tranches()
        .iter()
        .map(|tranche| tranche_request(feedback, tranche, crop))
        .collect()
}

/// Converts a tranche into a request whose participants are the compositor and, for scanout, the card.
fn tranche_request(feedback: &Feedback, tranche: &Tranche, crop: Crop) -> TrancheRequest {
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
        own.image.crop = crop;
    });
    let mut participants = vec![compositor];
    // The card has to import the buffers only for a scanout tranche. For other tranches the compositor may read the buffers by
    // the CPU, so the formats of the card do not matter. Whether the compositor's renderer can import a buffer is known only when
    // the compositor creates the `wl_buffer` or sends `failed`.
    if let Some(card) = card.as_ref().filter(|_| for_display) {
        participants.push(card.importer());
    }
    TrancheRequest {
        usage_label,
        for_display,
        participants,
        card,
    }
}

/// Returns the pairs of format and modifier of a tranche.
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

/// Opens the card of a tranche to query what it can import. If this process may not open the card, the plan is made without the
/// card, and only the compositor's answer to the import shows whether the buffers can be used.
fn card(device: Device) -> Option<Card> {
    if device.0 == 0 {
        return None;
    }
    match Card::open_by_device(device.0) {
        Ok(card) => Some(card),
        Err(error) => {
            tracing::warn!(
                "the formats that the compositor's card imports are unknown, because it cannot be opened: {error}"
            );
            None
        }
    }
}

/// Returns the identity of a card that cannot be opened.
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
    fn requests_of_two_tranches_keep_their_order_and_formats() {
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
        let requests = tranche_requests(&feedback, Crop::Anywhere);
        assert_eq!(requests.len(), 2);
        for request in &requests {
            let compositor = request.participants[0].constraints();
            assert_eq!(compositor.image.crop, Crop::Anywhere);
        }
        assert!(requests[0].supports(Fourcc::XRGB8888) && !requests[0].supports(Fourcc::NV12));
        assert!(requests[1].supports(Fourcc::NV12));
        assert_eq!(
            requests[0].participants[0].constraints().buffers_held,
            BUFFERS_HELD
        );
    }
}
