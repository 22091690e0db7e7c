//! How the values of a field merge, and what of them is a demand: one type for each kind of field.
//!
//! Every operator commutes and associates and has its identity, so the order of participants never matters.

use std::collections::BTreeSet;

use super::bound::Bound;
use super::common_multiple::CommonMultiple;
use super::demand::Field;
use super::field_table::{Clause, FieldTable, Reason};
use super::formats::FormatSet;
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;

/// A kind of field with values of type `V`.
pub(super) trait Kind<V> {
    /// What values merge into.
    type Merged;

    /// Returns what demands nothing.
    fn nothing(identity: V) -> Self::Merged;

    /// Takes one participant's value; the participant owns it where it asks for anything.
    fn of(owner: usize, value: &V, identity: V) -> Self::Merged;

    /// Returns what two ask for together.
    fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged;

    /// Returns whether anything is demanded of a field; `own` is the field that the value is a demand on.
    fn demands(value: &V, identity: V, own: Option<Field>, field: Field) -> bool;

    /// Gives up what is demanded of a field.
    fn relax(value: &mut V, identity: V, own: Option<Field>, field: Field) {
        if own == Some(field) {
            *value = identity;
        }
    }

    /// Adds who may be the reason that no layout meets the demands on a field; `is_to_blame` is whether these owners may.
    fn blame(merged: &Self::Merged, is_to_blame: bool, field: Field, owners: &mut Owners);

    /// Adds what is said of a demand by the fields within the value.
    fn clauses(_: &V, _: Role, _: Field, _: &mut Vec<Clause>) {}

    /// Adds why a plan is as it is by the fields within the value.
    fn reasons<'m>(_: &'m Self::Merged, _: &mut Vec<Reason<'m>>) {}

    /// Adds the rule by which the field merges, or those of the fields within it.
    fn rules(own: MergeRule, rules: &mut Vec<MergeRule>);
}

/// Defines a kind whose values merge to a bound.
macro_rules! kind {
    (
        $(#[$doc:meta])* $name:ident as $operator:literal for $value:ty => $merged:ty $(, where $generic:ident: $($trait:path),+)?;
        operand $operand:expr; demand $demand:expr; merge $merge:expr;
    ) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl$(<$generic: $($trait +)+>)? Kind<$value> for $name {
            type Merged = Bound<$merged>;

            fn nothing(identity: $value) -> Self::Merged {
                let operand: fn($value) -> $merged = $operand;
                Bound::nobodys(operand(identity))
            }

            fn of(owner: usize, value: &$value, identity: $value) -> Self::Merged {
                let operand: fn($value) -> $merged = $operand;
                let identity = Bound::nobodys(operand(identity));
                // As the operator sees it: a least of less than nothing asks for nothing.
                let own = <Self as Kind<$value>>::merge(&identity, &Bound::nobodys(operand(value.clone())));
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

            fn blame(merged: &Self::Merged, is_to_blame: bool, _: Field, owners: &mut Owners) {
                if is_to_blame {
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
    /// The greatest counts; whoever set it owns it.
    Max as "max" for T => T, where T: Clone, Ord;
    operand |value| value;
    demand |value, identity| value > identity;
    merge |one, two| one.choose(two, |a, b| a > b);
}

kind! {
    /// The least counts; whoever set it owns it.
    Min as "min" for T => T, where T: Clone, Ord;
    operand |value| value;
    demand |value, identity| value < identity;
    merge |one, two| one.choose(two, |a, b| a < b);
}

kind! {
    /// The least common multiple counts; all who ask for a step own it.
    Lcm as "lcm" for T => CommonMultiple, where T: Copy, Into<u64>;
    operand |value| CommonMultiple::of(value.into());
    demand |value, _| (*value).into() > 1;
    merge |one, two| one.join(two, one.value.and(two.value));
}

kind! {
    /// All of them count; all who name any own it.
    Union as "union" for BTreeSet<T> => BTreeSet<T>, where T: Clone, Ord;
    operand |value| value;
    demand |value, _| !value.is_empty();
    merge |one, two| one.join(two, one.value.union(&two.value).cloned().collect());
}

kind! {
    /// It counts where anybody asks for it; all who do own it.
    Or as "or" for bool => bool;
    operand |value| value;
    demand |value, _| *value;
    merge |one, two| one.join(two, one.value || two.value);
}

kind! {
    /// Numbers add up, in 64 bits, which more participants than there can be would have to fill; all own the sum.
    Sum as "sum" for u32 => u64;
    operand |value| value.into();
    demand |value, _| *value > 0;
    merge |one, two| one.join(two, one.value.saturating_add(two.value));
}

kind! {
    /// The one that serves both counts, or none does; all who ask for anything own it.
    Agree as "agree" for T => T, where T: Answer;
    operand |value| value;
    demand |value, _| value.is_demand();
    merge |one, two| one.join(two, one.value.and(two.value));
}

kind! {
    /// What is in every list counts; all who give a list own it.
    Intersect as "intersect" for Option<T> => Option<T>, where T: Intersection;
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

/// Answers of which one serves two who ask, or none does.
pub(super) trait Answer: Copy + PartialEq {
    /// Returns what serves both.
    #[must_use]
    fn and(self, other: Self) -> Self;

    /// Returns whether it asks for anything.
    fn is_demand(self) -> bool;
}

/// Sets of what is taken.
pub(super) trait Intersection: Clone + PartialEq {
    /// Returns what is in both.
    #[must_use]
    fn both(&self, other: &Self) -> Self;
}

impl Intersection for FormatSet {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other)
    }
}

impl<T: Clone + Ord> Intersection for BTreeSet<T> {
    fn both(&self, other: &Self) -> Self {
        self.intersection(other).cloned().collect()
    }
}

/// Fields of their own, which merge one by one.
pub(super) enum Within {}

impl<V: FieldTable> Kind<V> for Within {
    type Merged = V::Merged;

    fn nothing(_: V) -> V::Merged {
        V::nothing()
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

    fn blame(merged: &V::Merged, _: bool, field: Field, owners: &mut Owners) {
        V::blame(merged, field, owners);
    }

    fn clauses(value: &V, role: Role, field: Field, clauses: &mut Vec<Clause>) {
        value.clauses(role, field, clauses);
    }

    fn reasons<'m>(merged: &'m V::Merged, reasons: &mut Vec<Reason<'m>>) {
        V::reasons(merged, reasons);
    }

    fn rules(own: MergeRule, rules: &mut Vec<MergeRule>) {
        V::rules(own.field, rules);
    }
}

/// What is not merged: each participant is asked by itself.
pub(super) enum Apart {}

/// Stands for a field that is not merged, because each participant is asked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMerged;

impl<V: PartialEq> Kind<V> for Apart {
    type Merged = NotMerged;

    fn nothing(_: V) -> NotMerged {
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

    fn blame(_: &NotMerged, _: bool, _: Field, _: &mut Owners) {}

    fn rules(_: MergeRule, _: &mut Vec<MergeRule>) {}
}
