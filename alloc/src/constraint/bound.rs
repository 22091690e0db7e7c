//! A merged value that remembers who set it.

use std::collections::BTreeSet;

use serde::Serialize;

/// A merged value, and the names of those who made it what it is; nobody's where it is the identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bound<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub owners: BTreeSet<String>,
}

impl<T: Clone + PartialEq> Bound<T> {
    /// Takes one participant's value; it owns it unless it is the identity.
    pub(super) fn of(owner: &str, value: T, identity: &T) -> Self {
        let owners = if value == *identity {
            BTreeSet::new()
        } else {
            BTreeSet::from([owner.to_owned()])
        };
        Self { value, owners }
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
            owners: self.owners.union(&other.owners).cloned().collect(),
        }
    }
}
