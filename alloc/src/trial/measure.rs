//! How long drivers take: the same thing again and again, timed in the helper process, so that no message is.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use covalent_machine::trial_results::Outcome;

/// One time that something was had and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredCycle {
    /// How long it took to have it, in nanoseconds.
    pub taken_ns: u64,
    /// How long it took to give it back.
    pub given_back_ns: u64,
}

/// So often is anything done at one question: whoever asks waits for the answer.
const MOST: u32 = 1000;

/// Takes something and lets go of it, again and again.
///
/// # Errors
/// The first refusal; what was measured before is lost with it.
pub(super) fn turns<T>(
    count: u32,
    mut take: impl FnMut() -> Result<T, Outcome>,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let since = |from: Instant| u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
    (0..count.min(MOST))
        .map(|_| {
            let begun = Instant::now();
            let taken = take()?;
            let taken_ns = since(begun);
            let begun = Instant::now();
            drop(taken);
            Ok(MeasuredCycle {
                taken_ns,
                given_back_ns: since(begun),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    struct Slow<'a>(&'a Cell<u32>);

    impl Drop for Slow<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    #[test]
    fn turns_hold_one_at_a_time_and_time_both_ways() {
        let held = Cell::new(0);
        let measured = turns(3, || {
            assert_eq!(held.replace(1), 0);
            std::thread::sleep(Duration::from_millis(2));
            Ok(Slow(&held))
        });
        let measured = measured.unwrap();
        assert_eq!((measured.len(), held.get()), (3, 0));
        for turn in measured {
            assert!(turn.taken_ns >= 2_000_000 && turn.given_back_ns >= 4_000_000);
        }
    }

    #[test]
    fn turns_end_with_the_first_refusal() {
        let mut left = 2;
        let refused = turns(9, || {
            left -= 1;
            if left > 0 {
                Ok(())
            } else {
                Err(Outcome::Untestable("no more".to_owned()))
            }
        });
        assert_eq!(refused, Err(Outcome::Untestable("no more".to_owned())));
        assert_eq!(left, 0);
    }
}
