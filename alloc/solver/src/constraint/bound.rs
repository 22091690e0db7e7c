//! A merged value with its owners.

use super::owners::Owners;

/// A merged value and its owners. The owners are the numbers of the participants and sources whose constraints set the value. The
/// identity value of the merge has no owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    /// The merged value.
    pub value: T,
    /// The participants and sources whose constraints set the value.
    pub owners: Owners,
}

impl<T: Clone + PartialEq> Bound<T> {
    /// Makes a bound from one participant's value. The participant owns the value unless it is the identity.
    pub(super) fn of(owner: usize, value: T, identity: &T) -> Self {
        let owners = if value == *identity {
            Owners::default()
        } else {
            Owners::one(owner)
        };
        Self { value, owners }
    }

    /// Makes a bound without an owner.
    pub(super) fn unowned(value: T) -> Self {
        Self {
            value,
            owners: Owners::default(),
        }
    }

    /// Returns the bound whose value is `better`, with its owners. If the values are equal, the result has the owners of both.
    pub(super) fn choose(&self, other: &Self, better: impl Fn(&T, &T) -> bool) -> Self {
        if self.value == other.value {
            self.join(other, self.value.clone())
        } else if better(&self.value, &other.value) {
            self.clone()
        } else {
            other.clone()
        }
    }

    /// Makes a bound whose value was computed from both values. It has the owners of both.
    pub(super) fn join(&self, other: &Self, value: T) -> Self {
        Self {
            value,
            owners: self.owners.union(&other.owners),
        }
    }
}
