//! Trace events of buffers: every allocation, import, transfer, wait, signal and flip.
//!
//! A [`Step`] is one operation on a buffer, on the track of one device or program, with a start and an end time. The buffer is
//! identified by its inode number, which is equal in every process. [`Step::emit`] emits the step as a `tracing` event with the
//! target [`TARGET`], which costs nothing without a subscriber. With the feature `trace`, `ChromeTrace` writes these events to a
//! file for Perfetto and `chrome://tracing`. The file has one track for each device, and one flow for each use of a buffer, from
//! the device that fills it to the display.
//!
//! Each program writes its own file. All programs use `CLOCK_MONOTONIC` and count the uses of a buffer in the same way, so `jq -s
//! add client.json compositor.json` merges two files into one trace, with the flows between the programs.

#[cfg(feature = "trace")]
mod chrome_trace;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "trace")]
pub use chrome_trace::{ChromeTrace, TraceError};

/// The `tracing` target of the events, for filters.
pub const TARGET: &str = "covalent::trace";

/// The operation of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A source allocates memory.
    Allocate,
    /// A device imports the buffer.
    Import,
    /// A device or a program writes the picture.
    Fill,
    /// A program transfers the buffer to another.
    HandOver,
    /// A program or device waits for a fence.
    Wait,
    /// A fence is signalled.
    Signal,
    /// A renderer reads the buffer.
    Draw,
    /// The display shows the buffer.
    Flip,
    /// The buffer is released to the device or program that fills it.
    Release,
}

impl Action {
    /// Returns the name in trace files.
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

/// The position of a step in the flow of its buffer's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowPosition {
    /// The flow begins: the device fills the buffer.
    Begin,
    /// The flow continues: the step is after the fill and before the display of the buffer.
    #[default]
    Middle,
    /// The flow ends: the display shows the buffer.
    End,
    /// The step is not part of a flow: it is before or after a use of the buffer.
    Outside,
}

impl FlowPosition {
    const fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Middle => "through",
            Self::End => "end",
            Self::Outside => "aside",
        }
    }
}

/// One operation on a buffer. Times are of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The device or program, for example `vivid /dev/video0`.
    pub track: &'a str,
    /// The operation on the buffer.
    pub action: Action,
    /// The inode number of the buffer's first dma-buf; 0 for a step that does not concern a single buffer.
    pub buffer: u64,
    /// The number of earlier fills of the buffer: 0 while it is used for the first time.
    pub round: u64,
    /// The position in the flow of the buffer's use.
    pub place: FlowPosition,
    /// The start time of the operation.
    pub from: Duration,
    /// The end time. It equals the start time if the step has no duration.
    pub until: Duration,
}

impl Step<'_> {
    /// Emits the step as a `tracing` event.
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

/// Returns the time of `CLOCK_MONOTONIC`, which the timestamps of V4L2, KMS and wp_presentation use.
#[cfg(feature = "buffer")]
#[must_use]
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Returns the present time as the start time of a step; zero if there is no subscriber, because no event is emitted then.
#[cfg(feature = "buffer")]
pub(crate) fn begin() -> Duration {
    if is_on() { now() } else { Duration::ZERO }
}

/// Emits a step for each buffer, which began at `from` and ends now.
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
            place: FlowPosition::Outside,
            from,
            until,
        };
        step.emit();
    }
}

/// Returns whether a subscriber receives the events. If none does, a program need not prepare them.
#[must_use]
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
