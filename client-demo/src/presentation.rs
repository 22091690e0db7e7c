//! `presentation-time`: when and how frames were presented.

use std::time::Duration;

use wayland_client::{Connection, Dispatch, QueueHandle, WEnum};
use wayland_protocols::wp::presentation_time::client::wp_presentation::{self, WpPresentation};
use wayland_protocols::wp::presentation_time::client::wp_presentation_feedback::{
    self, Kind, WpPresentationFeedback,
};

use crate::compositor::{Compositor, Event};

/// A `wp_presentation_feedback.presented` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentationInfo {
    /// When the frame was presented, on the compositor's presentation clock.
    pub time: Duration,
    /// The vblank counter of the output; 0 if the output has none.
    pub sequence: u64,
    /// Whether the display scanned out the client's buffer directly (`zero_copy`).
    pub zero_copy: bool,
}

/// Combines the three fields of a protocol timestamp; `None` if the nanoseconds amount to a second or more.
#[must_use]
pub fn timestamp(seconds_high: u32, seconds_low: u32, nanoseconds: u32) -> Option<Duration> {
    let seconds = u64::from(seconds_high) << 32 | u64::from(seconds_low);
    (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))
}

/// Returns whether the flags of `presented` contain `zero_copy`. The flags are of the type `Unknown` if a newer compositor also
/// sets a flag that this client does not know.
fn has_zero_copy(flags: WEnum<Kind>) -> bool {
    match flags {
        WEnum::Value(kind) => kind.contains(Kind::ZeroCopy),
        WEnum::Unknown(bits) => bits & Kind::ZeroCopy.bits() != 0,
    }
}

impl Dispatch<WpPresentation, ()> for Compositor {
    fn event(
        state: &mut Self,
        _: &WpPresentation,
        event: wp_presentation::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wp_presentation::Event::ClockId { clk_id } = event {
            state.clock = Some(clk_id);
        }
    }
}

impl Dispatch<WpPresentationFeedback, u64> for Compositor {
    fn event(
        state: &mut Self,
        _: &WpPresentationFeedback,
        event: wp_presentation_feedback::Event,
        frame: &u64,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wp_presentation_feedback::Event::Presented {
                tv_sec_hi,
                tv_sec_lo,
                tv_nsec,
                seq_hi,
                seq_lo,
                flags,
                ..
            } => state.push_event(match timestamp(tv_sec_hi, tv_sec_lo, tv_nsec) {
                Some(time) => Event::Presented(
                    *frame,
                    PresentationInfo {
                        time,
                        sequence: u64::from(seq_hi) << 32 | u64::from(seq_lo),
                        zero_copy: has_zero_copy(flags),
                    },
                ),
                None => Event::InvalidData(format!(
                    "wp_presentation_feedback.presented of frame {frame} has a tv_nsec of {tv_nsec}, which is a second or more"
                )),
            }),
            wp_presentation_feedback::Event::Discarded => state.push_event(Event::Discarded(*frame)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_joins_both_halves_of_the_seconds() {
        assert_eq!(timestamp(0, 5, 7), Some(Duration::new(5, 7)));
        assert_eq!(timestamp(1, 2, 0), Some(Duration::from_secs((1 << 32) + 2)));
    }

    #[test]
    fn zero_copy_is_read_among_flags_that_are_not_known() {
        let zero_copy = Kind::ZeroCopy.bits();
        assert!(has_zero_copy(WEnum::Value(Kind::ZeroCopy | Kind::Vsync)));
        assert!(!has_zero_copy(WEnum::Value(Kind::Vsync)));
        assert!(has_zero_copy(WEnum::Unknown(1_u32 << 31 | zero_copy)));
        assert!(!has_zero_copy(WEnum::Unknown(1_u32 << 31)));
    }

    #[test]
    fn timestamp_with_too_many_nanoseconds_is_none() {
        assert_eq!(timestamp(u32::MAX, u32::MAX, 1_000_000_000), None);
    }
}
