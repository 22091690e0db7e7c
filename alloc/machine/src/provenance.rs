//! How the values of a recorded machine are known.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use covalent_solver::reading::budget;

/// How a value is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Provenance {
    /// The machine itself was asked.
    Measured,
    /// Somebody published what the machine answered: drm_info, vulkaninfo, v4l2-ctl.
    Reported {
        /// Where: an address.
        place: String,
    },
    /// A driver's source says so.
    DriverSource {
        /// Where: project, version, file and what to look for.
        place: String,
    },
    /// Documentation says so, or a devicetree that describes the board.
    Documentation {
        /// Where.
        place: String,
    },
    /// Nothing tells. What stands in the value's place is the least that is sure.
    Unknown {
        /// What is not known, in words that follow "not known:".
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

/// Provenance by the place of a value, such as `constraints.image.stride`; those under the empty name are all others'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProvenanceByPath(
    #[serde(deserialize_with = "budget::map")] pub BTreeMap<String, Provenance>,
);

impl ProvenanceByPath {
    /// Everything was asked of the machine itself.
    #[must_use]
    pub fn measured() -> Self {
        Self::default().and("", Provenance::Measured)
    }

    /// The same with the grounds of one place.
    #[must_use]
    pub fn and(mut self, place: &str, grounds: Provenance) -> Self {
        self.0.insert(place.to_owned(), grounds);
        self
    }

    /// Returns the grounds of a value: those of the nearest place above it.
    #[must_use]
    pub fn of(&self, place: &str) -> Option<&Provenance> {
        let mut place = place;
        loop {
            if let Some(grounds) = self.0.get(place) {
                return Some(grounds);
            }
            if place.is_empty() {
                return None;
            }
            place = place.rsplit_once('.').map_or("", |(above, _)| above);
        }
    }

    /// Lists what nothing tells: places, and what it is in words.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(place, grounds)| match grounds {
            Provenance::Unknown { what } => Some((place.as_str(), what.as_str())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grounds_of_the_nearest_place_above_are_a_values_own() {
        let documented = Provenance::Documentation {
            place: "the manual".to_owned(),
        };
        let grounds = ProvenanceByPath::measured().and("constraints.image", documented.clone());
        assert_eq!(
            grounds.of("constraints.image.stride.alignment"),
            Some(&documented)
        );
        assert_eq!(grounds.of("constraints.imag"), Some(&Provenance::Measured));
        assert_eq!(grounds.of(""), Some(&Provenance::Measured));
        assert_eq!(ProvenanceByPath::default().of("device.node"), None);
    }
}
