//! Latency samples of frames, and their percentiles.

use std::time::Duration;

use serde::Serialize;

/// The maximum number of samples that are kept: 18 minutes at 60 frames per second, in one megabyte.
const MOST_SAMPLES: usize = 1 << 16;

/// The latency samples of a run. The memory is bounded: of a long run only every second, fourth, eighth … sample is kept.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    samples: Vec<Duration>,
    /// How often the number of samples was halved: one of every `1 << halvings` added samples is kept.
    halvings: u32,
    /// The number of samples that were added.
    added: u64,
}

/// The reported percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median of the latencies in milliseconds.
    pub p50: f64,
    /// The 99th percentile of the latencies in milliseconds.
    pub p99: f64,
}

impl Latencies {
    /// Adds a sample.
    pub fn add(&mut self, sample: Duration) {
        let is_kept = self.added.trailing_zeros() >= self.halvings;
        self.added = self.added.wrapping_add(1);
        if !is_kept {
            return;
        }
        self.samples.push(sample);
        if self.samples.len() >= MOST_SAMPLES {
            let mut number = 0_usize;
            self.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.halvings += 1;
        }
    }

    /// Returns a percentile by the nearest-rank method: the smallest sample that at least `percent` per cent of the samples do
    /// not exceed. Returns `None` if there is no sample. A `percent` above 100 counts as 100.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = sorted
            .len()
            .checked_mul(usize::from(percent.min(100)))?
            .div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Returns the percentiles for the reports, or `None` if there is no sample.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let milliseconds = |percent| {
            self.percentile(percent)
                .map(|duration| duration.as_secs_f64() * 1000.0)
        };
        Some(Percentiles {
            p50: milliseconds(50)?,
            p99: milliseconds(99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(milliseconds: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for sample in milliseconds {
            latencies.add(Duration::from_millis(sample));
        }
        latencies
    }

    #[test]
    fn percentile_of_no_samples_is_none() {
        assert_eq!(Latencies::default().percentile(50), None);
        assert_eq!(Latencies::default().percentiles(), None);
    }

    #[test]
    fn percentile_of_one_sample_is_that_sample() {
        let one = latencies([7]);
        for percent in [0, 1, 50, 99, 100, 255] {
            assert_eq!(one.percentile(percent), Some(Duration::from_millis(7)));
        }
    }

    #[test]
    fn samples_of_a_long_run_are_thinned_out_and_its_percentiles_stay() {
        // The samples are 1 to 100 milliseconds repeatedly, and twice as long in the second half of the run.
        let long = latencies((0..1_000_000).map(|number| {
            let factor = 1 + number / 500_000;
            (1 + number % 100) * factor
        }));
        assert!(long.samples.len() < MOST_SAMPLES);
        let percentiles = long.percentiles().unwrap();
        assert!((65.0..=69.0).contains(&percentiles.p50), "{percentiles:?}");
        assert!(
            (194.0..=198.0).contains(&percentiles.p99),
            "{percentiles:?}"
        );
    }

    #[test]
    fn percentile_of_unsorted_samples_is_the_nearest_rank() {
        let hundred = latencies((1..=100).rev());
        assert_eq!(hundred.percentile(50), Some(Duration::from_millis(50)));
        assert_eq!(hundred.percentile(99), Some(Duration::from_millis(99)));
        assert_eq!(hundred.percentile(100), Some(Duration::from_millis(100)));
        let three = latencies([30, 10, 20]);
        assert_eq!(three.percentile(50), Some(Duration::from_millis(20)));
        assert_eq!(three.percentile(99), Some(Duration::from_millis(30)));
    }
}
