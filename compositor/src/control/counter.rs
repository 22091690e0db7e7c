//! Counts presented frames, and stores the times of the latest frames.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use covalent_protocols::control::Latency;

use crate::report::{FramePath, FrameRecord};

/// The time over which a frame rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// The number of frames whose times are stored. At a usual refresh rate this is more than the frames of [`RATE_WINDOW`]. Each
/// frame takes 16 bytes, and a client can have thousands of surfaces.
const SAMPLES_MAX: usize = 128;

/// The counter of the frames that showed new content of a surface. The surface and the records of its frames share it.
pub type SurfaceCounter = Rc<RefCell<FrameCounter>>;

/// The counters of the frames that an output has presented.
#[derive(Clone, Debug, Default)]
pub struct PresentedFrames {
    /// The counter of all presented frames. The latency of a frame is the latency of its first acquired buffer with new content.
    pub counter: FrameCounter,
    /// The number of these frames in which a plane scanned out a client's buffer.
    pub scanned_out: u64,
    /// The number of bytes that the CPU copied for all frames.
    pub copied_bytes: u64,
    /// The number of commits that the card rejected and that were retried.
    pub retries: u64,
}

impl PresentedFrames {
    /// Counts a frame that is on the display, for the output and for each surface with new content whose main output this is.
    pub fn add(&mut self, record: &FrameRecord) {
        let Some(flipped) = record.flipped else {
            return;
        };
        let shown = || std::iter::once(&record.shown).chain(&record.others);
        for buffer in shown().filter(|buffer| buffer.is_main) {
            if let Some(counter) = &buffer.counter {
                counter.borrow_mut().add_content(flipped, buffer.acquired);
            }
        }
        let acquired = shown().filter_map(|buffer| buffer.acquired).min();
        self.counter.add(flipped, acquired);
        if record.path == FramePath::Direct {
            self.scanned_out = self.scanned_out.saturating_add(1);
        }
        self.copied_bytes = self.copied_bytes.saturating_add(record.cpu_copied_bytes);
        self.retries = self.retries.saturating_add(record.retries.into());
    }
}

/// The number of frames that an output or a surface has presented, and the times of the latest frames.
#[derive(Clone, Debug, Default)]
pub struct FrameCounter {
    frames: u64,
    samples: VecDeque<Sample>,
    /// The latest time at which a buffer of the counted frames was acquired.
    acquired: Option<Duration>,
}

/// The times of one frame that showed the surface.
#[derive(Clone, Copy, Debug)]
struct Sample {
    flipped_us: u64,
    /// The time from the acquisition of the buffer to the flip; `None` for a frame without new content.
    latency_us: Option<u32>,
}

impl FrameCounter {
    /// Counts a frame with new content of a surface, unless another output has shown this content before. The main output of a
    /// surface changes when the second of two outputs shows it: the content is then new on both.
    fn add_content(&mut self, flipped: Duration, acquired: Option<Duration>) {
        if acquired.is_some() && acquired <= self.acquired {
            return;
        }
        self.acquired = self.acquired.max(acquired);
        self.add(flipped, acquired);
    }

