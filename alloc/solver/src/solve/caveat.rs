//! Caveats: demands of which it is unknown whether a source meets them.

use std::rc::Rc;

use super::bounded_text;
use super::names::Names;
use super::pools::PoolNeed;
use crate::constraint::{AddressWindow, Contiguity, Source};

/// The indices of the participants that have the demand.
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
    /// These participants may refuse the memory. Holds their demands in words.
    Imports { demands: Rc<[Rc<str>]> },
    /// It is unknown whether the memory is coherent.
    Coherency { owners: Places },
    /// It is unknown whether the source's device has a shadow copy.
    ShadowCopy { owners: Places },
    /// It is unknown whether these participants accept protected memory.
    Protection { owners: Places },
    /// Nothing is known of the source's memory.
    UnknownMemory,
    /// The driver chooses strides and sizes, and these participants have demands on them.
    DriverLayout { owners: Places },
    /// The modifier is implicit, so these participants do not know the layout.
    Implicit { owners: Places },
    /// Too little of a pool was free.
    Pool(Box<PoolNeed>),
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
                    0 => "does not guarantee that".to_owned(),
                    most => format!("guarantees that only up to {most} bytes of {largest_bytes}"),
                };
                format!(
                    "{} {verb} physically contiguous memory, and {name} {promise}",
                    owned(owners)
                )
            }
            Self::Address { owners, window } => format!(
                "{} can access only addresses from {:#x} to {:#x}, and {name} may allocate memory at others",
                owned(owners),
                window.lowest,
                window.highest
            ),
            Self::Imports { demands } => {
                let texts = demands.iter().map(AsRef::as_ref);
                bounded_text::joined_up_to(texts, bounded_text::NAMES_SHOWN, "; ")
            }
            Self::Coherency { owners } => format!(
                "{} {} memory that is coherent between CPU and devices, and it is unknown whether that of {name} is",
                owned(owners),
                if owners.len() > 1 { "need" } else { "needs" }
            ),
            Self::ShadowCopy { owners } => format!(
                "it is unknown whether the device of {name} works on a shadow copy, which no driver would update for {}",
                owned(owners)
            ),
            Self::Protection { owners } => format!(
                "memory of {name} is protected, and it is unknown whether {} can access it",
                owned(owners)
            ),
            Self::UnknownMemory => format!(
                "{name} is not known, and its memory may be protected or out of reach of devices"
            ),
            Self::DriverLayout { owners } => format!(
                "the driver of {name} chooses strides and sizes, and {} may need others",
                owned(owners)
            ),
            Self::Implicit { owners } => format!(
                "{name} does not report the tiling (implicit modifier), and {} may assume another",
                owned(owners)
            ),
            Self::Pool(need) => need.caveat(names.pools()),
        }
    }
}
