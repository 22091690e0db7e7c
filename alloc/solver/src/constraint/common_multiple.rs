//! Least common multiples without silent overflow.

use std::fmt;

/// The least common multiple of several alignments; an alignment of 0 counts as 1, which demands nothing.
///
/// The multiple is exact. A multiple that does not fit into 64 bits is kept as "overflowed", and 0 is the only 64-bit number that
/// is a multiple of it. So an alignment that no number satisfies is never reported as satisfied. Merging is still commutative and
/// associative, because a multiple of an overflowed number overflows too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonMultiple(Option<u64>);

impl CommonMultiple {
    /// Makes the common multiple of a single number.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(Some(if number == 0 { 1 } else { number }))
    }

    /// Returns the number; `None` if it does not fit in 64 bits.
    #[must_use]
    pub const fn get(self) -> Option<u64> {
        self.0
    }

    /// Returns the least common multiple of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other || other.is_one() {
            return self;
        }
        Self(self.0.zip(other.0).and_then(|(one, two)| lcm(one, two)))
    }

    /// Returns whether `number` is a multiple of this common multiple.
    #[must_use]
    pub fn divides(self, number: u64) -> bool {
        number == 0
            || self
                .0
                .is_some_and(|step| number.checked_rem(step) == Some(0))
    }

    /// Returns the smallest multiple that is not less than `number`; `None` if it does not fit into 64 bits.
    #[must_use]
    pub(crate) fn at_least(self, number: u64) -> Option<u64> {
        match self.0 {
            _ if number == 0 => Some(0),
            Some(step) => number.checked_next_multiple_of(step),
            None => None,
        }
    }

    /// Returns whether this is 1, of which every number is a multiple.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.0 == Some(1)
    }
}

impl PartialEq<u64> for CommonMultiple {
    fn eq(&self, number: &u64) -> bool {
        self.0 == Some(*number)
    }
}

impl fmt::Display for CommonMultiple {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(out, "{number}"),
            None => out.write_str("over 2^64"),
        }
    }
}

/// Returns the greatest common divisor. A first argument of 0 counts as 1.
pub(crate) fn gcd(one: u64, two: u64) -> u64 {
    let (mut divisor, mut rest) = (one.max(1), two);
    while let Some(remainder) = divisor.checked_rem(rest) {
        (divisor, rest) = (rest, remainder);
    }
    divisor
}

/// Returns the least common multiple; `None` if it does not fit in 64 bits.
pub fn lcm(one: u64, two: u64) -> Option<u64> {
    one.checked_div(gcd(one, two))?.checked_mul(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_multiple_of_two_numbers_is_a_multiple_of_both() {
        let both = |one, two| CommonMultiple::of(one).and(CommonMultiple::of(two));
        assert_eq!(both(48, 64), 192);
        assert_eq!(both(0, 64), 64);
        assert_eq!(both(65_536, 65_537), 65_536 * 65_537);
        assert_eq!(both(u64::MAX, u64::MAX), u64::MAX);
        assert!(both(0, 1).is_one());
    }

    #[test]
    fn common_multiple_over_64_bits_divides_only_zero() {
        let beyond = CommonMultiple::of(u64::MAX).and(CommonMultiple::of(2));
        assert_eq!(beyond.get(), None);
        assert_eq!(beyond.and(CommonMultiple::of(1)), beyond);
        assert!(!beyond.divides(u64::MAX) && beyond.divides(0));
        assert_eq!((beyond.at_least(0), beyond.at_least(1)), (Some(0), None));
    }
}
