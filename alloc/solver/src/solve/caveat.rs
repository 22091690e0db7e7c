//! Caveats. A caveat states a demand for which it is not known whether a source meets it.

use std::rc::Rc;

use super::bounded_text;
use super::names::Names;
use super::pools::PoolNeed;
use crate::constraint::{AddressWindow, Contiguity, Source};

/// The indices of the participants that have the demand.
pub(super) type ParticipantIndices = Rc<[usize]>;

/// A demand that the source meets only under a condition that the source does not guarantee.
#[derive(Clone, Debug)]
pub(super) enum Caveat {
    /// Some participants need or may need contiguous memory, and the source's memory may be scattered.
    Contiguity {
        owners: ParticipantIndices,
        contiguity: Contiguity,
        largest_bytes: u64,
    },
    /// The source's memory may be outside of the addresses that all participants reach.
    Address {
        owners: ParticipantIndices,
        window: AddressWindow,
    },
    /// Some participants may refuse the memory. The texts describe their demands.
    Imports { demands: Rc<[Rc<str>]> },
    /// Some participants need coherent memory, and it is unknown whether the source's memory is coherent.
    Coherency { owners: ParticipantIndices },
    /// No driver would update a shadow copy for some participants, and it is unknown whether the source's device has one.
    ShadowCopy { owners: ParticipantIndices },
    /// The source's memory is protected, and it is unknown whether these participants accept protected memory.
    Protection { owners: ParticipantIndices },
    /// The properties of the source's memory are not known.
    UnknownMemory,
    /// The source's driver chooses strides and sizes, and these participants have demands on them.
    DriverLayout { owners: ParticipantIndices },
    /// The modifier is implicit, so the drivers of these participants do not know the layout.
    Implicit { owners: ParticipantIndices },
    /// The pool had too little free memory when it was queried.
    Pool(Box<PoolNeed>),
}

impl Caveat {
    /// Describes the caveat as a sentence without a full stop.
    pub(super) fn describe(&self, source: &Source, names: Names<'_, '_>) -> String {
        let owned = |owners: &ParticipantIndices| names.joined(owners.iter().copied());
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
                "{} {} memory that is coherent between CPU and devices, and it is unknown whether the memory of {name} is coherent",
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
                "the driver of {name} chooses strides and sizes, and {} may need other strides or sizes",
                owned(owners)
            ),
            Self::Implicit { owners } => format!(
                "{name} does not report the tiling (implicit modifier), and {} may assume another tiling",
                owned(owners)
            ),
            Self::Pool(need) => need.caveat(names.pools()),
        }
    }
}
