//! The one table by which demands merge.
//!
//! Every operator commutes and associates and has its identity, so the order of participants never matters.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::bound::Bound;
use super::common_multiple::CommonMultiple;
use super::formats::FormatSet;
use super::image::{ImageTerms, PlanePlacement};
use super::memory::{Coherency, Contiguity, CpuUse, MemoryTerms, Protection};
use super::participant::Constraints;
use super::source::SourceId;

/// How one field merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MergeRule {
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
            field,
            identity,
            operator,
            unit,
            means,
        } = self;
        write!(
            out,
            "| `{field}` | `{identity}` | {operator} | {unit} | {} |",
            means.trim()
        )
    }
}

fn max<T: Clone + Ord>(one: &Bound<T>, two: &Bound<T>) -> Bound<T> {
    one.choose(two, |a, b| a > b)
}

fn min<T: Clone + Ord>(one: &Bound<T>, two: &Bound<T>) -> Bound<T> {
    one.choose(two, |a, b| a < b)
}

fn lcm(one: &Bound<CommonMultiple>, two: &Bound<CommonMultiple>) -> Bound<CommonMultiple> {
    one.join(two, one.value.and(two.value))
}

fn union<T: Clone + Ord>(one: &Bound<BTreeSet<T>>, two: &Bound<BTreeSet<T>>) -> Bound<BTreeSet<T>> {
    one.join(two, one.value.union(&two.value).cloned().collect())
}

fn or(one: &Bound<bool>, two: &Bound<bool>) -> Bound<bool> {
    one.join(two, one.value || two.value)
}

/// Adds up numbers of 32 bits in 64, which more participants than there can be would have to fill.
fn sum(one: &Bound<u64>, two: &Bound<u64>) -> Bound<u64> {
    one.join(two, one.value.saturating_add(two.value))
}

fn agree<T: Agree>(one: &Bound<T>, two: &Bound<T>) -> Bound<T> {
    one.join(two, one.value.and(two.value))
}

fn intersect<T: Intersect>(one: &Bound<Option<T>>, two: &Bound<Option<T>>) -> Bound<Option<T>> {
    let value = match (&one.value, &two.value) {
        (Some(a), Some(b)) => Some(a.both(b)),
        (set, None) | (None, set) => set.clone(),
    };
    one.join(two, value)
}

/// Takes one participant's value as the operator sees it.
fn one_participant<T: Clone + PartialEq>(
    owner: usize,
    value: T,
    identity: T,
    operator: impl Fn(&Bound<T>, &Bound<T>) -> Bound<T>,
) -> Bound<T> {
    let value = operator(&Bound::nobodys(identity.clone()), &Bound::nobodys(value)).value;
    Bound::of(owner, value, &identity)
}

/// Makes a participant's value what its operator works on.
macro_rules! operand {
    (lcm, $value:expr) => {
        CommonMultiple::of(u64::from($value))
    };
    (sum, $value:expr) => {
        u64::from($value)
    };
    ($operator:ident, $value:expr) => {
        $value
    };
}

/// Makes an identity what its operator works on.
macro_rules! identity {
    (lcm, $value:expr) => {
        CommonMultiple::of($value)
    };
    ($operator:ident, $value:expr) => {
        $value
    };
}

/// Answers of which one serves two who ask, or none does.
trait Agree: Copy + PartialEq {
    /// Returns what serves both.
    fn and(self, other: Self) -> Self;
}

impl Agree for PlanePlacement {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }
}

impl Agree for Protection {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }
}

/// Sets of what is taken.
trait Intersect: Clone + PartialEq {
    /// Returns what is in both.
    fn both(&self, other: &Self) -> Self;
}

impl Intersect for FormatSet {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other)
    }
}

impl<T: Clone + Ord> Intersect for BTreeSet<T> {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other).cloned().collect()
    }
}

