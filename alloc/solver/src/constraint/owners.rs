//! Who set a bound, as numbers that are cheap to unite.

use std::fmt;

/// Numbers of those who own a bound: places in a list of names that the bound's maker keeps.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// The first 64, so that the usual request needs no memory for them.
    few: u64,
    /// Those from 64 on, without trailing zeros.
    more: Vec<u64>,
}

impl Owners {
    /// Returns the set of one.
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

    /// Returns whether nobody owns it.
    pub fn is_empty(&self) -> bool {
        self.few == 0 && self.more.is_empty()
    }

    /// Returns whether this one is among them.
    pub fn contains(&self, number: usize) -> bool {
        let word = match (number >> 6).checked_sub(1) {
            None => Some(&self.few),
            Some(place) => self.more.get(place),
        };
        word.is_some_and(|word| word >> (number & 63) & 1 == 1)
    }

    /// Returns those who are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
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

    /// Returns the numbers in order.
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
    fn owners_of_any_number_are_kept_and_united() {
        let numbers = [0, 3, 63, 64, 65, 127, 128, 1000];
        let all: Owners = numbers.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), numbers);
        for number in 0..1100 {
            assert_eq!(all.contains(number), numbers.contains(&number));
        }
        let turned: Owners = numbers.into_iter().rev().collect();
        assert_eq!(all, turned);
        assert!(Owners::default().is_empty() && !Owners::one(64).is_empty());
    }
}
