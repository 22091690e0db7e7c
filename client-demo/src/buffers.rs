//! Tracks who holds each buffer of a stream, and the fences that the next holder has to wait for.
//!
//! ```text
//!           begin_write          end_write             show
//!   Client ────────────▶ Producer ───────────▶ Client ────────▶ Compositor
//!      ▲                                                            │
//!      └────────────────────────── released ────────────────────────┘
//! ```
//! Every other transition is an error, so that a buffer that the compositor reads is never written. The compositor's GPU may
//! still read a buffer after its release; the [`AccessTracker`] of the buffer stores the fence of that access. A producer that
//! cannot wait for a fence itself (a camera's queue, the CPU) gets the buffer when the fence is signalled.

use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessToken, AccessTracker, AccessTrackerError, Accessor, PriorAccess,
    SyncPoint, SyncPointError, SyncPointWait, Writing,
};

/// How long a compositor may hold all buffers before the programs log a warning. The programs continue to wait.
pub const COMPOSITOR_SILENCE: Duration = Duration::from_secs(5);

/// Who may access a buffer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process. It may give the buffer to the producer or to the compositor.
    Client,
    /// The producer that writes the buffer: a camera's queue, or the code that draws.
    Producer,
    /// The compositor, until it releases the buffer.
    Compositor,
}

/// A change of a buffer's holder that is not allowed, or that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// There is no buffer of this index.
    #[error("buffer {index} does not exist: the stream has {count}")]
    Index {
        /// The index that the caller passed.
        index: usize,
        /// The number of buffers of the stream.
        count: usize,
    },
    /// Another holder has the buffer.
    #[error(
        "buffer {index} cannot be handed over from {from:?} to {to:?}, because {actual:?} holds it"
    )]
    Held {
        /// The index of the buffer.
        index: usize,
        /// The holder that the call expects before the change.
        from: Holder,
        /// The holder after the change.
        to: Holder,
        /// The actual holder of the buffer.
        actual: Holder,
    },
    /// The access tracker of the buffer rejects the access.
    #[error(transparent)]
    Refused(#[from] AccessTrackerError),
    /// A fence or point cannot be read or waited for.
    #[error("buffer {index}: {source}")]
    Fence {
        /// The index of the buffer.
        index: usize,
        /// The error of the fence or point.
        source: SyncPointError,
    },
}

/// The result of [`Buffers::begin_write`].
#[derive(Debug)]
#[must_use = "the producer may have to wait for the buffer"]
pub enum BeginWrite {
    /// The producer holds the buffer now, and has to wait for these fences itself. The list is empty for a producer that cannot
    /// wait.
    Ready(Vec<PriorAccess<SyncPoint>>),
    /// The producer cannot wait for a fence. Poll this wait in the event loop, call [`Buffers::wait_finished`] when it is over,
    /// and call [`Buffers::begin_write`] again.
    Wait(SyncPointWait),
}

/// The holder of a buffer, with the token of the producer's access.
#[derive(Debug)]
enum State {
    Client,
    Producer(AccessToken<Writing>),
    Compositor,
}

impl State {
    /// Returns the holder without the token.
    fn holder(&self) -> Holder {
        match self {
            Self::Client => Holder::Client,
            Self::Producer(_) => Holder::Producer,
            Self::Compositor => Holder::Compositor,
        }
    }
}

/// One buffer of the stream.
#[derive(Debug)]
struct Slot {
    state: State,
    tracker: AccessTracker<SyncPoint>,
    /// Whether the event loop waits for a fence of this buffer.
    has_pending_wait: bool,
    /// The number of waits for fences of this buffer.
    waits: u64,
}

/// Tracks the buffers of one stream: which holder has each buffer, and which fences the next holder has to wait for.
#[derive(Debug)]
pub struct Buffers {
    slots: Vec<Slot>,
    producer: Accessor,
    compositor: Accessor,
}

