//! A merged value that remembers who set it.

use super::owners::Owners;

/// A merged value, and the numbers of those who made it what it is; nobody's where it is the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub owners: Owners,
}

impl<T: Clone + PartialEq> Bound<T> {
    /// Takes one participant's value; it owns it unless it is the identity.
    pub(super) fn of(owner: usize, value: T, identity: &T) -> Self {
        let owners = if value == *identity {
            Owners::default()
        } else {
            Owners::one(owner)
        };
        Self { value, owners }
    }

    /// Takes a value that nobody set.
    pub(super) fn nobodys(value: T) -> Self {
        Self {
            value,
            owners: Owners::default(),
        }
    }

    /// Takes the one that is `better`; both own it where they are equal.
    pub(super) fn choose(&self, other: &Self, better: impl Fn(&T, &T) -> bool) -> Self {
        if self.value == other.value {
            self.join(other, self.value.clone())
        } else if better(&self.value, &other.value) {
            self.clone()
        } else {
            other.clone()
        }
    }

    /// Takes a value that both made.
    pub(super) fn join(&self, other: &Self, value: T) -> Self {
        Self {
            value,
            owners: self.owners.union(&other.owners),
        }
    }
}
