//! The state of each buffer of a stream.
//!
//! ```text
//!            queue                     dequeue
//!   Dequeued ─────────▶ Queued ────────────────────▶ Dequeued
//!                         │ next_frame
//!                         ▼        dropped, streaming             VIDIOC_QBUF succeeded
//!                      InFrame ─────────────────────▶ Requeueing ───────────────────▶ Queued
//!                         │        dropped, stopped                │ VIDIOC_QBUF failed
//!                         └──────────▶ Dequeued ◀──────────────────┘
//! ```
//!
//! Frames can be dropped on any thread. The lock is held only while states change, never during an ioctl. So `stop` first blocks
//! further requeues and then waits for the requeues that are in progress; without the wait a buffer could be queued after
//! VIDIOC_STREAMOFF. For the same reason, after VIDIOC_DQBUF has returned a buffer, [`BufferStates::record_dequeued`] waits until
//! the thread that requeued the buffer has called [`BufferStates::finish_requeue`].

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Error;

/// The state of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BufferState {
    /// The caller owns the buffer, and may queue it.
    Dequeued,
    /// The buffer is queued to the device.
    Queued,
    /// A `Frame` that the caller has not dropped owns the buffer.
    InFrame,
    /// The thread that dropped the frame is calling VIDIOC_QBUF.
    Requeueing,
}

#[derive(Debug)]
struct Inner {
    states: Vec<BufferState>,
    is_streaming: bool,
    requeue_errors: VecDeque<Error>,
}

/// The state of each buffer, by index, and the errors of requeues.
#[derive(Debug)]
pub(super) struct BufferStates {
    inner: Mutex<Inner>,
    requeue_finished: Condvar,
}

