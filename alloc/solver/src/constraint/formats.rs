//! Sets of format and modifier pairs.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::sorted_pairs::{common_prefix_len, gallop};
use crate::model::{FormatModifier, Fourcc, WrittenFormat};
use crate::reading::ExtraFields;
use crate::reading::Reader;
use crate::reading::budget::{BudgetScope, charge, list};

/// A set of format and modifier pairs, sorted and without duplicates.
///
/// A pair with an implicit modifier (`DRM_FORMAT_MOD_INVALID`) equals only the same implicit pair. A layout with an implicit
/// modifier may be linear or tiled, and only the driver knows which. So an implicit pair never matches an explicit modifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "Vec<Entry>")]
pub struct FormatSet {
    pairs: Vec<FormatModifier>,
    /// JSON fields that a newer version wrote in the object of a pair. If one of them is not optional, the pair is not in
    /// `pairs`.
    extra_fields: BTreeMap<FormatModifier, ExtraFields>,
}

/// A pair in its JSON form.
#[derive(Clone, Serialize)]
struct Entry {
    #[serde(flatten)]
    pair: FormatModifier,
    #[serde(flatten)]
    extra_fields: BTreeMap<String, Value>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut extra_fields = ExtraFields::default();
        let written = WrittenFormat::deserialize(Reader::new(deserializer, &mut extra_fields))?;
        let pair = FormatModifier::try_from(written).map_err(D::Error::custom)?;
        if !extra_fields.is_empty() {
            charge(size_of::<(FormatModifier, ExtraFields)>().saturating_mul(12))?;
        }
        Ok(Self {
            pair,
            extra_fields: extra_fields.fields,
        })
    }
}

impl<'de> Deserialize<'de> for FormatSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _scope = BudgetScope::begin();
        let what = "pairs of format and modifier";
        list::<_, Entry>(deserializer, Self::MAXIMUM_PAIRS, what).map(Self::from)
    }
}

impl FormatSet {
    /// The maximum number of pairs that a set in a file may have.
    pub const MAXIMUM_PAIRS: usize = 1 << 16;

    /// Returns whether a pair is in the set.
    pub fn contains(&self, format: FormatModifier) -> bool {
        self.pairs.binary_search(&format).is_ok()
    }

    /// Returns whether the set has a pair with this format.
    pub fn contains_fourcc(&self, fourcc: Fourcc) -> bool {
        let begin = self.pairs.partition_point(|pair| pair.fourcc < fourcc);
        self.pairs
            .get(begin)
            .is_some_and(|pair| pair.fourcc == fourcc)
    }

    /// Returns the pairs that are in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.pairs(), other.pairs());
        let mut pairs = Vec::with_capacity(one.len().min(two.len()));
        while let (Some(first), Some(second)) = (one.first(), two.first()) {
            let (ones, twos) = match first.cmp(second) {
                Ordering::Equal => {
                    let run = common_prefix_len(one, two);
                    pairs.extend_from_slice(&one[..run]);
                    (run, run)
                }
                Ordering::Less => (gallop(one, second), 0),
                Ordering::Greater => (0, gallop(two, first)),
            };
            one = &one[ones..];
            two = &two[twos..];
        }
        Self {
            pairs,
            extra_fields: BTreeMap::new(),
        }
    }

    /// Iterates over the pairs in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FormatModifier> + '_ {
        self.pairs.iter().copied()
    }

    /// Returns the pairs in ascending order.
    pub(crate) fn pairs(&self) -> &[FormatModifier] {
        &self.pairs
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether the set has no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl From<Vec<FormatModifier>> for FormatSet {
    fn from(mut pairs: Vec<FormatModifier>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        Self {
            pairs,
            extra_fields: BTreeMap::new(),
        }
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
        formats.pairs
    }
}

impl From<Vec<Entry>> for FormatSet {
    fn from(entries: Vec<Entry>) -> Self {
        let mut pairs = Vec::with_capacity(entries.len());
        let mut extra_fields: BTreeMap<FormatModifier, ExtraFields> = BTreeMap::new();
        for entry in entries {
            let pair = entry.pair;
            pairs.push(pair);
            if !entry.extra_fields.is_empty() {
                // A pair that occurs twice in the file gets the extra fields of both occurrences.
                extra_fields
                    .entry(pair)
                    .or_default()
                    .fields
                    .extend(entry.extra_fields);
            }
        }
        pairs.retain(|pair| {
            extra_fields
                .get(pair)
                .is_none_or(|extra_fields| extra_fields.required().is_empty())
        });
        Self {
            extra_fields,
            ..Self::from(pairs)
        }
    }
}

impl From<FormatSet> for Vec<Entry> {
    fn from(formats: FormatSet) -> Self {
        let FormatSet {
            mut pairs,
            extra_fields,
        } = formats;
        pairs.extend(extra_fields.keys());
        pairs.sort_unstable();
        pairs.dedup();
        pairs
            .into_iter()
            .map(|pair| Entry {
                pair,
                extra_fields: extra_fields
                    .get(&pair)
                    .map(|extra_fields| extra_fields.fields.clone())
                    .unwrap_or_default(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_with_an_extra_field_is_kept_and_not_in_the_set() {
        let text = r#"[
            {"fourcc": "NV12", "modifier": "LINEAR", "tiles": 3},
            {"fourcc": "XR24", "modifier": "LINEAR", "hint": {"optional": true}},
            {"fourcc": "YUYV", "modifier": "LINEAR"}
        ]"#;
        let set: FormatSet = serde_json::from_str(text).unwrap();
        let offered: Vec<_> = set.iter().map(|pair| pair.fourcc).collect();
        assert_eq!(offered, [Fourcc::XRGB8888, Fourcc::YUYV]);
        let written = serde_json::to_string(&set).unwrap();
        assert!(written.contains("tiles") && written.contains("hint"));
        assert_eq!(serde_json::from_str::<FormatSet>(&written).unwrap(), set);
    }
}
