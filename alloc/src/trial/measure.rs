//! Measures how long a driver takes for an operation. The measurement is in the helper process, so that the times do not include
//! messages over the socket.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use covalent_machine::trial_results::Outcome;

/// The durations of one cycle: of an acquisition, such as an allocation or an import, and of its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredCycle {
    /// The duration of the acquisition in nanoseconds.
    #[serde(rename = "taken_ns")]
    pub acquire_ns: u64,
    /// The duration of the release in nanoseconds.
    #[serde(rename = "given_back_ns")]
    pub release_ns: u64,
}

/// The maximum number of cycles in one request. It is limited, because the program waits for the reply.
const MAX_CYCLES: u32 = 1000;

/// Calls `acquire` and drops its result, `count` times, one after another, and measures how long the call and the drop take.
///
/// # Errors The first refusal. The durations that were measured before it are not returned.
pub(super) fn cycles<T>(
    count: u32,
    mut acquire: impl FnMut() -> Result<T, Outcome>,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let since = |from: Instant| u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
    (0..count.min(MAX_CYCLES))
        .map(|_| {
            let start = Instant::now();
            let acquired = acquire()?;
            let acquire_ns = since(start);
            let start = Instant::now();
            drop(acquired);
            Ok(MeasuredCycle {
                acquire_ns,
                release_ns: since(start),
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
    fn cycles_hold_one_at_a_time_and_measure_acquire_and_release() {
        let held = Cell::new(0);
        let measured = cycles(3, || {
            assert_eq!(held.replace(1), 0);
            std::thread::sleep(Duration::from_millis(2));
            Ok(Slow(&held))
        });
        let measured = measured.unwrap();
        assert_eq!((measured.len(), held.get()), (3, 0));
        for cycle in measured {
            assert!(cycle.acquire_ns >= 2_000_000 && cycle.release_ns >= 4_000_000);
        }
    }

    #[test]
    fn cycles_end_at_the_first_refusal() {
        let mut left = 2;
        let refused = cycles(9, || {
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