    /// Counts a frame that reached the display at `flipped`. Its buffer was acquired at `acquired`.
    pub fn add(&mut self, flipped: Duration, acquired: Option<Duration>) {
        self.frames = self.frames.saturating_add(1);
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        let latency_us = acquired.map(|acquired| {
            let latency = flipped.saturating_sub(acquired);
            u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)
        });
        self.samples.push_back(Sample {
            flipped_us: u64::try_from(flipped.as_micros()).unwrap_or(u64::MAX),
            latency_us,
        });
    }

    /// Returns the number of frames that were counted so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns the frame rate over the two seconds before `now`, in frames per second.
    pub fn frames_per_second(&self, now: Duration) -> f64 {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let window_us = u64::try_from(RATE_WINDOW.as_micros()).unwrap_or(u64::MAX);
        let start = now_us.saturating_sub(window_us);
        let recent = self.samples.iter().rev();
        let recent = recent.take_while(|sample| sample.flipped_us > start);
        let (count, oldest) = recent.fold((0_u32, now_us), |(count, _), sample| {
            (count.saturating_add(1), sample.flipped_us)
        });
        // The stored frames of a very fast surface do not cover the whole window.
        let is_whole = usize::try_from(count).is_ok_and(|count| count < SAMPLES_MAX);
        let (frames, span_us) = if is_whole {
            (count, window_us)
        } else {
            (count, now_us.saturating_sub(oldest).max(1))
        };
        f64::from(frames) / Duration::from_micros(span_us).as_secs_f64()
    }

    /// Returns percentiles of the time from the acquisition of a buffer to the page flip. They are computed from the latest
    /// frames with new content. The result is `None` if there is no such frame.
    pub fn latency(&self) -> Option<Latency> {
        let mut sorted: Vec<u32> = self
            .samples
            .iter()
            .filter_map(|one| one.latency_us)
            .collect();
        sorted.sort_unstable();
        let largest = *sorted.last()?;
        let percentile = |percent: usize| {
            // The nearest rank: the smallest value that at least this share of the values does not exceed.
            let rank = sorted.len().saturating_mul(percent).div_ceil(100);
            let value = sorted.get(rank.saturating_sub(1)).copied();
            nanoseconds(value.unwrap_or(largest))
        };
        Some(Latency {
            samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
            p50_ns: percentile(50),
            p90_ns: percentile(90),
            p99_ns: percentile(99),
            max_ns: nanoseconds(largest),
        })
    }
}

fn nanoseconds(microseconds: u32) -> u64 {
    u64::from(microseconds).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn rate_counts_the_frames_of_the_last_two_seconds() {
        let mut counter = FrameCounter::default();
        assert_eq!(counter.frames_per_second(ms(9000)), 0.0);
        for frame in 0..60 {
            counter.add(ms(10_000 + frame * 50), None);
        }
        // There are twenty frames per second until 12.95 s, and none later.
        assert!((counter.frames_per_second(ms(12_960)) - 20.0).abs() < 0.6);
        assert!((counter.frames_per_second(ms(13_950)) - 10.0).abs() < 0.6);
        assert_eq!(counter.frames_per_second(ms(15_000)), 0.0);
        assert_eq!(counter.frames(), 60);
    }

    #[test]
    fn rate_above_the_number_of_samples_is_measured_over_the_samples() {
        let mut counter = FrameCounter::default();
        for frame in 0..1000 {
            counter.add(ms(frame * 5), None);
        }
        let rate = counter.frames_per_second(ms(4995));
        assert!((rate - 200.0).abs() < 4.0, "{rate}");
        assert!(counter.samples.len() <= SAMPLES_MAX);
    }

    #[test]
    fn content_that_two_outputs_show_is_counted_once() {
        let mut counter = FrameCounter::default();
        for (flipped, acquired) in [(10, 1), (12, 1), (20, 11), (22, 1), (24, 11), (30, 21)] {
            counter.add_content(ms(flipped), Some(ms(acquired)));
        }
        assert_eq!(counter.frames(), 3);
        assert_eq!(counter.latency().unwrap().max_ns, 9_000_000);
    }

    #[test]
    fn latency_has_the_nearest_ranks_of_frames_with_new_content() {
        let mut counter = FrameCounter::default();
        counter.add(ms(1), None);
        assert_eq!(counter.latency(), None);
        for frame in 1..=100 {
            counter.add(ms(1000 + frame), Some(ms(1000)));
        }
        let latency = counter.latency().unwrap();
        let values = [
            latency.p50_ns,
            latency.p90_ns,
            latency.p99_ns,
            latency.max_ns,
        ];
        assert_eq!(values.map(|ns| ns / 1_000_000), [50, 90, 99, 100]);
        assert_eq!(latency.samples, 100);
    }
}
