//! Trace events of each frame, from the device that filled its buffer to the display.

use std::collections::BTreeMap;
use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::trace::{self, Action, FlowPosition, Step};

/// Emits the trace events of one stream's buffers. Each event names the buffer and how often it was reused.
#[derive(Debug)]
pub struct FrameTrace {
    producer: String,
    program: String,
    buffers: Vec<TracedBuffer>,
    in_flight: BTreeMap<u64, TracedBuffer>,
    waiting: BTreeMap<usize, Duration>,
}

/// A buffer in the trace. The round counts how often the buffer was committed.
#[derive(Clone, Copy, Debug)]
struct TracedBuffer {
    buffer: u64,
    round: u64,
}

impl FrameTrace {
    /// Starts the trace of the program `program`, which shows buffers that the device `producer` fills.
    #[must_use]
    pub fn new(program: &str, producer: &str, buffers: &[Buffer]) -> Self {
        Self {
            producer: producer.to_owned(),
            program: program.to_owned(),
            buffers: buffers
                .iter()
                .map(|buffer| TracedBuffer {
                    buffer: buffer.identity().0,
                    round: 0,
                })
                .collect(),
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Records that the buffer at `index` is committed at `now` as `frame`. Its producer began to fill it at `from`.
    pub fn committed(&mut self, frame: u64, index: usize, from: Option<Duration>, now: Duration) {
        let Some(traced) = self.buffers.get_mut(index) else {
            return;
        };
        let committed = *traced;
        traced.round = traced.round.wrapping_add(1);
        if !trace::is_on() {
            return;
        }
        self.in_flight.insert(frame, committed);
        let from = from.map_or(now, |from| from.min(now));
        self.emit(
            &self.producer,
            Action::Fill,
            committed,
            FlowPosition::Begin,
            from,
            now,
        );
        let program = &self.program;
        self.emit(
            program,
            Action::HandOver,
            committed,
            FlowPosition::Middle,
            now,
            now,
        );
    }

    /// Records that the acquire point of the buffer at `index` is signalled.
    pub fn signalled(&self, index: usize, now: Duration) {
        if let Some(traced) = self.buffers.get(index) {
            let program = &self.program;
            self.emit(
                program,
                Action::Signal,
                *traced,
                FlowPosition::Outside,
                now,
                now,
            );
        }
    }

    /// Records that the program starts to wait for the fences of the buffer at `index`, which the compositor has released.
    pub fn wait_started(&mut self, index: usize, now: Duration) {
        self.waiting.insert(index, now);
    }

    /// Records that the wait for the fences of the buffer at `index` is over.
    pub fn wait_ended(&mut self, index: usize, now: Duration) {
        let since = self.waiting.remove(&index);
        if let (Some(since), Some(traced)) = (since, self.buffers.get(index)) {
            let program = &self.program;
            self.emit(
                program,
                Action::Wait,
                *traced,
                FlowPosition::Outside,
                since,
                now,
            );
        }
    }

    /// Records that a frame was presented.
    pub fn presented(&mut self, frame: u64, time: Duration) {
        if let Some(traced) = self.in_flight.remove(&frame) {
            self.emit(
                "display",
                Action::Flip,
                traced,
                FlowPosition::End,
                time,
                time,
            );
        }
    }

    /// Records that a frame was discarded.
    pub fn discarded(&mut self, frame: u64) {
        self.in_flight.remove(&frame);
    }

    /// Records that the compositor released the buffer at `index`.
    pub fn released(&self, index: usize, now: Duration) {
        if let Some(traced) = self.buffers.get(index) {
            let last = TracedBuffer {
                round: traced.round.wrapping_sub(1),
                ..*traced
            };
            let program = &self.program;
            self.emit(
                program,
                Action::Release,
                last,
                FlowPosition::Outside,
                now,
                now,
            );
        }
    }

    /// Writes a step of a buffer to the trace.
    fn emit(
        &self,
        track: &str,
        action: Action,
        traced: TracedBuffer,
        flow_position: FlowPosition,
        from: Duration,
        until: Duration,
    ) {
        let step = Step {
            track,
            action,
            buffer: traced.buffer,
            round: traced.round,
            place: flow_position,
            from,
            until,
        };
        step.emit();
    }
}