impl BufferStates {
    /// Makes the states of `count` buffers, all dequeued.
    pub(super) fn new(count: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                states: vec![BufferState::Dequeued; count],
                is_streaming: false,
                requeue_errors: VecDeque::new(),
            }),
            requeue_finished: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock is used as it is, because no code panics in the middle of a change of the states.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_awaited` returns `false` for the states, and returns with the states locked. A caller waits in this way
    /// for the requeues of other threads.
    fn lock_after(&self, is_awaited: impl Fn(&[BufferState]) -> bool) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        while is_awaited(&inner.states) {
            inner = self
                .requeue_finished
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        inner
    }

    fn set(&self, index: usize, to: BufferState) {
        if let Some(state) = self.lock().states.get_mut(index) {
            *state = to;
        }
    }

    /// Returns why the caller may not queue a buffer; `None` if it may.
    pub(super) fn refusal(&self, index: usize) -> Option<&'static str> {
        match self.lock().states.get(index) {
            None => Some("does not exist in this stream"),
            Some(BufferState::Dequeued) => None,
            Some(BufferState::Queued) => Some("is queued already"),
            Some(BufferState::InFrame) => {
                Some("belongs to a frame that is still held; drop the frame")
            }
            Some(BufferState::Requeueing) => Some("is being queued by another thread"),
        }
    }

    /// Records that the caller has queued a buffer.
    pub(super) fn record_queued(&self, index: usize) {
        self.set(index, BufferState::Queued);
    }

    /// Records that VIDIOC_DQBUF returned a buffer; returns `false` if the buffer was not queued.
    pub(super) fn record_dequeued(&self, index: usize) -> bool {
        // The device can finish a buffer before the thread that requeued it has called [`BufferStates::finish_requeue`].
        let mut inner =
            self.lock_after(|states| states.get(index) == Some(&BufferState::Requeueing));
        match inner.states.get_mut(index) {
            Some(state @ BufferState::Queued) => {
                *state = BufferState::Dequeued;
                true
            }
            _ => false,
        }
    }

    /// Records that a frame holds a dequeued buffer.
    pub(super) fn record_in_frame(&self, index: usize) {
        self.set(index, BufferState::InFrame);
    }

    /// Returns the number of queued buffers.
    pub(super) fn queued_count(&self) -> usize {
        let inner = self.lock();
        let queued = inner
            .states
            .iter()
            .filter(|state| **state == BufferState::Queued);
        queued.count()
    }

    /// Records that the queue streams. From then on the buffers of dropped frames are requeued.
    pub(super) fn record_streaming(&self) {
        self.lock().is_streaming = true;
    }

    /// Prevents further requeues, and waits for the requeues that are in progress. Returns whether the queue was streaming.
    pub(super) fn block_requeues(&self) -> bool {
        let was_streaming = std::mem::replace(&mut self.lock().is_streaming, false);
        drop(self.lock_after(|states| states.contains(&BufferState::Requeueing)));
        was_streaming
    }

    /// Records VIDIOC_STREAMOFF, which dequeues every queued buffer. Frames keep the buffers that they hold.
    pub(super) fn record_streamoff(&self) {
        for state in &mut self.lock().states {
            if *state == BufferState::Queued {
                *state = BufferState::Dequeued;
            }
        }
    }

    /// Marks the buffer of a dropped frame as being requeued. If the function returns `true`, the caller must call VIDIOC_QBUF
    /// and pass the result to [`BufferStates::finish_requeue`]; if `false`, the queue does not stream, and the buffer is
    /// dequeued.
    pub(super) fn begin_requeue(&self, index: usize) -> bool {
        let mut inner = self.lock();
        let is_streaming = inner.is_streaming;
        let Some(state) = inner
            .states
            .get_mut(index)
            .filter(|state| **state == BufferState::InFrame)
        else {
            return false;
        };
        *state = if is_streaming {
            BufferState::Requeueing
        } else {
            BufferState::Dequeued
        };
        is_streaming
    }

    /// Records the result of a requeue. After an error the buffer is dequeued, and the error is kept for the caller.
    pub(super) fn finish_requeue(&self, index: usize, result: Result<(), Error>) {
        let mut inner = self.lock();
        let (to, failure) = match result {
            Ok(()) => (BufferState::Queued, None),
            Err(error) => (BufferState::Dequeued, Some(error)),
        };
        inner.requeue_errors.extend(failure);
        if let Some(state) = inner.states.get_mut(index) {
            *state = to;
        }
        drop(inner);
        self.requeue_finished.notify_all();
    }

    /// Removes and returns the oldest error of a requeue; `None` if there is none.
    pub(super) fn take_requeue_error(&self) -> Option<Error> {
        self.lock().requeue_errors.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn streaming(count: usize) -> BufferStates {
        let states = BufferStates::new(count);
        (0..count).for_each(|index| states.record_queued(index));
        states.record_streaming();
        states
    }

    fn move_to_frame(states: &BufferStates, index: usize) {
        assert!(states.record_dequeued(index));
        states.record_in_frame(index);
    }

    fn failure() -> Error {
        Error::NoBuffers {
            device: "/dev/video0".into(),
            driver: "none".to_owned(),
        }
    }

    #[test]
    fn frame_dropped_while_streaming_is_requeued() {
        let states = streaming(3);
        move_to_frame(&states, 1);
        assert_eq!(states.queued_count(), 2);
        assert!(states.refusal(1).unwrap().contains("frame"));
        assert!(states.begin_requeue(1));
        assert!(states.refusal(1).unwrap().contains("another thread"));
        states.finish_requeue(1, Ok(()));
        assert_eq!(states.queued_count(), 3);
        assert!(states.take_requeue_error().is_none());
    }

    #[test]
    fn frame_dropped_after_stop_leaves_its_buffer_dequeued() {
        let states = streaming(2);
        move_to_frame(&states, 0);
        assert!(states.block_requeues());
        states.record_streamoff();
        assert_eq!(states.queued_count(), 0);
        assert!(
            states.refusal(0).is_some(),
            "the frame still holds the buffer"
        );
        assert_eq!(states.refusal(1), None);
        assert!(
            !states.begin_requeue(0),
            "the buffer must not be queued while the stream is stopped"
        );
        assert_eq!(states.refusal(0), None);
    }

    #[test]
    fn frame_dropped_after_restart_is_requeued() {
        let states = streaming(2);
        move_to_frame(&states, 0);
        states.block_requeues();
        states.record_streamoff();
        states.record_queued(1);
        states.record_streaming();
        assert!(states.begin_requeue(0));
        states.finish_requeue(0, Ok(()));
        assert_eq!(states.queued_count(), 2);
    }

    #[test]
    fn requeue_error_is_reported_once_and_leaves_the_buffer_dequeued() {
        let states = streaming(1);
        move_to_frame(&states, 0);
        assert!(states.begin_requeue(0));
        states.finish_requeue(0, Err(failure()));
        assert_eq!(states.refusal(0), None);
        assert!(states.take_requeue_error().is_some());
        assert!(states.take_requeue_error().is_none());
    }

    #[test]
    fn stop_waits_for_a_requeue_in_progress() {
        let states = streaming(1);
        move_to_frame(&states, 0);
        assert!(states.begin_requeue(0));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                states.block_requeues();
                sender.send(()).unwrap();
            });
            let early = receiver.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "it did not wait");
            states.finish_requeue(0, Ok(()));
            receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        });
        states.record_streamoff();
        assert_eq!(states.refusal(0), None);
    }

    #[test]
    fn dequeue_waits_for_a_requeue_in_progress() {
        let states = streaming(1);
        move_to_frame(&states, 0);
        assert!(states.begin_requeue(0));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let was_queued = states.record_dequeued(0);
                states.record_in_frame(0);
                sender.send(was_queued).unwrap();
            });
            let early = receiver.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "it did not wait");
            states.finish_requeue(0, Ok(()));
            assert!(receiver.recv_timeout(Duration::from_secs(60)).unwrap());
        });
        assert_eq!(states.queued_count(), 0);
        assert!(states.refusal(0).unwrap().contains("frame"));
    }

    #[test]
    fn buffer_that_is_not_queued_cannot_be_dequeued() {
        let states = streaming(2);
        move_to_frame(&states, 0);
        assert!(!states.record_dequeued(0), "a frame holds it");
        assert!(states.refusal(0).unwrap().contains("frame"));
        assert!(states.record_dequeued(1));
        assert!(!states.record_dequeued(1), "the buffer is dequeued already");
    }

    #[test]
    fn unknown_index_changes_nothing() {
        let states = streaming(1);
        assert!(states.refusal(7).unwrap().contains("does not exist"));
        assert!(!states.record_dequeued(7));
        assert!(!states.begin_requeue(7));
        assert!(!states.begin_requeue(0), "it is queued");
        assert_eq!(states.queued_count(), 1);
    }
}