macro_rules! merged {
    (
        $(#[$doc:meta])* $name:ident of $terms:ident as $rules:ident;
        $(#[doc = $field_doc:literal] $field:ident: $type:ty = $identity:expr, $operator:ident, $unit:literal, $($path:ident).+;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $field_doc] pub $field: Bound<$type>,)*
        }

        const $rules: &[MergeRule] = &[$(MergeRule {
            field: stringify!($field),
            identity: stringify!($identity),
            operator: stringify!($operator),
            unit: $unit,
            means: $field_doc,
        },)*];

        impl $name {
            /// Takes one participant's terms; `owner` is the number by which their owner is remembered.
            pub fn of(owner: usize, terms: &$terms) -> Self {
                Self { $($field: one_participant(
                    owner,
                    operand!($operator, terms.$($path).+.clone()),
                    identity!($operator, $identity),
                    $operator,
                ),)* }
            }

            /// Returns what two ask for together.
            #[must_use]
            pub fn merge(&self, other: &Self) -> Self {
                Self { $($field: $operator(&self.$field, &other.$field),)* }
            }
        }

        /// Demands nothing.
        impl Default for $name {
            fn default() -> Self {
                Self { $($field: Bound::nobodys(identity!($operator, $identity)),)* }
            }
        }
    };
}

merged! {
    /// What several ask of a picture.
    MergedImage of ImageTerms as IMAGE_RULES;
    /// The least width in pixels.
    width_minimum: u32 = 1, max, "pixels", width.minimum;
    /// The greatest width in pixels.
    width_maximum: u32 = u32::MAX, min, "pixels", width.maximum;
    /// Steps of the width in pixels.
    width_multiple: CommonMultiple = 1, lcm, "pixels", width.multiple_of;
    /// The least height in pixels.
    height_minimum: u32 = 1, max, "pixels", height.minimum;
    /// The greatest height in pixels.
    height_maximum: u32 = u32::MAX, min, "pixels", height.maximum;
    /// Steps of the height in pixels.
    height_multiple: CommonMultiple = 1, lcm, "pixels", height.multiple_of;
    /// The first plane's least stride in bytes.
    stride_minimum: u32 = 0, max, "bytes", stride.minimum;
    /// The first plane's greatest stride in bytes.
    stride_maximum: u32 = u32::MAX, min, "bytes", stride.maximum;
    /// Steps of every stride in bytes.
    stride_alignment: CommonMultiple = 1, lcm, "bytes", stride.alignment;
    /// Whether rows follow one another without a gap.
    packed_rows: bool = false, or, "", stride.packed;
    /// Steps of the first plane's stride that are wished for, in bytes.
    stride_preferred_alignment: CommonMultiple = 1, lcm, "bytes", stride.preferred_alignment;
    /// Strides of the first plane that are wished for, in bytes.
    stride_preferred: BTreeSet<u32> = BTreeSet::new(), union, "bytes", stride.preferred;
    /// Multiples that strides of the first plane better are not, in bytes.
    stride_avoided_multiples: BTreeSet<u32> = BTreeSet::new(), union, "bytes", stride.avoided_multiples;
    /// Steps of plane offsets in bytes.
    offset_alignment: CommonMultiple = 1, lcm, "bytes", offset_alignment_bytes;
    /// Steps of each plane's size in bytes.
    plane_size_alignment: CommonMultiple = 1, lcm, "bytes", plane_size_alignment_bytes;
    /// Steps of the rows that each plane has memory for.
    rows_multiple: CommonMultiple = 1, lcm, "rows", rows_multiple_of;
    /// Steps of memory sizes in bytes.
    size_alignment: CommonMultiple = 1, lcm, "bytes", size_alignment_bytes;
    /// The least size of all memories together in bytes.
    minimum_size: u64 = 0, max, "bytes", minimum_size_bytes;
    /// The greatest size of all memories together in bytes.
    maximum_size: u64 = u64::MAX, min, "bytes", maximum_size_bytes;
    /// What must be before the first plane of each memory, in bytes.
    padding_before: u64 = 0, max, "bytes", padding_before_bytes;
    /// What must be behind the last plane, in bytes.
    padding: u64 = 0, max, "bytes", padding_bytes;
    /// The most planes of a picture.
    maximum_planes: u32 = u32::MAX, min, "planes", maximum_planes;
    /// Whether planes follow one another without a gap.
    packed_planes: bool = false, or, "", packed_planes;
    /// Whether planes share one memory.
    placement: PlanePlacement = PlanePlacement::Either, agree, "", placement;
}

merged! {
    /// What several ask of memory. Whose memory is taken does not merge: each is asked by itself.
    MergedMemory of MemoryTerms as MEMORY_RULES;
    /// In how many pieces it may come.
    contiguity: Contiguity = Contiguity::Scattered, max, "", contiguity;
    /// The lowest address that all reach.
    lowest_address: u64 = 0, max, "address", address.lowest;
    /// The highest address that all reach.
    highest_address: u64 = u64::MAX, min, "address", address.highest;
    /// How much the processor uses it.
    cpu: CpuUse = CpuUse::None, max, "", cpu;
    /// How the processor's accesses reach the devices.
    coherency: Coherency = Coherency::Synced, max, "", coherency;
    /// Whether it may or must be protected.
    protection: Protection = Protection::Unsaid, agree, "", protection;
    /// The only sources that all take.
    permitted: Option<BTreeSet<SourceId>> = None, intersect, "sources", permitted;
    /// Sources that are wished for.
    preferred: BTreeSet<SourceId> = BTreeSet::new(), union, "sources", preferred;
}

merged! {
    /// What several ask beyond picture and memory. How they synchronise does not merge: each hand-over is between two.
    MergedUse of Constraints as USE_RULES;
    /// The pairs of format and modifier that all take.
    formats: Option<FormatSet> = None, intersect, "pairs", formats;
    /// How many buffers all hold together.
    buffers_held: u64 = 0, sum, "buffers", buffers_held;
}

/// Every field that merges: formats and buffers, then of the picture, then of the memory.
///
/// `alloc/MERGE.md` is this table, in words.
pub const MERGE_TABLE: [&[MergeRule]; 3] = [USE_RULES, IMAGE_RULES, MEMORY_RULES];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_bound_names_who_set_it() {
        let mut terms = ImageTerms::default();
        terms.stride.minimum = 2560;
        let one = MergedImage::of(0, &terms);
        terms.stride.minimum = 4096;
        let two = MergedImage::of(1, &terms);
        let both = one.merge(&two).merge(&MergedImage::default());
        assert_eq!(both.stride_minimum.value, 4096);
        assert!(both.stride_minimum.owners.iter().eq([1]));
        assert!(both.stride_maximum.owners.is_empty());
    }
}
