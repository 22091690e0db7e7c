//! The frame rate of a queue. It is a fraction, as in V4L2, because a rate such as 29.97 is 30000/1001.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::str::FromStr;

use super::sys;

/// A frame rate in frames per second, as an exact fraction. Fractions of equal value are equal: 60/2 is 30/1.
///
/// It is displayed as decimal frames per second (`30`, `29.97`), and parsed from a whole number or a fraction (`30`,
/// `30000/1001`).
///
/// # References
/// `linux/videodev2.h`, `struct v4l2_fract`: V4L2 has the frame interval in seconds, which is the inverse.
#[derive(Clone, Copy, Debug)]
pub struct FrameRate {
    numerator: NonZeroU32,
    denominator: NonZeroU32,
}

impl FrameRate {
    /// Makes a rate of `numerator` frames in `denominator` seconds; `None` if one of them is 0.
    #[must_use]
    pub const fn new(numerator: u32, denominator: u32) -> Option<Self> {
        match (NonZeroU32::new(numerator), NonZeroU32::new(denominator)) {
            (Some(numerator), Some(denominator)) => Some(Self {
                numerator,
                denominator,
            }),
            _ => None,
        }
    }

    /// Returns the number of frames in [`FrameRate::denominator`] seconds.
    #[must_use]
    pub const fn numerator(self) -> u32 {
        self.numerator.get()
    }

    /// Returns the number of seconds that [`FrameRate::numerator`] frames take.
    #[must_use]
    pub const fn denominator(self) -> u32 {
        self.denominator.get()
    }

    /// Returns the nearest floating-point number of frames per second, for arithmetic that need not be exact.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.numerator()) / f64::from(self.denominator())
    }

    /// Makes the rate of a frame interval in seconds; `None` if numerator or denominator is 0.
    pub(super) fn of_interval(interval: sys::Fraction) -> Option<Self> {
        Self::new(interval.denominator, interval.numerator)
    }

    /// Returns the frame interval in seconds.
    pub(super) fn interval(self) -> sys::Fraction {
        sys::Fraction {
            numerator: self.denominator(),
            denominator: self.numerator(),
        }
    }

    /// Returns numerator and denominator in lowest terms.
    fn reduced(self) -> (u32, u32) {
        let (mut large, mut small) = (self.numerator(), self.denominator());
        while let Some(rest) = large.checked_rem(small) {
            (large, small) = (small, rest);
        }
        // The greatest common divisor of two positive numbers is positive.
        let lowest = |number: u32| number.checked_div(large).unwrap_or(number);
        (lowest(self.numerator()), lowest(self.denominator()))
    }
}

impl Ord for FrameRate {
    fn cmp(&self, other: &Self) -> Ordering {
        // The product of two 32-bit numbers fits in 64 bits.
        let product = |one: u32, two: u32| u64::from(one).saturating_mul(u64::from(two));
        product(self.numerator(), other.denominator())
            .cmp(&product(other.numerator(), self.denominator()))
    }
}

impl PartialOrd for FrameRate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FrameRate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FrameRate {}

impl Hash for FrameRate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:.3}", self.as_f64());
        let short = decimals.trim_end_matches('0').trim_end_matches('.');
        // A rate below 0.0005 would be displayed as 0, so it is displayed as a fraction.
        if short == "0" {
            let (numerator, denominator) = self.reduced();
            write!(out, "{numerator}/{denominator}")
        } else {
            out.write_str(short)
        }
    }
}

/// The error for a text that is not a frame rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a frame rate; write frames per second as a whole number or as a fraction, such as 30 or 30000/1001"
)]
pub struct FrameRateError(String);

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| digits.parse().ok()).flatten()
        };
        number(numerator)
            .zip(number(denominator))
            .and_then(|(numerator, denominator)| Self::new(numerator, denominator))
            .ok_or_else(|| FrameRateError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rate(numerator: u32, denominator: u32) -> FrameRate {
        FrameRate::new(numerator, denominator).unwrap()
    }

    #[test]
    fn rates_of_equal_value_are_equal_and_have_equal_hashes() {
        assert_eq!(rate(60, 2), rate(30, 1));
        assert_eq!(rate(u32::MAX, u32::MAX), rate(1, 1));
        let all = HashSet::from([rate(30, 1), rate(60, 2), rate(30_000, 1000)]);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn rates_that_are_equal_in_floating_point_are_ordered_exactly() {
        let (less, more) = (rate(u32::MAX - 1, u32::MAX), rate(u32::MAX, u32::MAX));
        assert!(less < more);
        assert!(rate(30_000, 1001) < rate(30, 1));
        assert!(rate(u32::MAX - 2, u32::MAX - 1) < rate(u32::MAX - 1, u32::MAX));
    }

    #[test]
    fn rate_is_unchanged_by_conversion_to_interval_and_back() {
        let ntsc = rate(30_000, 1001);
        let interval = ntsc.interval();
        assert_eq!((interval.numerator, interval.denominator), (1001, 30_000));
        assert_eq!(FrameRate::of_interval(interval), Some(ntsc));
        for (numerator, denominator) in [(0, 30), (1, 0), (0, 0)] {
            let none = sys::Fraction {
                numerator,
                denominator,
            };
            assert_eq!(FrameRate::of_interval(none), None);
        }
    }

    #[test]
    fn rate_displays_frames_per_second() {
        let printed = [(30, 1), (30_000, 1001), (15, 2), (100, 1), (1, 5000)]
            .map(|(numerator, denominator)| rate(numerator, denominator).to_string());
        assert_eq!(printed, ["30", "29.97", "7.5", "100", "1/5000"]);
    }

    #[test]
    fn text_that_is_not_a_rate_is_refused_with_the_expected_form() {
        assert_eq!("30".parse(), Ok(rate(30, 1)));
        assert_eq!("30000/1001".parse(), Ok(rate(30_000, 1001)));
        for text in [
            "",
            "0",
            "30/0",
            "+30",
            "-1",
            "29.97",
            "30/",
            "/1",
            "1/2/3",
            "4294967296",
        ] {
            let error = text.parse::<FrameRate>().unwrap_err();
            assert!(error.to_string().contains("30000/1001"), "{text}: {error}");
        }
    }
}
