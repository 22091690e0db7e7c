//! What happens to buffers, told as tracing events: every allocation, import, hand-over, wait, signal and flip.
//!
//! A [`Step`] lies on the track of one device or program, from one moment to another, and names the buffer by its inode, which is
//! the same in every process. [`Step::emit`] makes a `tracing` event of the target [`TARGET`] of it; nothing is spent on it where
//! nobody listens. With feature `trace`, `ChromeTrace` writes these events to a file that Perfetto and `chrome://tracing` open: one
//! track a device, one arrow a buffer from the device that filled it to the display.
//!
//! Two programs write two files. Both keep the time of `CLOCK_MONOTONIC` and count a buffer's rounds alike, so
//! `jq -s add client.json compositor.json` shows both in one picture with the arrows going across.

#[cfg(feature = "trace")]
mod chrome;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "trace")]
pub use chrome::{ChromeTrace, TraceError};

/// The target of the events, for filters.
pub const TARGET: &str = "covalent::trace";

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Memory is taken from a source.
    Allocate,
    /// A device takes the buffer for the first time.
    Import,
    /// A device or a program writes the picture.
    Fill,
    /// The buffer changes hands.
    HandOver,
    /// Somebody waits for a fence.
    Wait,
    /// A fence is signalled.
    Signal,
    /// A picture is drawn of it.
    Draw,
    /// The display shows it.
    Flip,
    /// It goes back to whoever fills it.
    Release,
}

impl Action {
    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Import => "import",
            Self::Fill => "fill",
            Self::HandOver => "hand over",
            Self::Wait => "wait",
            Self::Signal => "signal",
            Self::Draw => "draw",
            Self::Flip => "flip",
            Self::Release => "release",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.word())
    }
}

/// Where a step lies on the arrow of its buffer's round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The arrow begins here: the device that fills the buffer.
    Begin,
    /// The arrow goes through.
    #[default]
    Through,
    /// The arrow ends here: the display.
    End,
    /// Beside the arrow: what happens to the buffer before and after a round.
    Aside,
}

impl Place {
    const fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Through => "through",
            Self::End => "end",
            Self::Aside => "aside",
        }
    }
}

/// One thing that happened to a buffer. Times are on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The device or program, for example `vivid /dev/video0`.
    pub track: &'a str,
    /// What happened.
    pub action: Action,
    /// The inode of the buffer's first dma-buf; 0 for what concerns no single buffer.
    pub buffer: u64,
    /// How often the buffer was filled before: 0 for the first time.
    pub round: u64,
    /// Where it lies on the buffer's arrow.
    pub place: Place,
    /// When it began.
    pub from: Duration,
    /// When it ended; the same for a moment.
    pub until: Duration,
}

impl Step<'_> {
    /// Tells whoever listens.
    pub fn emit(&self) {
        tracing::trace!(
            target: TARGET,
            track = self.track,
            action = self.action.word(),
            buffer = self.buffer,
            round = self.round,
            place = self.place.word(),
            from_ns = nanoseconds(self.from),
            until_ns = nanoseconds(self.until),
        );
    }
}

/// Returns the time on `CLOCK_MONOTONIC`, which V4L2, KMS and presentation times are on.
#[cfg(feature = "buffer")]
#[must_use]
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// The time; zero where nobody listens, and so nothing is told.
#[cfg(feature = "buffer")]
pub(crate) fn begin() -> Duration {
    if is_on() { now() } else { Duration::ZERO }
}

/// Tells what was done to buffers from `from` until now.
#[cfg(feature = "buffer")]
pub(crate) fn end(track: &str, action: Action, buffers: &[crate::buffer::Buffer], from: Duration) {
    if !is_on() {
        return;
    }
    let until = now();
    for buffer in buffers {
        let step = Step {
            track,
            action,
            buffer: buffer.identity().0,
            round: 0,
            place: Place::Aside,
            from,
            until,
        };
        step.emit();
    }
}

/// Tells whether anybody listens, so that nothing has to be prepared where nobody does.
#[must_use]
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
