//! Kinds of constraint fields. The kind of a field defines how its values merge and which values are demands.
//!
//! Every merge operator is commutative and associative and has an identity, so the result does not depend on the order of
//! participants.

use std::collections::BTreeSet;

use super::bound::Bound;
use super::common_multiple::CommonMultiple;
use super::demand::Field;
use super::field_table::{FieldTable, Phrase, Reason};
use super::formats::FormatSet;
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;

/// A kind of constraint field whose values have the type `V`.
pub(super) trait FieldKind<V> {
    /// The type of the merged value.
    type Merged;

    /// Returns the merged value that demands nothing.
    fn no_demand(identity: V) -> Self::Merged;

    /// Makes a merged value from one participant's value. The participant owns it unless it is the identity.
    fn of(owner: usize, value: &V, identity: V) -> Self::Merged;

    /// Merges two merged values.
    fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged;

    /// Returns whether the value is a demand on `field`. `own` is the field of the table row.
    fn demands(value: &V, identity: V, own: Option<Field>, field: Field) -> bool;

    /// Removes the demand on a field.
    fn relax(value: &mut V, identity: V, own: Option<Field>, field: Field) {
        if own == Some(field) {
            *value = identity;
        }
    }

    /// Adds the owners of the value to `owners` if `is_limited` says that the row can rule out layouts for this field.
    fn add_limiting_owners(
        merged: &Self::Merged,
        is_limited: bool,
        field: Field,
        owners: &mut Owners,
    );

    /// Adds the phrases that describe nested fields.
    fn phrases(_: &V, _: Role, _: Field, _: &mut Vec<Phrase>) {}

    /// Adds the reasons that nested fields give for a layout.
    fn reasons<'m>(_: &'m Self::Merged, _: &mut Vec<Reason<'m>>) {}

    /// Adds the merge rule of the field, or the merge rules of its nested fields.
    fn rules(own: MergeRule, rules: &mut Vec<MergeRule>);
}

/// Defines a kind whose values merge into a [`Bound`].
macro_rules! kind {
    (
        $(#[$doc:meta])* $name:ident as $operator:literal for $value:ty => $merged:ty $(, where $generic:ident: $($trait:path),+)?;
        operand $operand:expr; demand $demand:expr; merge $merge:expr;
    ) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl$(<$generic: $($trait +)+>)? FieldKind<$value> for $name {
            type Merged = Bound<$merged>;

            fn no_demand(identity: $value) -> Self::Merged {
                let operand: fn($value) -> $merged = $operand;
                Bound::unowned(operand(identity))
            }

            fn of(owner: usize, value: &$value, identity: $value) -> Self::Merged {
                let operand: fn($value) -> $merged = $operand;
                // Most fields demand nothing, so this case is decided first.
                if *value == identity {
                    return Bound::unowned(operand(identity));
                }
                let identity = Bound::unowned(operand(identity));
                // Merging with the identity replaces values below it, such as a minimum width of 0, by the identity.
                let own = <Self as FieldKind<$value>>::merge(&identity, &Bound::unowned(operand(value.clone())));
                Bound::of(owner, own.value, &identity.value)
            }

            fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged {
                let merge: fn(&Self::Merged, &Self::Merged) -> Self::Merged = $merge;
                merge(one, two)
            }

            fn demands(value: &$value, identity: $value, own: Option<Field>, field: Field) -> bool {
                let demand: fn(&$value, &$value) -> bool = $demand;
                own == Some(field) && demand(value, &identity)
            }

            fn add_limiting_owners(merged: &Self::Merged, is_limited: bool, _: Field, owners: &mut Owners) {
                if is_limited {
                    *owners = owners.union(&merged.owners);
                }
            }

            fn rules(own: MergeRule, rules: &mut Vec<MergeRule>) {
                rules.push(MergeRule { operator: $operator, ..own });
            }
        }
    };
}

kind! {
    /// Values merge into the largest one. The participants that have this value own it.
    Max as "max" for T => T, where T: Clone, Ord;
    operand |value| value;
    demand |value, identity| value > identity;
    merge |one, two| one.choose(two, |a, b| a > b);
}

kind! {
    /// Values merge into the smallest one. The participants that have this value own it.
    Min as "min" for T => T, where T: Clone, Ord;
    operand |value| value;
    demand |value, identity| value < identity;
    merge |one, two| one.choose(two, |a, b| a < b);
}

kind! {
    /// Values merge into their least common multiple. All participants with a value above 1 own it.
    Lcm as "lcm" for T => CommonMultiple, where T: Copy, PartialEq, Into<u64>;
    operand |value| CommonMultiple::of(value.into());
    demand |value, _| (*value).into() > 1;
    merge |one, two| one.join(two, one.value.and(two.value));
}

kind! {
    /// Sets merge into their union. All participants with a set that is not empty own it.
    Union as "union" for BTreeSet<T> => BTreeSet<T>, where T: Clone, Ord;
    operand |value| value;
    demand |value, _| !value.is_empty();
    merge |one, two| {
        let value = match (one.value.is_empty(), two.value.is_empty()) {
            (_, true) => one.value.clone(),
            (true, false) => two.value.clone(),
            (false, false) => one.value.union(&two.value).cloned().collect(),
        };
        one.join(two, value)
    };
}

kind! {
    /// Values merge into true if any of them is true. All participants with a true value own it.
    Or as "or" for bool => bool;
    operand |value| value;
    demand |value, _| *value;
    merge |one, two| one.join(two, one.value || two.value);
}

kind! {
    /// Values merge into their sum of 64 bits. All participants with a value above 0 own it.
    Sum as "sum" for u32 => u64;
    operand |value| value.into();
    demand |value, _| *value > 0;
    merge |one, two| one.join(two, one.value.saturating_add(two.value));
}

