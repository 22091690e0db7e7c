//! The table of merge rules, and the merged constraints on formats and buffer counts.

use std::fmt;

use serde::Serialize;

use super::bound::Bound;
use super::field_kind::{FieldKind, Intersect, Sum};
use super::field_table::FieldTable;
use super::formats::FormatSet;
use super::image::ImageConstraints;
use super::memory::MemoryConstraints;
use super::participant::Constraints;

/// The rule by which the values of one constraint field merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MergeRule {
    /// The path of the field that contains this field, such as `coded.width`; empty if there is none.
    pub within: String,
    /// The name of the field.
    pub field: &'static str,
    /// The value that demands nothing, as a Rust expression.
    pub identity: &'static str,
    /// The name of the operator that merges two values, such as `max`.
    pub operator: &'static str,
    /// The unit of the value; empty if it has none.
    pub unit: &'static str,
    /// The meaning of the value, as a sentence.
    pub means: &'static str,
}

impl MergeRule {
    /// Returns the path of the field: the path of the field that contains it, a dot, and its own name.
    pub(super) fn path(&self) -> String {
        let dot = if self.within.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.within, self.field)
    }
}

impl fmt::Display for MergeRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            identity,
            operator,
            unit,
            means,
            ..
        } = self;
        write!(
            out,
            "| `{}` | `{identity}` | {operator} | {unit} | {} |",
            self.path(),
            means.trim()
        )
    }
}

/// Merged constraints on formats and buffer counts.
///
/// Synchronisation is not merged, because a buffer is always handed over between two participants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergedUse {
    /// The pairs of format and modifier that all participants accept.
    pub formats: Bound<Option<FormatSet>>,
    /// The number of buffers that all participants together hold at a time.
    pub buffers_held: Bound<u64>,
}

impl MergedUse {
    /// Makes merged constraints from one participant's constraints. `owner` is the participant's number.
    #[must_use]
    pub fn of(owner: usize, constraints: &Constraints) -> Self {
        Self {
            formats: Intersect::of(owner, &constraints.formats, None),
            buffers_held: Sum::of(owner, &constraints.buffers_held, 0),
        }
    }

    /// Merges two merged constraints.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            formats: Intersect::merge(&self.formats, &other.formats),
            buffers_held: Sum::merge(&self.buffers_held, &other.buffers_held),
        }
    }
}

/// Returns constraints that demand nothing.
impl Default for MergedUse {
    fn default() -> Self {
        Self {
            formats: Intersect::no_demand(None),
            buffers_held: Sum::no_demand(0),
        }
    }
}

/// Returns the merge rules of all fields: first those of formats and buffer counts, then of images, then of memory.
///
/// `MERGE.md` is generated from this table.
#[must_use]
pub fn merge_table() -> [Vec<MergeRule>; 3] {
    let mut tables = [Vec::new(), Vec::new(), Vec::new()];
    let [uses, image, memory] = &mut tables;
    let rule = |field, identity, unit, means| MergeRule {
        within: String::new(),
        field,
        identity,
        operator: "",
        unit,
        means,
    };
    <Intersect as FieldKind<Option<FormatSet>>>::rules(
        rule(
            "formats",
            "None",
            "pairs",
            "The pairs of format and modifier that all participants accept.",
        ),
        uses,
    );
    <Sum as FieldKind<u32>>::rules(
        rule(
            "buffers_held",
            "0",
            "buffers",
            "The number of buffers that all participants together hold at a time.",
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
    fn merged_bound_has_the_owner_that_set_it() {
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
