//! The provenance of values that a dump states.

use crate::{Provenance, ProvenanceByPath};

/// The file of a dump and the tool that wrote it, such as `card.txt, of drm_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence(pub(super) String);

impl Evidence {
    /// Returns the provenance of a device whose values are all in the dump.
    pub(super) fn reported(&self) -> ProvenanceByPath {
        ProvenanceByPath::default().and("", self.here())
    }

    /// Returns the provenance of a value that the dump states.
    pub(super) fn here(&self) -> Provenance {
        Provenance::Reported {
            place: self.0.clone(),
        }
    }

    /// Returns the provenance of a value that no dump states.
    pub(super) fn unknown(what: &str) -> Provenance {
        Provenance::Unknown {
            what: what.to_owned(),
        }
    }

    pub(super) fn driver_source(place: &str) -> Provenance {
        Provenance::DriverSource {
            place: place.to_owned(),
        }
    }
}
