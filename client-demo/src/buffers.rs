//! Who holds each of the buffers of a stream, and behind which moment the next one may have it.
//!
//! ```text
//!            produce             produced              show
//!   Client ────────────▶ Producer ───────────▶ Client ────────▶ Compositor
//!      ▲                                                            │
//!      └────────────────────────── released ────────────────────────┘
//! ```
//! A buffer that the compositor reads is never written: every other way through this picture is an error. And a buffer that came back
//! may still be read by the compositor's GPU: its [`Ledger`] knows the fence, and a producer that cannot wait itself (a camera's
//! queue, the processor) gets it when that is signalled.

use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncLanguage;
use covalent_alloc::sync::{
    Access, Behind, BehindError, BehindWait, HandOver, Ledger, LedgerError, Party, Past, Turn,
    Writing,
};

/// A compositor that keeps all buffers this long is worth a word: its releases are waited for, and no longer in silence.
pub const COMPOSITOR_SILENCE: Duration = Duration::from_secs(5);

/// Who may touch a buffer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process: it may hand the buffer over or show it.
    Client,
    /// Whoever fills it: a camera's queue, or the code that draws.
    Producer,
    /// The compositor, until it releases the buffer.
    Compositor,
}

/// A hand-over that may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// No such buffer.
    #[error("buffer {index} does not exist: the stream has {count}")]
    Index {
        /// The index asked for.
        index: usize,
        /// How many buffers there are.
        count: usize,
    },
    /// Somebody else holds it.
    #[error("buffer {index} cannot go from {from:?} to {to:?}: {actual:?} holds it")]
    Held {
        /// The buffer.
        index: usize,
        /// Who would have to hold it.
        from: Holder,
        /// Who was to get it.
        to: Holder,
        /// Who does hold it.
        actual: Holder,
    },
    /// Its ledger refuses.
    #[error(transparent)]
    Refused(#[from] LedgerError),
    /// A moment does not answer.
    #[error("buffer {index}: {source}")]
    Moment {
        /// The buffer.
        index: usize,
        /// What went wrong.
        source: BehindError,
    },
}

/// The answer to [`Buffers::produce`].
#[derive(Debug)]
#[must_use = "the buffer is handed over, or not yet"]
pub enum Produce {
    /// The producer has it, and waits for these moments itself; there are none for a producer that cannot.
    Now(Vec<Past<Behind>>),
    /// The producer cannot wait: poll this in the event loop, say [`Buffers::idle`], and ask again.
    Wait(BehindWait),
}

/// A turn in a buffer's ledger.
#[derive(Debug)]
enum State {
    Client,
    Producer(Turn<Writing>),
    Compositor,
}

impl State {
    fn holder(&self) -> Holder {
        match self {
            Self::Client => Holder::Client,
            Self::Producer(_) => Holder::Producer,
            Self::Compositor => Holder::Compositor,
        }
    }
}

#[derive(Debug)]
struct Slot {
    state: State,
    ledger: Ledger<Behind>,
    /// Whether an event loop waits for what the buffer is still used for.
    is_awaited: bool,
    /// How often one did.
    waits: u64,
}

/// The books of all buffers of one stream, by index.
#[derive(Debug)]
pub struct Buffers {
    slots: Vec<Slot>,
    producer: Party,
    compositor: Party,
}

impl Buffers {
    /// Opens the books of `count` buffers that this process holds.
    ///
    /// A producer that speaks no [`SyncLanguage`] gets a buffer when nobody uses it any more.
    #[must_use]
    pub fn new(count: usize, producer: Party) -> Self {
        let slot = |index| Slot {
            state: State::Client,
            ledger: Ledger::new(format!("buffer {index}")),
            is_awaited: false,
            waits: 0,
        };
        Self {
            slots: (0..count).map(slot).collect(),
            producer,
            compositor: Party::new(
                "the compositor",
                [SyncLanguage::Timeline, SyncLanguage::Implicit],
            ),
        }
    }

    /// Hands a buffer to whoever fills it, or says what to wait for before.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds it.
    pub fn produce(&mut self, index: usize) -> Result<Produce, HandOverError> {
        let producer = self.producer.clone();
        let slot = self.slot(index, Holder::Client, Holder::Producer)?;
        loop {
            let after = match slot.ledger.write(&producer)? {
                HandOver::Now(turn, after) => {
                    slot.state = State::Producer(turn);
                    return Ok(Produce::Now(after));
                }
                HandOver::Wait(after) => after,
            };
            // The next is waited for when this one is over.
            if let Some(past) = after.first() {
                let wait = past
                    .moment
                    .wait()
                    .map_err(|source| HandOverError::Moment { index, source })?;
                slot.is_awaited = true;
                slot.waits = slot.waits.saturating_add(1);
                return Ok(Produce::Wait(wait));
            }
        }
    }

