//! Caveats: demands of which it is unknown whether a source meets them.

use std::rc::Rc;

use super::bounded_text;
use super::names::Names;
use crate::constraint::{AddressWindow, Contiguity, Source};

/// The indices of the participants whose demand it is.
pub(super) type Places = Rc<[usize]>;

/// A demand that is met only under a condition that the source does not guarantee.
#[derive(Clone, Debug)]
pub(super) enum Caveat {
    /// The memory may be scattered.
    Contiguity {
        owners: Places,
        contiguity: Contiguity,
        largest_bytes: u64,
    },
    /// The memory may be outside of the range of addresses that all reach.
    Address {
        owners: Places,
        window: AddressWindow,
    },
    /// It is unknown whether the memory is coherent.
    Coherency { owners: Places },
    /// It is unknown whether the source's device has a shadow copy.
    ShadowCopy { owners: Places },
    /// It is unknown whether these participants accept protected memory.
    Protection { owners: Places },
    /// The driver chooses strides and sizes, and these participants have demands on them.
    DriverLayout { owners: Places },
    /// The modifier is implicit, so these participants do not know the layout.
    Implicit { owners: Places },
}

impl Caveat {
    /// Describes the caveat.
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

/// Returns the verb for devices that reach addresses.
pub(super) fn reach(owners: &Places) -> &'static str {
    if owners.len() > 1 { "reach" } else { "reaches" }
}
