//! Counts what happened to the frames of a stream: captured, committed, presented, or discarded by the compositor.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::{Latencies, Percentiles};
use crate::presentation::PresentationInfo;

/// The value of `CLOCK_MONOTONIC` for `clock_gettime`. V4L2's monotonic timestamps are on this clock.
pub const CLOCK_MONOTONIC: u32 = 1;

/// How the frames reached the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DisplayPath {
    /// Direct scanout: the display scanned out the client's buffers.
    Direct,
    /// Composition: the compositor rendered the client's buffers into its output buffer.
    Composited,
    /// Some frames reached the display by direct scanout, and the others were composited.
    Mixed,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The stream has not ended yet; the report has the counts so far.
    Running,
    /// All frames of `--frames` were shown.
    Done,
    /// SIGINT or SIGTERM ended the run.
    Interrupted,
    /// The user closed the window.
    Closed,
    /// Something failed; the message on stderr says what.
    Failed,
}

/// Counters and latencies of one stream.
#[derive(Clone, Debug, Default)]
pub struct FrameStats {
    captured: u64,
    missed: u64,
    skipped: u64,
    incomplete: u64,
    committed: u64,
    presented: u64,
    discarded: u64,
    direct: u64,
    out_of_order: u64,
    ahead: u64,
    last_sequence: Option<u32>,
    /// The newest frame that was presented.
    last_presented: Option<u64>,
    in_flight: BTreeMap<u64, Option<Duration>>,
    latencies: Latencies,
}

impl FrameStats {
    /// Counts a captured frame. `sequence` is the driver's sequence number; a gap in the sequence is frames that the camera
    /// dropped because it had no buffer.
    pub fn captured(&mut self, sequence: u32) {
        self.captured = self.captured.saturating_add(1);
        if let Some(last) = self.last_sequence {
            // Sequence numbers wrap. A step back means that the camera restarted, not that it dropped four billion frames.
            let step = sequence.wrapping_sub(last);
            if (2..u32::MAX / 2).contains(&step) {
                self.missed = self.missed.saturating_add(u64::from(step - 1));
            }
        }
        self.last_sequence = Some(sequence);
    }

    /// Counts captured frames that are not shown, because they had to be converted and the conversion was too slow. They were
    /// captured before the frame that is counted next.
    pub fn lost_in_conversion(&mut self, frames: u32) {
        self.captured = self.captured.saturating_add(frames.into());
        self.skipped = self.skipped.saturating_add(frames.into());
        self.last_sequence = self.last_sequence.map(|last| last.wrapping_add(frames));
    }

    /// Counts a captured frame that is not shown, because it is damaged or a newer one was dequeued with it.
    pub fn skipped(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }

    /// Counts a captured frame that is incomplete and therefore not shown.
    pub fn incomplete(&mut self) {
        self.incomplete = self.incomplete.saturating_add(1);
        self.skipped();
    }

    /// Counts frame `frame` as committed at `now`, on `CLOCK_MONOTONIC`. `timestamp` is the camera's timestamp, or `None` if the
    /// camera uses another clock.
    ///
    /// Some drivers report a timestamp in the future, the computed end of the exposure. Such frames are counted by
    /// [`timestamps_ahead`](Self::timestamps_ahead), and `now` is used as their capture time.
    pub fn committed(&mut self, frame: u64, timestamp: Option<Duration>, now: Duration) {
        self.committed = self.committed.saturating_add(1);
        if timestamp.is_some_and(|timestamp| timestamp > now) {
            self.ahead = self.ahead.saturating_add(1);
        }
        let captured_at = timestamp.map(|timestamp| timestamp.min(now));
        self.in_flight.insert(frame, captured_at);
    }

