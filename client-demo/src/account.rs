//! What became of each frame of a stream: captured, given to the compositor, shown or replaced before it was shown.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::{Latencies, Percentiles};
use crate::presentation::Shown;

/// `CLOCK_MONOTONIC` as `clock_gettime` numbers it: the clock of V4L2's monotonic timestamps.
pub const CLOCK_MONOTONIC: u32 = 1;

/// Which way the frames took to the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The display read the buffers themselves.
    Direct,
    /// The compositor drew them into a buffer of its own.
    Composited,
    /// Some frames one way, some the other.
    Mixed,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All frames that were asked for were shown.
    Done,
    /// SIGINT or SIGTERM came.
    Interrupted,
    /// The user closed the window.
    Closed,
    /// Something failed; the message on stderr says what.
    Failed,
}

/// The books of one stream.
#[derive(Clone, Debug, Default)]
pub struct Account {
    captured: u64,
    missed: u64,
    skipped: u64,
    committed: u64,
    presented: u64,
    discarded: u64,
    direct: u64,
    disordered: u64,
    ahead: u64,
    last_sequence: Option<u32>,
    last_presented: Option<u64>,
    in_flight: BTreeMap<u64, Option<Duration>>,
    latencies: Latencies,
}

impl Account {
    /// Books a frame of the camera by the number that the driver gave it; a gap in the numbers is frames that the camera
    /// made and had no buffer for.
    pub fn captured(&mut self, sequence: u32) {
        self.captured = self.captured.saturating_add(1);
        if let Some(last) = self.last_sequence {
            // Sequence numbers wrap. A step back is a camera that began anew, not four billion missed frames.
            let step = sequence.wrapping_sub(last);
            if (2..u32::MAX / 2).contains(&step) {
                self.missed = self.missed.saturating_add(u64::from(step - 1));
            }
        }
        self.last_sequence = Some(sequence);
    }

    /// Books a captured frame as not worth showing: damaged, or older than another that was there with it.
    pub fn skipped(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }

    /// Books frame `frame` as given to the compositor at `now`; `timestamp` is the camera's, or `None` where its clock is not
    /// `CLOCK_MONOTONIC`, which `now` is on.
    ///
    /// A frame was captured when it was delivered at the latest. Some drivers say when its exposure would have ended instead,
    /// which can lie ahead; those frames are counted.
    pub fn committed(&mut self, frame: u64, timestamp: Option<Duration>, now: Duration) {
        self.committed = self.committed.saturating_add(1);
        if timestamp.is_some_and(|timestamp| timestamp > now) {
            self.ahead = self.ahead.saturating_add(1);
        }
        let captured_at = timestamp.map(|timestamp| timestamp.min(now));
        self.in_flight.insert(frame, captured_at);
    }

    /// Books a frame as shown; its latency counts when `clock`, the compositor's, is the one of the capture times.
    pub fn presented(&mut self, frame: u64, shown: Shown, clock: Option<u32>) {
        let Some(captured_at) = self.in_flight.remove(&frame) else {
            return;
        };
        self.presented = self.presented.saturating_add(1);
        if shown.zero_copy {
            self.direct = self.direct.saturating_add(1);
        }
        if self.last_presented.is_some_and(|last| last >= frame) {
            self.disordered = self.disordered.saturating_add(1);
        }
        self.last_presented = Some(frame);
        if clock == Some(CLOCK_MONOTONIC) {
            let latency = captured_at.and_then(|captured_at| shown.time.checked_sub(captured_at));
            if let Some(latency) = latency {
                self.latencies.add(latency);
            }
        }
    }

    /// Books a frame as replaced before it was shown.
    pub fn discarded(&mut self, frame: u64) {
        if self.in_flight.remove(&frame).is_some() {
            self.discarded = self.discarded.saturating_add(1);
        }
    }

    /// Frames that the camera delivered.
    #[must_use]
    pub fn frames_captured(&self) -> u64 {
        self.captured
    }

    /// Frames given to the compositor.
    #[must_use]
    pub fn frames_committed(&self) -> u64 {
        self.committed
    }

