//! Who has each of a stream's buffers: the caller, the device, or a frame.
//!
//! ```text
//!            queue                    dequeue
//!   Caller ─────────▶ Device ────────────────────▶ Caller
//!                       │ next_frame
//!                       ▼        dropped, streaming             VIDIOC_QBUF done
//!                     Frame ─────────────────────────▶ Returning ─────────────▶ Device
//!                       │        dropped, stopped                │ it failed
//!                       └──────────▶ Caller ◀────────────────────┘
//! ```
//!
//! Frames are dropped on any thread. The lock is held for this bookkeeping alone, never during a request to the kernel: whoever
//! stops the stream waits for the buffers that are on their way, and no new ones leave then. Whoever takes a buffer that the
//! device has filled already waits until its arrival is noted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Error;

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The stream's caller, who may queue it.
    Caller,
    /// The device.
    Device,
    /// A frame that somebody holds.
    Frame,
    /// The thread that dropped a frame, which gives it to the device now.
    Returning,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    is_streaming: bool,
    failures: VecDeque<Error>,
}

/// Who has each buffer, by index, and what went wrong on the way back.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    arrived: Condvar,
}

impl Slots {
    /// As many slots as buffers, all of them the caller's.
    pub(super) fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                slots: vec![Slot::Caller; count],
                is_streaming: false,
                failures: VecDeque::new(),
            }),
            arrived: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what `is_awaited` says of the slots holds no more: for threads that have a buffer on its way.
    fn lock_after(&self, is_awaited: impl Fn(&[Slot]) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while is_awaited(&state.slots) {
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn set(&self, index: usize, to: Slot) {
        if let Some(slot) = self.lock().slots.get_mut(index) {
            *slot = to;
        }
    }

    /// Why the caller may not queue a buffer; `None` where it may.
    pub(super) fn refusal(&self, index: usize) -> Option<&'static str> {
        match self.lock().slots.get(index) {
            None => Some("is none of the stream's"),
            Some(Slot::Caller) => None,
            Some(Slot::Device) => Some("is with the device already"),
            Some(Slot::Frame) => Some("belongs to a frame that is still held; drop the frame"),
            Some(Slot::Returning) => Some("is on its way to the device"),
        }
    }

    /// Notes that the device was given a buffer of the caller's.
    pub(super) fn queued(&self, index: usize) {
        self.set(index, Slot::Device);
    }

    /// Notes that the device gave a buffer back to the caller; `false` where the device did not have it.
    pub(super) fn dequeued(&self, index: usize) -> bool {
        // The device may be done with a buffer before the thread that gave it back has noted so.
        let mut state = self.lock_after(|slots| slots.get(index) == Some(&Slot::Returning));
        match state.slots.get_mut(index) {
            Some(slot @ Slot::Device) => {
                *slot = Slot::Caller;
                true
            }
            _ => false,
        }
    }

    /// Notes that a buffer of the caller's belongs to a frame now.
    pub(super) fn lent(&self, index: usize) {
        self.set(index, Slot::Frame);
    }

    /// How many buffers the device has.
    pub(super) fn with_device(&self) -> usize {
        let state = self.lock();
        let with_device = state.slots.iter().filter(|slot| **slot == Slot::Device);
        with_device.count()
    }

    /// Notes that the device streams, and that frames return to it.
    pub(super) fn started(&self) {
        self.lock().is_streaming = true;
    }

    /// Lets no frame return to the device any more, and waits for those that do so now. Returns whether it was streaming.
    pub(super) fn hold_returns(&self) -> bool {
        let was_streaming = std::mem::replace(&mut self.lock().is_streaming, false);
        drop(self.lock_after(|slots| slots.contains(&Slot::Returning)));
        was_streaming
    }

    /// Notes that the device has let go of every buffer. What frames have stays theirs.
    pub(super) fn stopped(&self) {
        for slot in &mut self.lock().slots {
            if *slot == Slot::Device {
                *slot = Slot::Caller;
            }
        }
    }

    /// Takes the buffer of a frame that was dropped; `true` where it has to be given to the device, and told by
    /// [`Slots::returned`] how that went.
    pub(super) fn begin_return(&self, index: usize) -> bool {
        let mut state = self.lock();
        let is_streaming = state.is_streaming;
        let Some(slot) = state
            .slots
            .get_mut(index)
            .filter(|slot| **slot == Slot::Frame)
        else {
            return false;
        };
        *slot = if is_streaming {
            Slot::Returning
        } else {
            Slot::Caller
        };
        is_streaming
    }

    /// Notes how the way back to the device ended; a failure leaves the buffer to the caller, who is told of it.
    pub(super) fn returned(&self, index: usize, result: Result<(), Error>) {
        let mut state = self.lock();
        let (to, failure) = match result {
            Ok(()) => (Slot::Device, None),
            Err(error) => (Slot::Caller, Some(error)),
        };
        state.failures.extend(failure);
        if let Some(slot) = state.slots.get_mut(index) {
            *slot = to;
        }
        drop(state);
        self.arrived.notify_all();
    }

    /// The oldest failure on the way back that nobody was told of.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.lock().failures.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn streaming(count: usize) -> Slots {
        let slots = Slots::new(count);
        (0..count).for_each(|index| slots.queued(index));
        slots.started();
        slots
    }

    fn lend(slots: &Slots, index: usize) {
        assert!(slots.dequeued(index));
        slots.lent(index);
    }

    fn failure() -> Error {
        Error::NoBuffers {
            device: "/dev/video0".into(),
            driver: "none".to_owned(),
        }
    }

    #[test]
    fn frame_that_is_dropped_while_streaming_returns_to_the_device() {
        let slots = streaming(3);
        lend(&slots, 1);
        assert_eq!(slots.with_device(), 2);
        assert!(slots.refusal(1).unwrap().contains("frame"));
        assert!(slots.begin_return(1));
        assert!(slots.refusal(1).unwrap().contains("on its way"));
        slots.returned(1, Ok(()));
        assert_eq!(slots.with_device(), 3);
        assert!(slots.take_failure().is_none());
    }

    #[test]
    fn frame_that_is_dropped_after_the_stop_returns_to_the_caller() {
        let slots = streaming(2);
        lend(&slots, 0);
        assert!(slots.hold_returns());
        slots.stopped();
        assert_eq!(slots.with_device(), 0);
        assert!(slots.refusal(0).is_some(), "the frame still has it");
        assert_eq!(slots.refusal(1), None);
        assert!(!slots.begin_return(0), "the device is given nothing");
        assert_eq!(slots.refusal(0), None);
    }

    #[test]
    fn frame_of_before_a_stop_returns_to_the_device_that_streams_again() {
        let slots = streaming(2);
        lend(&slots, 0);
        slots.hold_returns();
        slots.stopped();
        slots.queued(1);
        slots.started();
        assert!(slots.begin_return(0));
        slots.returned(0, Ok(()));
        assert_eq!(slots.with_device(), 2);
    }

    #[test]
    fn failure_on_the_way_back_is_told_once_and_leaves_the_buffer_to_the_caller() {
        let slots = streaming(1);
        lend(&slots, 0);
        assert!(slots.begin_return(0));
        slots.returned(0, Err(failure()));
        assert_eq!(slots.refusal(0), None);
        assert!(slots.take_failure().is_some());
        assert!(slots.take_failure().is_none());
    }

    #[test]
    fn stop_waits_for_a_buffer_that_is_on_its_way() {
        let slots = streaming(1);
        lend(&slots, 0);
        assert!(slots.begin_return(0));
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                slots.hold_returns();
                tell.send(()).unwrap();
            });
            let early = told.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "it did not wait");
            slots.returned(0, Ok(()));
            told.recv_timeout(Duration::from_secs(60)).unwrap();
        });
        slots.stopped();
        assert_eq!(slots.refusal(0), None);
    }

    #[test]
    fn buffer_that_the_device_is_done_with_before_its_return_is_noted_is_waited_for() {
        let slots = streaming(1);
        lend(&slots, 0);
        assert!(slots.begin_return(0));
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let had = slots.dequeued(0);
                slots.lent(0);
                tell.send(had).unwrap();
            });
            let early = told.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "it did not wait");
            slots.returned(0, Ok(()));
            assert!(told.recv_timeout(Duration::from_secs(60)).unwrap());
        });
        assert_eq!(slots.with_device(), 0);
        assert!(slots.refusal(0).unwrap().contains("frame"));
    }

    #[test]
    fn buffer_that_the_device_did_not_have_is_not_taken_from_it() {
        let slots = streaming(2);
        lend(&slots, 0);
        assert!(!slots.dequeued(0), "a frame has it");
        assert!(slots.refusal(0).unwrap().contains("frame"));
        assert!(slots.dequeued(1));
        assert!(!slots.dequeued(1), "the caller has it");
    }

    #[test]
    fn index_that_is_none_changes_nothing() {
        let slots = streaming(1);
        assert!(slots.refusal(7).unwrap().contains("none of"));
        assert!(!slots.dequeued(7));
        assert!(!slots.begin_return(7));
        assert!(!slots.begin_return(0), "the device has it");
        assert_eq!(slots.with_device(), 1);
    }
}