    /// Counts a frame as presented. Its latency is recorded where `clock`, the compositor's presentation clock, is
    /// `CLOCK_MONOTONIC`.
    pub fn presented(&mut self, frame: u64, shown: PresentationInfo, clock: Option<u32>) {
        let Some(captured_at) = self.in_flight.remove(&frame) else {
            return;
        };
        self.presented = self.presented.saturating_add(1);
        if shown.zero_copy {
            self.direct = self.direct.saturating_add(1);
        }
        if self.last_presented.is_some_and(|last| last >= frame) {
            self.out_of_order = self.out_of_order.saturating_add(1);
        }
        self.last_presented = self.last_presented.max(Some(frame));
        if clock == Some(CLOCK_MONOTONIC) {
            let latency = captured_at.and_then(|captured_at| shown.time.checked_sub(captured_at));
            if let Some(latency) = latency {
                self.latencies.add(latency);
            }
        }
    }

    /// Counts a frame as discarded: a newer one replaced it before it was presented.
    pub fn discarded(&mut self, frame: u64) {
        if self.in_flight.remove(&frame).is_some() {
            self.discarded = self.discarded.saturating_add(1);
        }
    }

    /// Removes a committed frame from the frames in flight without counting it as presented or discarded. It is called if the
    /// compositor lacks presentation-time, so that no event ever reports the frame.
    pub fn without_feedback(&mut self, frame: u64) {
        self.in_flight.remove(&frame);
    }

    /// Returns the number of frames that were dequeued from the camera.
    #[must_use]
    pub fn frames_captured(&self) -> u64 {
        self.captured
    }

    /// Returns the number of committed frames.
    #[must_use]
    pub fn frames_committed(&self) -> u64 {
        self.committed
    }

    /// Returns the number of presented frames.
    #[must_use]
    pub fn frames_presented(&self) -> u64 {
        self.presented
    }

    /// Returns the number of frames that the compositor discarded.
    #[must_use]
    pub fn frames_discarded(&self) -> u64 {
        self.discarded
    }

    /// Returns the number of frames that the camera dropped because no buffer was queued.
    #[must_use]
    pub fn frames_missed(&self) -> u64 {
        self.missed
    }

    /// Returns the number of frames that were captured and not committed.
    #[must_use]
    pub fn frames_skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the number of frames that were incomplete. [`frames_skipped`](Self::frames_skipped) includes them.
    #[must_use]
    pub fn frames_incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Returns the number of frames that were presented after a newer frame.
    #[must_use]
    pub fn frames_out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Returns the number of frames whose timestamp was later than their commit.
    #[must_use]
    pub fn timestamps_ahead(&self) -> u64 {
        self.ahead
    }

    /// Returns the number of committed frames that are neither presented nor discarded yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX)
    }

    /// Returns how the frames reached the display, as the compositor's presentation feedback reports it; `None` before the first
    /// presented frame.
    #[must_use]
    pub fn path(&self) -> Option<DisplayPath> {
        match (self.presented, self.direct) {
            (0, _) => None,
            (_, 0) => Some(DisplayPath::Composited),
            (presented, direct) if presented == direct => Some(DisplayPath::Direct),
            _ => Some(DisplayPath::Mixed),
        }
    }

    /// Returns the bytes that the CPU copied in this process and in the compositor; `client_bytes` are those of this process.
    /// Returns `None` if the compositor composed a frame or did not report how the frame was shown, because the compositor does
    /// not tell its clients how many bytes it copied.
    #[must_use]
    pub fn copied_bytes(&self, client_bytes: u64) -> Option<u64> {
        (self.path() == Some(DisplayPath::Direct)).then_some(client_bytes)
    }

    /// Returns the number of frames that were shown: presented frames, or committed frames where none was presented or the compositor
    /// lacks presentation-time.
    #[must_use]
    pub fn frames_shown(&self) -> u64 {
        match self.frames_presented() {
            0 => self.frames_committed(),
            presented => presented,
        }
    }

    /// Returns the percentiles of the time from the camera's timestamp to the presentation, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self) -> Option<Percentiles> {
        self.latencies.percentiles()
    }
}

