//! The frame clock of an output: the next refresh for which a frame can be drawn, and the deadline at which drawing starts.
//!
//! ```text
//!   refresh            deadline        refresh            deadline        refresh
//!      │ commits of clients │ draw, submit │ commits of clients │ draw, submit │
//!      └────────────────────┴──────────────┴────────────────────┴──────────────┘ time
//! ```
//!
//! A frame is drawn as late as the measured drawing time permits, so that the commits of all clients in one refresh period are
//! shown together. At most one frame is drawn for each refresh.

use std::collections::VecDeque;
use std::time::Duration;

/// The number of recent frames whose drawing time is stored. At 60 Hz they cover about a second.
const RECENT_FRAMES: usize = 64;

/// The time between the expected end of drawing and the refresh. The deadline is this margin and the longest recent drawing time
/// before the refresh. The margin covers the kernel's work between the commit and vblank, and the latency of the event loop.
const MARGIN: Duration = Duration::from_micros(1_500);

/// A refresh for which a frame can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The time at which the frame is to be shown.
    pub(super) target: Duration,
    /// The time at which drawing starts.
    pub(super) deadline: Duration,
}

/// The refreshes of an output, predicted from its page flips.
#[derive(Debug, Default)]
pub(super) struct FrameClock {
    /// The time of one refresh, from which the times of other refreshes are computed. It is `None` for an output that is not
    /// synchronised to vblank.
    phase: Option<Duration>,
    /// The time of the refresh for which the last frame was drawn.
    last_target: Option<Duration>,
    drawing_times: VecDeque<Duration>,
}

impl FrameClock {
    /// Returns the next refresh for which no frame was drawn yet.
    ///
    /// An output that is not synchronised to vblank shows a frame immediately, but at least one period after the previous frame.
    pub(super) fn next_slot(&self, now: Duration, period: Duration) -> Slot {
        let target = match (self.phase, self.last_target) {
            (Some(phase), last) => {
                // Half a period is added, because the predicted and the measured time of a refresh differ a little.
                let after_last =
                    last.map_or(Duration::ZERO, |last| last.saturating_add(period / 2));
                refresh_after(phase, period, after_last.max(now))
            }
            (None, Some(last)) => last.saturating_add(period).max(now),
            (None, None) => now,
        };
        Slot {
            target,
            deadline: target.saturating_sub(self.budget(period)),
        }
    }

    /// Marks the refresh at `target` as used. Either a frame was drawn for it, or nothing had changed.
    pub(super) fn use_slot(&mut self, target: Duration) {
        self.last_target = self.last_target.max(Some(target));
    }

    /// Adds the drawing time of a frame that was submitted.
    pub(super) fn add_drawing_time(&mut self, time: Duration) {
        if self.drawing_times.len() == RECENT_FRAMES {
            self.drawing_times.pop_front();
        }
        self.drawing_times.push_back(time);
    }

    /// Handles the page flip of a frame that was drawn for the refresh at `target`. `synchronised` says whether the output flips
    /// only at vblank.
    pub(super) fn flipped(
        &mut self,
        time: Duration,
        target: Duration,
        synchronised: bool,
        period: Duration,
    ) {
        self.phase = synchronised.then_some(time);
        self.use_slot(time);
        if synchronised && time > target.saturating_add(period / 2) {
            // The frame was late, probably because the GPU took long. The time of the GPU is not measured, so the next frames are
            // drawn as early as possible.
            self.add_drawing_time(period);
        }
    }

    /// Forgets the time of the refreshes, because the mode or the connection of the output has changed.
    pub(super) fn reset(&mut self) {
        self.phase = None;
    }

    /// Returns the time from the deadline to the refresh. It is at most one period.
    fn budget(&self, period: Duration) -> Duration {
        let longest = self.drawing_times.iter().max();
        longest.map_or(period, |longest| longest.saturating_add(MARGIN).min(period))
    }
}

