//! Times as a median with its spread.

use serde::Serialize;

/// Where the times of one thing lie, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    /// How many times there are.
    pub(super) n: usize,
    pub(super) min_ns: u64,
    /// A quarter took less.
    pub(super) lower_quartile_ns: u64,
    pub(super) median_ns: u64,
    /// A quarter took more.
    pub(super) upper_quartile_ns: u64,
    pub(super) max_ns: u64,
}

impl Spread {
    /// Sums times up; `None` where there are none.
    pub(super) fn of(times_ns: &[u64]) -> Option<Self> {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        Some(Self {
            n: sorted.len(),
            min_ns: *sorted.first()?,
            lower_quartile_ns: quarter(&sorted, 1)?,
            median_ns: quarter(&sorted, 2)?,
            upper_quartile_ns: quarter(&sorted, 3)?,
            max_ns: *sorted.last()?,
        })
    }
}

/// The time below which so many quarters lie; between two times where it falls between them.
fn quarter(sorted: &[u64], quarters: usize) -> Option<u64> {
    let fourfold = sorted.len().checked_sub(1)?.checked_mul(quarters)?;
    let (place, rest) = (fourfold / 4, fourfold % 4);
    let below = u128::from(*sorted.get(place)?);
    let above = sorted.get(place.checked_add(1)?).copied();
    let above = above.map_or(below, u128::from);
    let rest = u128::try_from(rest).ok()?;
    let step = above.checked_sub(below)?.checked_mul(rest)? / 4;
    u64::try_from(below.checked_add(step)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spread_of_known_times_is_known() {
        assert_eq!(Spread::of(&[]), None);
        let one = Spread::of(&[7]).unwrap();
        assert_eq!((one.n, one.min_ns, one.median_ns, one.max_ns), (1, 7, 7, 7));
        let five = Spread::of(&[50, 10, 40, 20, 30]).unwrap();
        assert_eq!(
            (
                five.lower_quartile_ns,
                five.median_ns,
                five.upper_quartile_ns
            ),
            (20, 30, 40)
        );
        let four = Spread::of(&[10, 20, 30, 40]).unwrap();
        assert_eq!(
            (
                four.lower_quartile_ns,
                four.median_ns,
                four.upper_quartile_ns
            ),
            (17, 25, 32)
        );
    }

    proptest! {
        #[test]
        fn spread_is_in_order_and_within_its_times(times in proptest::collection::vec(any::<u64>(), 1..40)) {
            let spread = Spread::of(&times).unwrap();
            let in_order = [
                spread.min_ns,
                spread.lower_quartile_ns,
                spread.median_ns,
                spread.upper_quartile_ns,
                spread.max_ns,
            ];
            prop_assert!(in_order.is_sorted());
            prop_assert_eq!(Some(&spread.min_ns), times.iter().min());
            prop_assert_eq!(Some(&spread.max_ns), times.iter().max());
            let below = times.iter().filter(|time| **time < spread.median_ns).count();
            prop_assert!(below * 2 <= times.len());
        }
    }
}
