//! Summarises times by their quartiles.

use serde::Serialize;

/// The quartiles of the times of one operation, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Quartiles {
    /// The number of measured times.
    pub(super) n: usize,
    pub(super) min_ns: u64,
    /// A quarter of the times are below this.
    pub(super) lower_quartile_ns: u64,
    pub(super) median_ns: u64,
    /// A quarter of the times are above this.
    pub(super) upper_quartile_ns: u64,
    pub(super) max_ns: u64,
}

impl Quartiles {
    /// Returns the quartiles of these times; `None` if there are none.
    pub(super) fn of(times_ns: &[u64]) -> Option<Self> {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        Some(Self {
            n: sorted.len(),
            min_ns: *sorted.first()?,
            lower_quartile_ns: quartile(&sorted, 1)?,
            median_ns: quartile(&sorted, 2)?,
            upper_quartile_ns: quartile(&sorted, 3)?,
            max_ns: *sorted.last()?,
        })
    }
}

/// Returns the quartile with this number from 1 to 3, interpolated linearly between two times.
fn quartile(sorted: &[u64], number: usize) -> Option<u64> {
    // The position of the quartile in `sorted`, in quarters of an index.
    let quarters = sorted.len().checked_sub(1)?.checked_mul(number)?;
    let (index, rest) = (quarters / 4, quarters % 4);
    let below = u128::from(*sorted.get(index)?);
    let above = sorted.get(index.checked_add(1)?).copied();
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
    fn quartiles_of_known_times_are_correct() {
        assert_eq!(Quartiles::of(&[]), None);
        let one = Quartiles::of(&[7]).unwrap();
        assert_eq!((one.n, one.min_ns, one.median_ns, one.max_ns), (1, 7, 7, 7));
        let five = Quartiles::of(&[50, 10, 40, 20, 30]).unwrap();
        assert_eq!(
            (
                five.lower_quartile_ns,
                five.median_ns,
                five.upper_quartile_ns
            ),
            (20, 30, 40)
        );
        let four = Quartiles::of(&[10, 20, 30, 40]).unwrap();
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
        fn quartiles_of_any_times_are_in_order_and_within_them(times in proptest::collection::vec(any::<u64>(), 1..40)) {
            let quartiles = Quartiles::of(&times).unwrap();
            let in_order = [
                quartiles.min_ns,
                quartiles.lower_quartile_ns,
                quartiles.median_ns,
                quartiles.upper_quartile_ns,
                quartiles.max_ns,
            ];
            prop_assert!(in_order.is_sorted());
            prop_assert_eq!(Some(&quartiles.min_ns), times.iter().min());
            prop_assert_eq!(Some(&quartiles.max_ns), times.iter().max());
            let below = times.iter().filter(|time| **time < quartiles.median_ns).count();
            prop_assert!(below * 2 <= times.len());
        }
    }
}
