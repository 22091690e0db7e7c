//! Sets of small numbers, with a bit for each number.

/// A set of numbers below a length that is fixed when the set is made. Callers pass only numbers below that length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Returns the empty set of numbers below `length`.
    pub(super) fn none(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    /// Returns all numbers below `length`.
    pub(super) fn all(length: usize) -> Self {
        let mut bits = Self(vec![u64::MAX; length.div_ceil(64)]);
        bits.keep_below(length);
        bits
    }

    fn keep_below(&mut self, length: usize) {
        if let Some(last) = self.0.last_mut().filter(|_| length & 63 != 0) {
            *last = (1_u64 << (length & 63)).wrapping_sub(1);
        }
    }

    pub(super) fn insert(&mut self, number: usize) {
        self.0[number >> 6] |= 1 << (number & 63);
    }

    /// Inserts the `length` numbers from `first` on.
    pub(super) fn insert_run(&mut self, first: usize, length: usize) {
        let end = first.saturating_add(length);
        let mut number = first;
        while number < end {
            let in_word = number & 63;
            let count = end
                .saturating_sub(number)
                .min(64_usize.saturating_sub(in_word));
            let run = u64::MAX >> (64_usize.saturating_sub(count) & 63);
            self.0[number >> 6] |= run << in_word;
            number = number.saturating_add(count);
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0[number >> 6] >> (number & 63) & 1 == 1
    }

    /// Removes all numbers that are not in `other`, which has the same length. Returns whether the set has any numbers left.
    pub(super) fn keep(&mut self, other: &Self) -> bool {
        debug_assert_eq!(self.0.len(), other.0.len());
        let mut any = 0;
        for (word, own) in self.0.iter_mut().zip(&other.0) {
            *word &= own;
            any |= *word;
        }
        any != 0
    }

    /// Inserts all numbers of `other`, which has the same length.
    pub(super) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.0.len(), other.0.len());
        for (word, own) in self.0.iter_mut().zip(&other.0) {
            *word |= own;
        }
    }

    /// Inserts all numbers that are not in `other`, which has the same length. This also sets bits beyond the length, which no
    /// caller reads.
    pub(super) fn add_complement(&mut self, other: &Self) {
        debug_assert_eq!(self.0.len(), other.0.len());
        for (word, own) in self.0.iter_mut().zip(&other.0) {
            *word |= !own;
        }
    }

    /// Removes all numbers of `other`, which has the same length. Returns whether the set has any numbers left.
    pub(super) fn remove(&mut self, other: &Self) -> bool {
        debug_assert_eq!(self.0.len(), other.0.len());
        let mut any = 0;
        for (word, own) in self.0.iter_mut().zip(&other.0) {
            *word &= !own;
            any |= *word;
        }
        any != 0
    }

    /// Returns whether the set has a number in common with `other`, which has the same length.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        debug_assert_eq!(self.0.len(), other.0.len());
        self.0.iter().zip(&other.0).any(|(one, two)| one & two != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Returns the smallest number of the set that is not less than `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut word_index = from >> 6;
        let mut word = self.0.get(word_index)? & (u64::MAX << (from & 63));
        while word == 0 {
            word_index = word_index.saturating_add(1);
            word = *self.0.get(word_index)?;
        }
        Some(word_index << 6 | word.trailing_zeros() as usize)
    }

    /// Returns the smallest number that is not less than `from` and is in this set and in `other`, which has the same length.
    pub(super) fn next_in_both(&self, other: &Self, from: usize) -> Option<usize> {
        let mut word_index = from >> 6;
        let both = |word_index: usize| Some(self.0.get(word_index)? & other.0.get(word_index)?);
        let mut word = both(word_index)? & (u64::MAX << (from & 63));
        while word == 0 {
            word_index = word_index.saturating_add(1);
            word = both(word_index)?;
        }
        Some(word_index << 6 | word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bits {
        /// Iterates over the numbers of the set in ascending order, starting at `from`.
        pub(in crate::solve) fn iter_from(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
            std::iter::successors(self.next(from), |number| {
                self.next(number.saturating_add(1))
            })
        }
    }

    #[test]
    fn bits_are_kept_and_found_across_words() {
        let mut bits = Bits::none(200);
        for number in [0, 63, 64, 130, 199] {
            bits.insert(number);
        }
        assert!(bits.iter_from(0).eq([0, 63, 64, 130, 199]));
        assert!(bits.iter_from(64).eq([64, 130, 199]));
        assert_eq!(bits.next(200), None);
        for (first, length) in [(0, 200), (3, 0), (63, 2), (64, 64), (10, 130), (199, 1)] {
            let mut run = Bits::none(200);
            run.insert_run(first, length);
            assert!(run.iter_from(0).eq(first..first + length));
        }
        let mut other = Bits::none(200);
        other.insert(130);
        assert_eq!(bits.next_in_both(&other, 1), Some(130));
        assert_eq!(bits.next_in_both(&other, 131), None);
        let all = Bits::all(130);
        assert!(all.contains(129) && !all.contains(130));
        let mut below = Bits::none(200);
        below.insert_run(0, 130);
        assert!(bits.keep(&below));
        assert!(bits.contains(64) && !bits.is_empty());
        assert!(Bits::all(0).is_empty() && Bits::all(128).iter_from(0).count() == 128);
    }
}