kind! {
    /// Values merge into the value that satisfies both, or into the value that marks a contradiction. All participants with a
    /// demand own it.
    Agree as "agree" for T => T, where T: AgreeValue;
    operand |value| value;
    demand |value, _| value.is_demand();
    merge |one, two| one.join(two, one.value.and(two.value));
}

kind! {
    /// Sets merge into their intersection. `None` is the set of everything. All participants with a set own the intersection.
    Intersect as "intersect" for Option<T> => Option<T>, where T: IntersectValue;
    operand |value| value;
    demand |value, _| value.is_some();
    merge |one, two| {
        let value = match (&one.value, &two.value) {
            (Some(a), Some(b)) => Some(a.both(b)),
            (set, None) | (None, set) => set.clone(),
        };
        one.join(two, value)
    };
}

/// A value of a field of kind [`Agree`].
pub(super) trait AgreeValue: Copy + PartialEq {
    /// Returns the value that satisfies both values, or the value that marks a contradiction.
    #[must_use]
    fn and(self, other: Self) -> Self;

    /// Returns whether the value is a demand.
    fn is_demand(self) -> bool;
}

/// A set of a field of kind [`Intersect`].
pub(super) trait IntersectValue: Clone + PartialEq {
    /// Returns the items that are in both sets.
    #[must_use]
    fn both(&self, other: &Self) -> Self;
}

impl IntersectValue for FormatSet {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other)
    }
}

impl<T: Clone + Ord> IntersectValue for BTreeSet<T> {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other).cloned().collect()
    }
}

/// A nested structure of fields. Its fields merge one by one.
pub(super) enum Nested {}

impl<V: FieldTable> FieldKind<V> for Nested {
    type Merged = V::Merged;

    fn no_demand(_: V) -> V::Merged {
        V::no_demand()
    }

    fn of(owner: usize, value: &V, _: V) -> V::Merged {
        value.merged(owner)
    }

    fn merge(one: &V::Merged, two: &V::Merged) -> V::Merged {
        V::merge(one, two)
    }

    fn demands(value: &V, _: V, _: Option<Field>, field: Field) -> bool {
        value.demands_field(field)
    }

    fn relax(value: &mut V, _: V, _: Option<Field>, field: Field) {
        value.relax(field);
    }

    fn add_limiting_owners(merged: &V::Merged, _: bool, field: Field, owners: &mut Owners) {
        V::add_limiting_owners(merged, field, owners);
    }

    fn phrases(value: &V, role: Role, field: Field, phrases: &mut Vec<Phrase>) {
        value.phrases(role, field, phrases);
    }

    fn reasons<'m>(merged: &'m V::Merged, reasons: &mut Vec<Reason<'m>>) {
        V::reasons(merged, reasons);
    }

    fn rules(own: MergeRule, rules: &mut Vec<MergeRule>) {
        V::rules(&own.path(), rules);
    }
}

/// A nested structure of fields that few participants have. It merges like [`Nested`], and takes no memory if no participant has
/// it.
pub(super) enum Optional {}

impl<V: FieldTable> FieldKind<Option<V>> for Optional
where
    V::Merged: Clone,
{
    type Merged = Option<Box<V::Merged>>;

    fn no_demand(_: Option<V>) -> Self::Merged {
        None
    }

    fn of(owner: usize, value: &Option<V>, _: Option<V>) -> Self::Merged {
        value.as_ref().map(|value| Box::new(value.merged(owner)))
    }

    fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged {
        match (one, two) {
            (Some(one), Some(two)) => Some(Box::new(V::merge(one, two))),
            (Some(only), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        }
    }

    fn demands(value: &Option<V>, _: Option<V>, _: Option<Field>, field: Field) -> bool {
        value
            .as_ref()
            .is_some_and(|value| value.demands_field(field))
    }

    fn relax(value: &mut Option<V>, _: Option<V>, _: Option<Field>, field: Field) {
        if let Some(value) = value {
            value.relax(field);
        }
    }

    fn add_limiting_owners(merged: &Self::Merged, _: bool, field: Field, owners: &mut Owners) {
        if let Some(merged) = merged {
            V::add_limiting_owners(merged, field, owners);
        }
    }

    fn phrases(value: &Option<V>, role: Role, field: Field, phrases: &mut Vec<Phrase>) {
        if let Some(value) = value {
            value.phrases(role, field, phrases);
        }
    }

    fn reasons<'m>(merged: &'m Self::Merged, reasons: &mut Vec<Reason<'m>>) {
        if let Some(merged) = merged {
            V::reasons(merged, reasons);
        }
    }

    fn rules(own: MergeRule, rules: &mut Vec<MergeRule>) {
        V::rules(&own.path(), rules);
    }
}

/// A field that is not merged. The solver checks it for each participant.
pub(super) enum PerParticipant {}

/// The placeholder for a field that is not merged, because the solver checks it for each participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMerged;

impl<V: PartialEq> FieldKind<V> for PerParticipant {
    type Merged = NotMerged;

    fn no_demand(_: V) -> NotMerged {
        NotMerged
    }

    fn of(_: usize, _: &V, _: V) -> NotMerged {
        NotMerged
    }

    fn merge(_: &NotMerged, _: &NotMerged) -> NotMerged {
        NotMerged
    }

    fn demands(value: &V, identity: V, own: Option<Field>, field: Field) -> bool {
        own == Some(field) && *value != identity
    }

    fn add_limiting_owners(_: &NotMerged, _: bool, _: Field, _: &mut Owners) {}

    fn rules(_: MergeRule, _: &mut Vec<MergeRule>) {}
}
