//! Sets of format and modifier pairs.

use serde::{Deserialize, Serialize};

use crate::model::{FormatModifier, Fourcc};

/// Pairs of format and modifier, sorted and each once.
///
/// A pair with an implicit modifier meets only the same implicit pair: nobody can know whether an untold arrangement is
/// linear, so the two kinds never mix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<FormatModifier>", into = "Vec<FormatModifier>")]
pub struct FormatSet(Vec<FormatModifier>);

impl FormatSet {
    /// Returns whether a pair is in the set.
    pub fn contains(&self, format: FormatModifier) -> bool {
        self.0.binary_search(&format).is_ok()
    }

    /// Returns whether any pair of the set has this format.
    pub fn contains_fourcc(&self, fourcc: Fourcc) -> bool {
        self.0.iter().any(|format| format.fourcc == fourcc)
    }

    /// Returns the pairs that are in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let (small, large) = if self.0.len() <= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        Self(
            small
                .0
                .iter()
                .copied()
                .filter(|format| large.contains(*format))
                .collect(),
        )
    }

    /// Returns the pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FormatModifier> + '_ {
        self.0.iter().copied()
    }

    /// Returns how many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<FormatModifier>> for FormatSet {
    fn from(mut formats: Vec<FormatModifier>) -> Self {
        formats.sort_unstable();
        formats.dedup();
        Self(formats)
    }
}

impl<const N: usize> From<[FormatModifier; N]> for FormatSet {
    fn from(formats: [FormatModifier; N]) -> Self {
        Self::from(formats.to_vec())
    }
}

impl FromIterator<FormatModifier> for FormatSet {
    fn from_iter<I: IntoIterator<Item = FormatModifier>>(formats: I) -> Self {
        Self::from(formats.into_iter().collect::<Vec<_>>())
    }
}

impl From<FormatSet> for Vec<FormatModifier> {
    fn from(formats: FormatSet) -> Self {
        formats.0
    }
}