    /// Frames that came to the display.
    #[must_use]
    pub fn frames_presented(&self) -> u64 {
        self.presented
    }

    /// Frames that a newer one replaced.
    #[must_use]
    pub fn frames_discarded(&self) -> u64 {
        self.discarded
    }

    /// Frames that the camera made and had no buffer for.
    #[must_use]
    pub fn frames_missed(&self) -> u64 {
        self.missed
    }

    /// Frames that were captured and not worth showing.
    #[must_use]
    pub fn frames_skipped(&self) -> u64 {
        self.skipped
    }

    /// Frames that came to the display after a newer one.
    #[must_use]
    pub fn frames_disordered(&self) -> u64 {
        self.disordered
    }

    /// Frames whose timestamp lay ahead of the time at which they were there.
    #[must_use]
    pub fn timestamps_ahead(&self) -> u64 {
        self.ahead
    }

    /// Frames of which the compositor has not yet said what became of them.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX)
    }

    /// The way the frames took, as the compositor's presentation feedback says; `None` before the first was shown.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        match (self.presented, self.direct) {
            (0, _) => None,
            (_, 0) => Some(Path::Composited),
            (presented, direct) if presented == direct => Some(Path::Direct),
            _ => Some(Path::Mixed),
        }
    }

    /// From the camera's timestamp to the display, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self) -> Option<Percentiles> {
        self.latencies.percentiles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(milliseconds: u64, zero_copy: bool) -> Shown {
        Shown {
            time: Duration::from_millis(milliseconds),
            sequence: 0,
            zero_copy,
        }
    }

    #[test]
    fn sequence_gap_counts_missed_frames_and_wraps() {
        let mut account = Account::default();
        for sequence in [u32::MAX - 1, u32::MAX, 0, 3, 4, 4, 0] {
            account.captured(sequence);
        }
        assert_eq!(account.frames_captured(), 7);
        assert_eq!(account.frames_missed(), 2);
    }

    #[test]
    fn latency_is_from_capture_to_presentation_on_the_same_clock() {
        let mut account = Account::default();
        account.committed(
            0,
            Some(Duration::from_millis(100)),
            Duration::from_millis(120),
        );
        account.committed(
            1,
            Some(Duration::from_millis(110)),
            Duration::from_millis(120),
        );
        account.presented(0, shown(130, true), Some(CLOCK_MONOTONIC));
        account.presented(1, shown(500, true), Some(0));
        assert_eq!(
            account.latency_ms().map(|ms| (ms.p50, ms.p99)),
            Some((30.0, 30.0))
        );
        assert_eq!(account.path(), Some(Path::Direct));
    }

    #[test]
    fn timestamp_ahead_of_its_frame_counts_from_the_delivery() {
        let mut account = Account::default();
        let delivered = Duration::from_millis(100);
        account.committed(0, Some(Duration::from_millis(190)), delivered);
        account.presented(0, shown(116, true), Some(CLOCK_MONOTONIC));
        assert_eq!(account.latency_ms().map(|ms| ms.p50), Some(16.0));
        assert_eq!(account.timestamps_ahead(), 1);
    }

    #[test]
    fn frame_is_booked_once_whatever_the_compositor_repeats() {
        let mut account = Account::default();
        account.committed(5, None, Duration::ZERO);
        account.discarded(5);
        account.discarded(5);
        account.presented(5, shown(1, false), None);
        assert_eq!(
            (account.frames_presented(), account.frames_discarded()),
            (0, 1)
        );
        assert_eq!(account.path(), None);
    }

    #[test]
    fn frame_presented_after_a_newer_one_is_disorder() {
        let mut account = Account::default();
        for frame in 0..3 {
            account.committed(frame, None, Duration::ZERO);
        }
        for frame in [0, 2, 1] {
            account.presented(frame, shown(1, frame == 0), None);
        }
        assert_eq!(account.frames_disordered(), 1);
        assert_eq!(account.path(), Some(Path::Mixed));
    }
}
