//! The one table by which demands merge.

use std::fmt;

use serde::Serialize;

use super::bound::Bound;
use super::field_table::FieldTable;
use super::formats::FormatSet;
use super::image::ImageConstraints;
use super::kind::{Intersect, Kind, Sum};
use super::memory::MemoryConstraints;
use super::participant::Constraints;

/// How one field merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MergeRule {
    /// The field that it is in; empty where it is in none.
    pub within: &'static str,
    /// The field.
    pub field: &'static str,
    /// The value that demands nothing, as Rust writes it.
    pub identity: &'static str,
    /// How two values become one.
    pub operator: &'static str,
    /// What the value counts.
    pub unit: &'static str,
    /// What the value is.
    pub means: &'static str,
}

impl fmt::Display for MergeRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            within,
            field,
            identity,
            operator,
            unit,
            means,
        } = self;
        let dot = if within.is_empty() { "" } else { "." };
        write!(
            out,
            "| `{within}{dot}{field}` | `{identity}` | {operator} | {unit} | {} |",
            means.trim()
        )
    }
}

/// What several ask beyond picture and memory. How they synchronise does not merge: each hand-over is between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedUse {
    /// The pairs of format and modifier that all take.
    pub formats: Bound<Option<FormatSet>>,
    /// How many buffers all hold together.
    pub buffers_held: Bound<u64>,
}

impl MergedUse {
    /// Takes one participant's demands; `owner` is the number by which the participant is remembered.
    #[must_use]
    pub fn of(owner: usize, constraints: &Constraints) -> Self {
        Self {
            formats: Intersect::of(owner, &constraints.formats, None),
            buffers_held: Sum::of(owner, &constraints.buffers_held, 0),
        }
    }

    /// Returns what two ask for together.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            formats: Intersect::merge(&self.formats, &other.formats),
            buffers_held: Sum::merge(&self.buffers_held, &other.buffers_held),
        }
    }
}

/// Demands nothing.
impl Default for MergedUse {
    fn default() -> Self {
        Self {
            formats: Intersect::nothing(None),
            buffers_held: Sum::nothing(0),
        }
    }
}

/// Returns the rules of every field that merges: formats and buffers, then of the picture, then of the memory.
///
/// `MERGE.md` is this table, in words.
#[must_use]
pub fn merge_table() -> [Vec<MergeRule>; 3] {
    let mut tables = [Vec::new(), Vec::new(), Vec::new()];
    let [uses, image, memory] = &mut tables;
    let rule = |field, identity, unit, means| MergeRule {
        within: "",
        field,
        identity,
        operator: "",
        unit,
        means,
    };
    <Intersect as Kind<Option<FormatSet>>>::rules(
        rule(
            "formats",
            "None",
            "pairs",
            "The pairs of format and modifier that all take.",
        ),
        uses,
    );
    <Sum as Kind<u32>>::rules(
        rule(
            "buffers_held",
            "0",
            "buffers",
            "How many buffers all hold together.",
        ),
        uses,
    );
    ImageConstraints::rules("", image);
    MemoryConstraints::rules("", memory);
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::MergedImage;

    #[test]
    fn merged_bound_names_who_set_it() {
        let mut constraints = ImageConstraints::default();
        constraints.stride.minimum = 2560;
        let one = MergedImage::of(0, &constraints);
        constraints.stride.minimum = 4096;
        let two = MergedImage::of(1, &constraints);
        let both = one.merge(&two).merge(&MergedImage::default());
        assert_eq!(both.stride.minimum.value, 4096);
        assert!(both.stride.minimum.owners.iter().eq([1]));
        assert!(both.stride.maximum.owners.is_empty());
    }
}
