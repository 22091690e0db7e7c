//! Trace events about clients' buffers: commit, wait, draw, flip and release.

use std::time::Duration;

use covalent_alloc::trace::{Action, FlowPosition, Step};

/// The name of the compositor's track in the trace.
pub const COMPOSITOR: &str = "covalent-compositor";

/// The identity of one commit of a client's buffer in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedBuffer {
    /// The inode of the buffer's first dma-buf.
    pub buffer: u64,
    /// The number of earlier commits of the buffer.
    pub round: u64,
}

impl TracedBuffer {
    /// Emits a trace event on `track` that lasts from `from` until `until`.
    pub fn emit(
        self,
        track: &str,
        action: Action,
        flow_position: FlowPosition,
        (from, until): (Duration, Duration),
    ) {
        let step = Step {
            track,
            action,
            buffer: self.buffer,
            round: self.round,
            place: flow_position,
            from,
            until,
        };
        step.emit();
    }
}