/// Returns the mean of a number of bytes over a number of frames.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a mean, for which the precision of f64 suffices"
)]
pub fn bytes_per_frame(bytes: u64, frames: u64) -> f64 {
    bytes as f64 / frames.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(milliseconds: u64, zero_copy: bool) -> PresentationInfo {
        PresentationInfo {
            time: Duration::from_millis(milliseconds),
            sequence: 0,
            zero_copy,
        }
    }

    #[test]
    fn sequence_with_gaps_and_a_wrap_counts_missed_frames() {
        let mut stats = FrameStats::default();
        for sequence in [u32::MAX - 1, u32::MAX, 0, 3, 4, 4, 0] {
            stats.captured(sequence);
        }
        assert_eq!(stats.frames_captured(), 7);
        assert_eq!(stats.frames_missed(), 2);
    }

    #[test]
    fn frames_lost_in_a_conversion_are_captured_and_skipped_and_not_missed_by_the_camera() {
        let mut stats = FrameStats::default();
        stats.captured(7);
        stats.lost_in_conversion(2);
        stats.captured(10);
        stats.lost_in_conversion(1);
        stats.captured(13);
        assert_eq!(stats.frames_captured(), 6);
        assert_eq!(stats.frames_skipped(), 3);
        assert_eq!(stats.frames_missed(), 1);
    }

    #[test]
    fn frame_on_the_same_clock_has_the_latency_from_capture_to_presentation() {
        let mut stats = FrameStats::default();
        stats.committed(
            0,
            Some(Duration::from_millis(100)),
            Duration::from_millis(120),
        );
        stats.committed(
            1,
            Some(Duration::from_millis(110)),
            Duration::from_millis(120),
        );
        stats.presented(0, shown(130, true), Some(CLOCK_MONOTONIC));
        stats.presented(1, shown(500, true), Some(0));
        assert_eq!(
            stats.latency_ms().map(|ms| (ms.p50, ms.p99)),
            Some((30.0, 30.0))
        );
        assert_eq!(stats.path(), Some(DisplayPath::Direct));
        assert_eq!(stats.copied_bytes(5), Some(5));
    }

    #[test]
    fn timestamp_later_than_the_commit_is_replaced_by_the_commit() {
        let mut stats = FrameStats::default();
        let committed = Duration::from_millis(100);
        stats.committed(0, Some(Duration::from_millis(190)), committed);
        stats.presented(0, shown(116, true), Some(CLOCK_MONOTONIC));
        assert_eq!(stats.latency_ms().map(|ms| ms.p50), Some(16.0));
        assert_eq!(stats.timestamps_ahead(), 1);
    }

    #[test]
    fn frame_reported_several_times_is_counted_once() {
        let mut stats = FrameStats::default();
        stats.committed(5, None, Duration::ZERO);
        stats.discarded(5);
        stats.discarded(5);
        stats.presented(5, shown(1, false), None);
        assert_eq!((stats.frames_presented(), stats.frames_discarded()), (0, 1));
        assert_eq!(stats.path(), None);
    }

    #[test]
    fn frame_without_feedback_is_committed_and_not_in_flight() {
        let mut stats = FrameStats::default();
        stats.committed(0, None, Duration::ZERO);
        assert_eq!(stats.in_flight(), 1);
        stats.without_feedback(0);
        assert_eq!((stats.frames_committed(), stats.in_flight()), (1, 0));
        assert_eq!((stats.frames_presented(), stats.frames_discarded()), (0, 0));
    }

    #[test]
    fn frame_presented_after_a_newer_one_is_out_of_order() {
        let mut stats = FrameStats::default();
        for frame in 0..5 {
            stats.committed(frame, None, Duration::ZERO);
        }
        // Frames 1 and 2 are both older than frame 3, although frame 2 follows frame 1.
        for frame in [0, 3, 1, 2, 4] {
            stats.presented(frame, shown(1, frame == 0), None);
        }
        assert_eq!(stats.frames_out_of_order(), 2);
        assert_eq!(stats.path(), Some(DisplayPath::Mixed));
        assert_eq!(stats.copied_bytes(5), None);
    }
}
