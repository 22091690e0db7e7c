//! The provenance of the values of a recorded machine: where each value comes from.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use covalent_solver::reading::budget;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Provenance {
    /// The machine itself reported the value while it was recorded.
    Measured,
    /// The value is in a published report of the machine, such as the output of drm_info, vulkaninfo or v4l2-ctl.
    Reported {
        /// The address of the report, or the file and the tool.
        place: String,
    },
    /// The value is in the source of a driver.
    DriverSource {
        /// The project, its version, the file, and what to look for in the file.
        place: String,
    },
    /// The value is in documentation, or in a devicetree that describes the board.
    Documentation {
        /// The title or address of the document.
        place: String,
    },
    /// The value is not known. The recording has the weakest value that is certain to be true.
    Unknown {
        /// What is not known, as text that follows "not known:".
        what: String,
    },
}

impl fmt::Display for Provenance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured => out.write_str("measured"),
            Self::Reported { place } => write!(out, "reported: {place}"),
            Self::DriverSource { place } => write!(out, "driver source: {place}"),
            Self::Documentation { place } => write!(out, "documentation: {place}"),
            Self::Unknown { what } => write!(out, "not known: {what}"),
        }
    }
}

/// Provenance by the path of a value, such as `constraints.image.stride`.
///
/// A path also covers the values below it that have no entry of their own. The empty path covers every value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProvenanceByPath(
    #[serde(deserialize_with = "budget::map")] pub BTreeMap<String, Provenance>,
);

impl ProvenanceByPath {
    /// Returns the provenance of a device that was recorded on the machine itself: every value is measured.
    #[must_use]
    pub fn measured() -> Self {
        Self::default().and("", Provenance::Measured)
    }

    /// Sets the provenance of the values at and below one path.
    #[must_use]
    pub fn and(mut self, path: &str, provenance: Provenance) -> Self {
        self.0.insert(path.to_owned(), provenance);
        self
    }

    /// Returns the provenance of a value: the entry of its path, or else of the nearest path above it that has an entry.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Provenance> {
        let mut path = path;
        loop {
            if let Some(provenance) = self.0.get(path) {
                return Some(provenance);
            }
            if path.is_empty() {
                return None;
            }
            path = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        }
    }

    /// Returns the paths of the values that are not known, each with a text about what is not known.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(path, provenance)| match provenance {
                Provenance::Unknown { what } => Some((path.as_str(), what.as_str())),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_without_an_entry_has_the_provenance_of_the_nearest_path_above() {
        let documented = Provenance::Documentation {
            place: "the manual".to_owned(),
        };
        let provenance = ProvenanceByPath::measured().and("constraints.image", documented.clone());
        assert_eq!(
            provenance.of("constraints.image.stride.alignment"),
            Some(&documented)
        );
        assert_eq!(
            provenance.of("constraints.imag"),
            Some(&Provenance::Measured)
        );
        assert_eq!(provenance.of(""), Some(&Provenance::Measured));
        assert_eq!(ProvenanceByPath::default().of("device.node"), None);
    }
}