impl Buffers {
    /// Starts to track `count` buffers, all of which this process holds.
    ///
    /// A producer without a [`SyncMechanism`] gets a buffer only when all of the buffer's fences are signalled.
    #[must_use]
    pub fn new(count: usize, producer: Accessor) -> Self {
        let slot = |index| Slot {
            state: State::Client,
            tracker: AccessTracker::new(format!("buffer {index}")),
            has_pending_wait: false,
            waits: 0,
        };
        Self {
            slots: (0..count).map(slot).collect(),
            producer,
            compositor: Accessor::new(
                "the compositor",
                [SyncMechanism::Timeline, SyncMechanism::Implicit],
            ),
        }
    }

    /// Gives a buffer to the producer, or returns the fence to wait for first.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds the buffer.
    pub fn begin_write(&mut self, index: usize) -> Result<BeginWrite, HandOverError> {
        let producer = self.producer.clone();
        let slot = self.slot(index, Holder::Client, Holder::Producer)?;
        loop {
            let prior = match slot.tracker.begin_write(&producer)? {
                AccessDecision::Granted(token, prior) => {
                    slot.state = State::Producer(token);
                    return Ok(BeginWrite::Ready(prior));
                }
                AccessDecision::Wait(prior) => prior,
            };
            // The caller waits for one fence at a time: the next call returns the next fence.
            if let Some(earlier) = prior.first() {
                let wait = earlier
                    .fence
                    .wait()
                    .map_err(|source| HandOverError::Fence { index, source })?;
                slot.has_pending_wait = true;
                slot.waits = slot.waits.saturating_add(1);
                return Ok(BeginWrite::Wait(wait));
            }
        }
    }

    /// Records that the wait that [`Buffers::begin_write`] returned is over.
    pub fn wait_finished(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.has_pending_wait = false;
        }
    }

    /// Takes a written buffer back from the producer. `written` is the fence that signals the end of the writes; `None` means
    /// that the writes have ended.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the producer holds the buffer.
    pub fn end_write(
        &mut self,
        index: usize,
        written: Option<SyncPoint>,
    ) -> Result<(), HandOverError> {
        let slot = self.slot(index, Holder::Producer, Holder::Client)?;
        match std::mem::replace(&mut slot.state, State::Client) {
            State::Producer(token) => Ok(slot.tracker.end(token, written)?),
            other => {
                slot.state = other;
                Ok(())
            }
        }
    }

    /// Gives a buffer to the compositor. `release_point` is the release point of the commit, if it has one. Returns the fences
    /// that the compositor has to wait for.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds the buffer, and where a fence of the writes has an error.
    pub fn show(
        &mut self,
        index: usize,
        release_point: Option<SyncPoint>,
    ) -> Result<Vec<PriorAccess<SyncPoint>>, HandOverError> {
        let compositor = self.compositor.clone();
        let slot = self.slot(index, Holder::Client, Holder::Compositor)?;
        match slot.tracker.begin_read(&compositor)? {
            AccessDecision::Granted(token, prior) => {
                slot.tracker.transfer_out(token, release_point)?;
                slot.state = State::Compositor;
                Ok(prior)
            }
            AccessDecision::Wait(prior) => Ok(prior),
        }
    }

    /// Takes a buffer back that the compositor released by a release point or by `wl_buffer.release`. After `wl_buffer.release`
    /// the compositor may still read the buffer, so the fences of the dma-buf `buffer` are tracked. After a release point
    /// `buffer` is `None`: the compositor's access has ended.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the compositor holds the buffer: a release without a commit must not free a buffer.
    pub fn released(&mut self, index: usize, buffer: Option<&Buffer>) -> Result<(), HandOverError> {
        let compositor = self.compositor.clone();
        let slot = self.slot(index, Holder::Compositor, Holder::Client)?;
        // If `show` received the release point, the tracker already knows the end of the access.
        if slot.tracker.holders().any(|holder| holder.transferred) {
            let fences = buffer
                .map(|buffer| pending_fences(buffer, index))
                .transpose()?
                .flatten();
            slot.tracker.end_transferred(&compositor, fences)?;
        }
        slot.state = State::Client;
        Ok(())
    }

    /// Returns the first buffer that this process holds and that has no pending wait.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.state.holder() == Holder::Client && !slot.has_pending_wait)
    }

    /// Returns who holds the buffer at `index`; `None` if there is no such buffer.
    #[must_use]
    pub fn holder(&self, index: usize) -> Option<Holder> {
        self.slots.get(index).map(|slot| slot.state.holder())
    }

    /// Returns the number of buffers that `holder` has.
    #[must_use]
    pub fn held_by(&self, holder: Holder) -> usize {
        let held = |slot: &&Slot| slot.state.holder() == holder;
        self.slots.iter().filter(held).count()
    }

    /// Returns how often the program waited for a fence of a buffer that the compositor had released.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.slots
            .iter()
            .fold(0, |sum, slot| sum.saturating_add(slot.waits))
    }

    /// Returns the state of a buffer if `from` holds it, and otherwise an error about its transfer to `to`.
    fn slot(&mut self, index: usize, from: Holder, to: Holder) -> Result<&mut Slot, HandOverError> {
        let count = self.slots.len();
        let slot = self
            .slots
            .get_mut(index)
            .ok_or(HandOverError::Index { index, count })?;
        let actual = slot.state.holder();
        if actual == from {
            return Ok(slot);
        }
        Err(HandOverError::Held {
            index,
            from,
            to,
            actual,
        })
    }
}

