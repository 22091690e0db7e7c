//! What keeps a plan from being guaranteed.

use crate::constraint::{AddressWindow, Contiguity, Owners, Source};

/// A demand that is met only if something happens to be so.
#[derive(Clone, Debug)]
pub(super) enum Doubt {
    /// Memory may come in pieces.
    Contiguity {
        owners: Owners,
        contiguity: Contiguity,
        largest_bytes: u64,
    },
    /// Memory may lie out of reach.
    Address {
        owners: Owners,
        window: AddressWindow,
    },
    /// Nothing tells whether caches stand between.
    Coherency { owners: Owners },
    /// Nothing tells whether the source's device keeps a copy.
    DeviceCopy { owners: Owners },
    /// Nothing tells whether protected memory is taken.
    Protection { owners: Owners },
    /// The source arranges the pixels, and these have demands on how.
    Arrangement { owners: Owners },
    /// The source does not tell how it arranges the pixels.
    Untold { owners: Owners },
}

impl Doubt {
    /// Says it in words.
    pub(super) fn words(&self, source: &Source, names: &[&str]) -> String {
        let owned = |owners| joined(owners, names);
        let name = &source.name;
        match self {
            Self::Contiguity {
                owners,
                contiguity,
                largest_bytes,
            } => {
                let verb = match (contiguity, owners.iter().nth(1)) {
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
                if owners.iter().nth(1).is_some() {
                    "need"
                } else {
                    "needs"
                }
            ),
            Self::DeviceCopy { owners } => format!(
                "nothing tells whether the device of {name} works on a copy of its own, and nobody transfers it for {}",
                owned(owners)
            ),
            Self::Protection { owners } => format!(
                "memory of {name} is protected, and nothing tells whether {} can use that",
                owned(owners)
            ),
            Self::Arrangement { owners } => format!(
                "{name} chooses strides and sizes by itself, and {} may want others",
                owned(owners)
            ),
            Self::Untold { owners } => format!(
                "{name} does not tell how it arranges the pixels, and {} can only guess",
                owned(owners)
            ),
        }
    }
}

/// The verb for what devices reach.
pub(super) fn reach(owners: &Owners) -> &'static str {
    if owners.iter().nth(1).is_some() {
        "reach"
    } else {
        "reaches"
    }
}

/// Joins owners' names.
pub(super) fn joined(owners: &Owners, names: &[&str]) -> String {
    let mut names: Vec<&str> = owners
        .iter()
        .filter_map(|owner| names.get(owner).copied())
        .collect();
    // The order of a request's participants shows in no words.
    names.sort_unstable();
    names.join(" and ")
}