/// Returns the first refresh at or after `earliest`.
fn refresh_after(phase: Duration, period: Duration, earliest: Duration) -> Duration {
    let since = earliest.saturating_sub(phase).as_nanos();
    let count = since.div_ceil(period.as_nanos().max(1));
    let nanoseconds = count.saturating_mul(period.as_nanos());
    phase.saturating_add(Duration::from_nanos(
        u64::try_from(nanoseconds).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn slot_before_the_first_flip_is_now() {
        let clock = FrameClock::default();
        let slot = clock.next_slot(ms(1_003), PERIOD);
        assert_eq!(slot.target, ms(1_003));
        assert!(slot.deadline <= ms(1_003));
    }

    #[test]
    fn deadline_is_the_longest_recent_drawing_time_and_the_margin_before_the_refresh() {
        let mut clock = FrameClock::default();
        clock.flipped(ms(1_000), ms(1_000), true, PERIOD);
        clock.add_drawing_time(ms(2));
        clock.add_drawing_time(ms(4));
        clock.add_drawing_time(ms(1));
        let slot = clock.next_slot(ms(1_001), PERIOD);
        assert_eq!(slot.target, ms(1_010));
        assert_eq!(slot.deadline, ms(1_006) - MARGIN);
    }

    #[test]
    fn drawing_time_that_is_no_longer_recent_does_not_count() {
        let mut clock = FrameClock::default();
        clock.flipped(ms(1_000), ms(1_000), true, PERIOD);
        clock.add_drawing_time(ms(9));
        for _ in 0..RECENT_FRAMES {
            clock.add_drawing_time(ms(1));
        }
        assert_eq!(
            clock.next_slot(ms(1_001), PERIOD).deadline,
            ms(1_009) - MARGIN
        );
    }

    #[test]
    fn refresh_has_one_frame_also_when_its_flip_is_reported_early() {
        let mut clock = FrameClock::default();
        clock.flipped(ms(1_000), ms(1_000), true, PERIOD);
        clock.add_drawing_time(ms(1));
        let first = clock.next_slot(ms(1_001), PERIOD);
        clock.use_slot(first.target);
        // A driver that completes a commit immediately reports the time of the previous refresh.
        clock.flipped(ms(1_000), first.target, true, PERIOD);
        assert_eq!(clock.next_slot(ms(1_009), PERIOD).target, ms(1_020));
    }

    #[test]
    fn missed_refresh_moves_the_deadline_to_the_refresh_before() {
        let mut clock = FrameClock::default();
        clock.add_drawing_time(ms(1));
        clock.use_slot(ms(1_010));
        clock.flipped(ms(1_020), ms(1_010), true, PERIOD);
        let slot = clock.next_slot(ms(1_021), PERIOD);
        assert_eq!((slot.target, slot.deadline), (ms(1_030), ms(1_020)));
    }

    #[test]
    fn output_that_flips_at_any_time_is_limited_to_its_refresh_rate() {
        let mut clock = FrameClock::default();
        clock.add_drawing_time(ms(1));
        let mut now = ms(1_000);
        for round in 0..50 {
            let slot = clock.next_slot(now, PERIOD);
            assert_eq!(slot.target, ms(1_000 + 10 * round), "round {round}");
            clock.use_slot(slot.target);
            // The frame is shown as soon as it is submitted.
            now = slot.deadline + ms(1);
            clock.flipped(now, slot.target, false, PERIOD);
        }
        // After a pause, the next frame is shown immediately.
        assert_eq!(clock.next_slot(ms(9_003), PERIOD).target, ms(9_003));
    }

    #[test]
    fn idle_output_keeps_its_phase() {
        let mut clock = FrameClock::default();
        clock.flipped(ms(1_003), ms(1_003), true, PERIOD);
        assert_eq!(clock.next_slot(ms(99_000), PERIOD).target, ms(99_003));
    }
}