    /// Notes that what [`Buffers::produce`] said to wait for is over.
    pub fn idle(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.is_awaited = false;
        }
    }

    /// Takes a filled buffer back: the producer is done behind a moment, or already (`None`).
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the producer holds it.
    pub fn produced(&mut self, index: usize, behind: Option<Behind>) -> Result<(), HandOverError> {
        let slot = self.slot(index, Holder::Producer, Holder::Client)?;
        match std::mem::replace(&mut slot.state, State::Client) {
            State::Producer(turn) => Ok(slot.ledger.end(turn, behind)?),
            other => {
                slot.state = other;
                Ok(())
            }
        }
    }

    /// Gives a buffer to the compositor; `back` is the release point behind which it comes back, where there is one. Returns
    /// what the compositor has to be told to wait for.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds it, and where what wrote it has failed.
    pub fn show(
        &mut self,
        index: usize,
        back: Option<Behind>,
    ) -> Result<Vec<Past<Behind>>, HandOverError> {
        let compositor = self.compositor.clone();
        let slot = self.slot(index, Holder::Client, Holder::Compositor)?;
        match slot.ledger.read(&compositor)? {
            HandOver::Now(turn, after) => {
                slot.ledger.send_away(turn, back)?;
                slot.state = State::Compositor;
                Ok(after)
            }
            HandOver::Wait(after) => Ok(after),
        }
    }

    /// Takes a buffer back that the compositor released, by a release point or by `wl_buffer.release`. A dma-buf then says
    /// what it is still used for.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the compositor holds it: a release that was never owed must not free a buffer.
    pub fn released(&mut self, index: usize, buffer: Option<&Buffer>) -> Result<(), HandOverError> {
        let compositor = self.compositor.clone();
        let slot = self.slot(index, Holder::Compositor, Holder::Client)?;
        // Behind a release point its turn has ended; then the point has been waited for and says all.
        if slot.ledger.holders().any(|holder| holder.away) {
            let carried = buffer
                .map(|buffer| used_by(buffer, index))
                .transpose()?
                .flatten();
            slot.ledger.returned(&compositor, carried)?;
        }
        slot.state = State::Client;
        Ok(())
    }

    /// Returns the first buffer that this process holds and for which nothing is waited.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.state.holder() == Holder::Client && !slot.is_awaited)
    }

    /// Counts the buffers that `holder` has.
    #[must_use]
    pub fn held_by(&self, holder: Holder) -> usize {
        let held = |slot: &&Slot| slot.state.holder() == holder;
        self.slots.iter().filter(held).count()
    }

    /// Counts how often a producer had to be waited for, because a buffer that came back was still in use.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.slots
            .iter()
            .fold(0, |sum, slot| sum.saturating_add(slot.waits))
    }

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

/// The moment until which others use a dma-buf, by the fences that it carries; `None` when nobody does.
fn used_by(buffer: &Buffer, index: usize) -> Result<Option<Behind>, HandOverError> {
    let failed = |source: BehindError| HandOverError::Moment { index, source };
    // Asked by poll first: a fence is only made where there is something to wait for.
    let reservation = buffer.reservation();
    if reservation
        .is_ready(Access::Write)
        .map_err(|error| failed(error.into()))?
    {
        return Ok(None);
    }
    Behind::carried(buffer, Access::Write)
        .map(Some)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Party {
        Party::new("camera", [])
    }

    fn fill(buffers: &mut Buffers, index: usize) {
        assert!(matches!(buffers.produce(index), Ok(Produce::Now(after)) if after.is_empty()));
        buffers.produced(index, None).unwrap();
    }

    #[test]
    fn buffer_goes_round_and_round() {
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
    fn buffer_on_display_cannot_be_produced_into() {
        let mut buffers = Buffers::new(1, camera());
        buffers.show(0, None).unwrap();
        let refused = buffers.produce(0).unwrap_err();
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
    fn buffer_queued_twice_is_an_error_and_changes_nothing() {
        let mut buffers = Buffers::new(1, camera());
        assert!(matches!(buffers.produce(0), Ok(Produce::Now(_))));
        assert!(buffers.produce(0).is_err());
        assert!(buffers.show(0, None).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        buffers.produced(0, None).unwrap();
    }

    #[test]
    fn release_that_was_not_owed_frees_nothing() {
        let mut buffers = Buffers::new(1, camera());
        assert!(matches!(buffers.produce(0), Ok(Produce::Now(_))));
        assert!(buffers.released(0, None).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        assert_eq!(
            buffers.released(7, None),
            Err(HandOverError::Index { index: 7, count: 1 })
        );
    }
}
