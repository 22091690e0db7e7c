//! The way of each frame from the device that filled its buffer to the display, told to whoever traces.

use std::collections::BTreeMap;
use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::trace::{self, Action, Place, Step};

/// The buffers of one stream, each with the rounds that it made.
#[derive(Debug)]
pub struct Journal {
    producer: String,
    program: String,
    buffers: Vec<Entry>,
    in_flight: BTreeMap<u64, Entry>,
    waiting: BTreeMap<usize, Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    buffer: u64,
    round: u64,
}

impl Journal {
    /// Begins the books of a program that shows what `producer` fills.
    #[must_use]
    pub fn new(program: &str, producer: &str, buffers: &[Buffer]) -> Self {
        Self {
            producer: producer.to_owned(),
            program: program.to_owned(),
            buffers: buffers
                .iter()
                .map(|buffer| Entry {
                    buffer: buffer.identity().0,
                    round: 0,
                })
                .collect(),
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Books that the buffer at `index` was filled from `from` on, and is given to the compositor `now` as `frame`.
    pub fn shown(&mut self, frame: u64, index: usize, from: Option<Duration>, now: Duration) {
        let Some(entry) = self.buffers.get_mut(index) else {
            return;
        };
        let given = *entry;
        entry.round = entry.round.wrapping_add(1);
        if !trace::is_on() {
            return;
        }
        self.in_flight.insert(frame, given);
        let from = from.map_or(now, |from| from.min(now));
        self.tell(&self.producer, Action::Fill, given, Place::Begin, from, now);
        let program = &self.program;
        self.tell(program, Action::HandOver, given, Place::Through, now, now);
    }

    /// Books that the point from which the buffer at `index` may be read is signalled.
    pub fn signalled(&self, index: usize, now: Duration) {
        if let Some(entry) = self.buffers.get(index) {
            let program = &self.program;
            self.tell(program, Action::Signal, *entry, Place::Aside, now, now);
        }
    }

    /// Books that the buffer at `index` is waited for from `now` on: it came back and is still in use.
    pub fn waits(&mut self, index: usize, now: Duration) {
        self.waiting.insert(index, now);
    }

    /// Books that the buffer at `index` is not waited for any more.
    pub fn waited(&mut self, index: usize, now: Duration) {
        let since = self.waiting.remove(&index);
        if let (Some(since), Some(entry)) = (since, self.buffers.get(index)) {
            let program = &self.program;
            self.tell(program, Action::Wait, *entry, Place::Aside, since, now);
        }
    }

    /// Books that a frame came to the display.
    pub fn presented(&mut self, frame: u64, time: Duration) {
        if let Some(entry) = self.in_flight.remove(&frame) {
            self.tell("display", Action::Flip, entry, Place::End, time, time);
        }
    }

    /// Books that a frame never came to the display.
    pub fn discarded(&mut self, frame: u64) {
        self.in_flight.remove(&frame);
    }

    /// Books that the compositor gave the buffer at `index` back.
    pub fn released(&self, index: usize, now: Duration) {
        if let Some(entry) = self.buffers.get(index) {
            let last = Entry {
                round: entry.round.wrapping_sub(1),
                ..*entry
            };
            let program = &self.program;
            self.tell(program, Action::Release, last, Place::Aside, now, now);
        }
    }

    fn tell(
        &self,
        track: &str,
        action: Action,
        entry: Entry,
        place: Place,
        from: Duration,
        until: Duration,
    ) {
        let step = Step {
            track,
            action,
            buffer: entry.buffer,
            round: entry.round,
            place,
            from,
            until,
        };
        step.emit();
    }
}
