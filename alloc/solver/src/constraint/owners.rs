//! The owners of a merged value, as a set of numbers whose union is cheap.

use std::fmt;

/// The numbers of the participants and sources whose constraints set a merged value. A number is an index into a list of names
/// that the caller keeps.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// A bit for each owner with a number below 64. An ordinary request has no other numbers, so it needs no allocation.
    few: u64,
    /// A bit for each owner with a number from 64 on, in words of 64 bits. The last word is not zero.
    more: Vec<u64>,
}

impl Owners {
    /// Makes a set of one number.
    pub fn one(number: usize) -> Self {
        let bit = 1_u64 << (number & 63);
        let Some(place) = (number >> 6).checked_sub(1) else {
            return Self {
                few: bit,
                more: Vec::new(),
            };
        };
        let mut more = vec![0; place.saturating_add(1)];
        more[place] = bit;
        Self { few: 0, more }
    }

    /// Returns whether there is no owner.
    pub fn is_empty(&self) -> bool {
        self.few == 0 && self.more.is_empty()
    }

    /// Returns whether `number` is an owner.
    pub fn contains(&self, number: usize) -> bool {
        let word = match (number >> 6).checked_sub(1) {
            None => Some(&self.few),
            Some(place) => self.more.get(place),
        };
        word.is_some_and(|word| word >> (number & 63) & 1 == 1)
    }

    /// Returns the union of both sets.
    #[must_use]
    #[inline]
    pub fn union(&self, other: &Self) -> Self {
        if self.more.is_empty() && other.more.is_empty() {
            return Self {
                few: self.few | other.few,
                more: Vec::new(),
            };
        }
        let (long, short) = if self.more.len() >= other.more.len() {
            (&self.more, &other.more)
        } else {
            (&other.more, &self.more)
        };
        let mut more = long.clone();
        for (word, own) in more.iter_mut().zip(short) {
            *word |= own;
        }
        Self {
            few: self.few | other.few,
            more,
        }
    }

    /// Iterates over the numbers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(&self.few)
            .chain(&self.more)
            .enumerate()
            .flat_map(|(place, word)| {
                (0..64_usize)
                    .filter(move |bit| word >> bit & 1 == 1)
                    .map(move |bit| place.saturating_mul(64).saturating_add(bit))
            })
    }
}

impl FromIterator<usize> for Owners {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        numbers
            .into_iter()
            .fold(Self::default(), |all, number| all.union(&Self::one(number)))
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_any_number_are_contained_in_their_union() {
        let numbers = [0, 3, 63, 64, 65, 127, 128, 1000];
        let all: Owners = numbers.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), numbers);
        for number in 0..1100 {
            assert_eq!(all.contains(number), numbers.contains(&number));
        }
        let reversed: Owners = numbers.into_iter().rev().collect();
        assert_eq!(all, reversed);
        assert!(Owners::default().is_empty() && !Owners::one(64).is_empty());
    }
}
