//! Sets of constraint fields as bits.

use crate::constraint::Field;

/// A set of constraint fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(u32);

impl FieldSet {
    pub(super) const ALL: Self = Self(u32::MAX);

    const fn bit(field: Field) -> u32 {
        1 << field as u32
    }

    pub(super) fn insert(&mut self, field: Field) {
        self.0 |= Self::bit(field);
    }

    pub(super) fn remove(&mut self, field: Field) {
        self.0 &= !Self::bit(field);
    }

    pub(super) const fn contains(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