/// Returns the fences of a dma-buf that are not signalled; `None` if all are signalled.
fn pending_fences(buffer: &Buffer, index: usize) -> Result<Option<SyncPoint>, HandOverError> {
    let failed = |source: SyncPointError| HandOverError::Fence { index, source };
    // A sync file is exported only where poll() finds a pending fence.
    let reservation = buffer.reservation();
    if reservation
        .is_ready(Access::Write)
        .map_err(|error| failed(error.into()))?
    {
        return Ok(None);
    }
    SyncPoint::implicit(buffer, Access::Write)
        .map(Some)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Accessor {
        Accessor::new("camera", [])
    }

    fn fill(buffers: &mut Buffers, index: usize) {
        assert!(
            matches!(buffers.begin_write(index), Ok(BeginWrite::Ready(prior)) if prior.is_empty())
        );
        buffers.end_write(index, None).unwrap();
    }

    #[test]
    fn buffer_reused_several_times_ends_at_the_client() {
        let mut buffers = Buffers::new(2, camera());
        for _ in 0..3 {
            fill(&mut buffers, 1);
            assert!(buffers.show(1, None).unwrap().is_empty());
            assert_eq!(buffers.held_by(Holder::Compositor), 1);
            buffers.released(1, None).unwrap();
        }
        assert_eq!(buffers.held_by(Holder::Client), 2);
        assert_eq!(buffers.waits(), 0);
    }

    #[test]
    fn buffer_on_the_display_refuses_writes() {
        let mut buffers = Buffers::new(1, camera());
        buffers.show(0, None).unwrap();
        let refused = buffers.begin_write(0).unwrap_err();
        assert_eq!(
            refused,
            HandOverError::Held {
                index: 0,
                from: Holder::Client,
                to: Holder::Producer,
                actual: Holder::Compositor,
            }
        );
        assert_eq!(buffers.free(), None);
    }

    #[test]
    fn buffer_queued_twice_is_refused_and_stays_with_the_producer() {
        let mut buffers = Buffers::new(1, camera());
        assert!(matches!(buffers.begin_write(0), Ok(BeginWrite::Ready(_))));
        assert!(buffers.begin_write(0).is_err());
        assert!(buffers.show(0, None).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        buffers.end_write(0, None).unwrap();
    }

    #[test]
    fn release_without_a_commit_frees_nothing() {
        let mut buffers = Buffers::new(1, camera());
        assert!(matches!(buffers.begin_write(0), Ok(BeginWrite::Ready(_))));
        assert!(buffers.released(0, None).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        assert_eq!(
            buffers.released(7, None),
            Err(HandOverError::Index { index: 7, count: 1 })
        );
    }
}
