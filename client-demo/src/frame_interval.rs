//! The time between two frames of a camera. A program uses it to find out whether another frame can be ready already.

use std::time::Duration;

/// The timestamps of a camera's frames, and the interval between them.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameInterval {
    last: Option<(u32, Duration)>,
    interval: Option<Duration>,
}

impl FrameInterval {
    /// Records a frame that was dequeued at `now`, on `CLOCK_MONOTONIC`. Returns whether the next frame may be ready as well.
    /// It may be ready if this frame is at least one interval old or if the age of this frame is unknown. Otherwise the next
    /// `VIDIOC_DQBUF` would only return `EAGAIN`.
    ///
    /// `timestamp` is the camera's timestamp, or `None` if the camera uses another clock.
    pub fn has_successor(
        &mut self,
        sequence: u32,
        timestamp: Option<Duration>,
        now: Duration,
    ) -> bool {
        let Some(timestamp) = timestamp else {
            (self.last, self.interval) = (None, None);
            return true;
        };
        if let Some((last, at)) = self.last.replace((sequence, timestamp)) {
            let frames = sequence.wrapping_sub(last);
            // After a restart of the camera the sequence numbers start again at a lower number.
            self.interval = match timestamp.checked_sub(at) {
                Some(elapsed) if (1..u32::MAX / 2).contains(&frames) => Some(elapsed / frames),
                _ => None,
            };
        }
        match self.interval {
            Some(interval) => now.saturating_sub(timestamp) >= interval,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn frame_younger_than_the_interval_has_no_successor() {
        let mut frames = FrameInterval::default();
        assert!(frames.has_successor(7, Some(ms(100)), ms(101)));
        assert!(!frames.has_successor(8, Some(ms(133)), ms(134)));
        assert!(!frames.has_successor(9, Some(ms(166)), ms(198)));
        assert!(frames.has_successor(10, Some(ms(199)), ms(232)));
    }

    #[test]
    fn interval_is_that_of_one_frame_where_some_were_dropped() {
        let mut frames = FrameInterval::default();
        frames.has_successor(u32::MAX, Some(ms(0)), ms(0));
        assert!(!frames.has_successor(3, Some(ms(400)), ms(499)));
        assert!(frames.has_successor(4, Some(ms(500)), ms(600)));
    }

    #[test]
    fn frame_of_unknown_age_or_of_a_restarted_camera_may_have_a_successor() {
        let mut frames = FrameInterval::default();
        assert!(frames.has_successor(0, None, ms(1)));
        assert!(frames.has_successor(1, Some(ms(33)), ms(33)));
        assert!(!frames.has_successor(2, Some(ms(66)), ms(66)));
        assert!(frames.has_successor(0, Some(ms(99)), ms(99)));
        assert!(frames.has_successor(1, Some(ms(50)), ms(99)));
    }

    #[test]
    fn timestamp_in_the_future_is_a_young_frame() {
        let mut frames = FrameInterval::default();
        frames.has_successor(0, Some(ms(100)), ms(60));
        assert!(!frames.has_successor(1, Some(ms(133)), ms(93)));
    }
}
