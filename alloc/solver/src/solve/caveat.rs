//! What keeps a plan from being guaranteed.

use std::rc::Rc;

use super::bounded_text;
use super::names::Names;
use crate::constraint::{AddressWindow, Contiguity, Source};

/// The places of the participants whose demand it is.
pub(super) type Places = Rc<[usize]>;

/// A demand that is met only if something happens to be so.
#[derive(Clone, Debug)]
pub(super) enum Caveat {
    /// Memory may come in pieces.
    Contiguity {
        owners: Places,
        contiguity: Contiguity,
        largest_bytes: u64,
    },
    /// Memory may lie out of reach.
    Address {
        owners: Places,
        window: AddressWindow,
    },
    /// Nothing tells whether caches stand between.
    Coherency { owners: Places },
    /// Nothing tells whether the source's device keeps a copy.
    ShadowCopy { owners: Places },
    /// Nothing tells whether protected memory is taken.
    Protection { owners: Places },
    /// The source arranges the pixels, and these have demands on how.
    DriverLayout { owners: Places },
    /// The source does not tell how it arranges the pixels.
    Implicit { owners: Places },
}

impl Caveat {
    /// Says it in words.
    pub(super) fn describe(&self, source: &Source, names: Names<'_, '_>) -> String {
        let owned = |owners: &Places| names.joined(owners.iter().copied());
        let name = bounded_text::name(&source.name);
        match self {
            Self::Contiguity {
                owners,
                contiguity,
                largest_bytes,
            } => {
                let verb = match (contiguity, owners.get(1)) {
                    (Contiguity::Contiguous, None) => "needs",
                    (Contiguity::Contiguous, Some(_)) => "need",
                    _ => "may need",
                };
                let promise = match source.guarantees.contiguous_up_to_bytes {
                    0 => "does not promise that".to_owned(),
                    most => format!("promises that only up to {most} bytes of {largest_bytes}"),
                };
                format!(
                    "{} {verb} memory in one piece, and {name} {promise}",
                    owned(owners)
                )
            }
            Self::Address { owners, window } => format!(
                "{} {} only addresses from {:#x} to {:#x}, and {name} may give others",
                owned(owners),
                reach(owners),
                window.lowest,
                window.highest
            ),
            Self::Coherency { owners } => format!(
                "{} {} memory that processor and devices see alike without a sync, and nothing tells whether that of {name} is",
                owned(owners),
                if owners.len() > 1 { "need" } else { "needs" }
            ),
            Self::ShadowCopy { owners } => format!(
                "nothing tells whether the device of {name} works on a copy of its own, and nobody transfers it for {}",
                owned(owners)
            ),
            Self::Protection { owners } => format!(
                "memory of {name} is protected, and nothing tells whether {} can use that",
                owned(owners)
            ),
            Self::DriverLayout { owners } => format!(
                "{name} chooses strides and sizes by itself, and {} may want others",
                owned(owners)
            ),
            Self::Implicit { owners } => format!(
                "{name} does not tell how it arranges the pixels, and {} can only guess",
                owned(owners)
            ),
        }
    }
}

/// The verb for what devices reach.
pub(super) fn reach(owners: &Places) -> &'static str {
    if owners.len() > 1 { "reach" } else { "reaches" }
}
