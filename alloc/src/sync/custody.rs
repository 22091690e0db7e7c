//! A ledger whose order the compiler knows: one writer, then one reader, then again.

use std::fmt;

use super::LedgerError;
use super::ledger::{HandOver, Kind, Ledger, Moment, Party, Past, Reading, Turn, Writing};

/// Nobody has the buffer: it may be written.
#[derive(Debug)]
pub struct Free(());

/// A party writes it.
#[derive(Debug)]
pub struct Filling(Turn<Writing>);

/// It is written, behind a moment: it may be read, or written again.
#[derive(Debug)]
pub struct Filled(());

/// A party reads it.
#[derive(Debug)]
pub struct Lent(Turn<Reading>);

/// A buffer's ledger in a state that the compiler knows, for a pipeline whose order does not change: each step takes it and
/// gives it back in the next state. What a state does not have cannot be asked for.
///
/// There is no second writer, since the first has taken the buffer:
///
/// ```compile_fail,E0382
/// # use covalent_alloc::sync::*;
/// # fn two_writers<M: Moment>(free: Custody<Free, M>, camera: &Party, gpu: &Party) {
/// let one = free.fill(camera);
/// let other = free.fill(gpu);
/// # }
/// ```
///
/// nor a reader before the writer's fence:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_early<M: Moment>(filling: Custody<Filling, M>, display: &Party) {
/// filling.lend(display);
/// # }
/// ```
///
/// nor is it written again before it is given back:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_soon<M: Moment>(lent: Custody<Lent, M>) {
/// lent.recycle();
/// # }
/// ```
///
/// What does compile is the order of a frame:
///
/// ```
/// # use covalent_alloc::sync::*;
/// fn frame<M: Moment>(
///     free: Custody<Free, M>,
///     (camera, display): (&Party, &Party),
///     (written, shown): (Option<M>, Option<M>),
/// ) -> Result<Custody<Free, M>, CustodyError<M>> {
///     let Step::Now(filling, _) = free.fill(camera)? else { panic!("poll, and ask again") };
///     let filled = filling.filled(written)?;
///     let Step::Now(lent, _) = filled.lend(display)? else { panic!("poll, and ask again") };
///     Ok(lent.returned(shown)?.recycle())
/// }
/// ```
pub struct Custody<S, M> {
    state: S,
    ledger: Ledger<M>,
}

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for Custody<S, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Custody")
            .field("state", &self.state)
            .field("ledger", &self.ledger)
            .finish()
    }
}

/// The answer to a step.
#[derive(Debug)]
#[must_use = "the buffer is in it"]
pub enum Step<From, To, M> {
    /// It is the party's turn, which waits for these moments itself.
    Now(Custody<To, M>, Vec<Past<M>>),
    /// The party cannot wait: poll these moments in the event loop, and ask again.
    Wait(Custody<From, M>, Vec<Past<M>>),
}

/// A step that went wrong, with the ledger, from which the pipeline can begin again.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CustodyError<M> {
    /// What went wrong.
    pub error: LedgerError,
    /// The ledger, as it stands.
    pub ledger: Box<Ledger<M>>,
}

/// Begins again with a ledger whose pipeline went wrong. Turns that last in it are refused as ever.
impl<M: Moment> From<Ledger<M>> for Custody<Free, M> {
    fn from(ledger: Ledger<M>) -> Self {
        Self {
            state: Free(()),
            ledger,
        }
    }
}

impl<M: Moment> Custody<Free, M> {
    /// Opens the book of a buffer that nobody has. The name is for messages.
    pub fn new(buffer: impl Into<String>) -> Self {
        Ledger::new(buffer).into()
    }

    /// Hands the buffer to a writer.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn fill(mut self, party: &Party) -> Result<Step<Free, Filling, M>, CustodyError<M>> {
        match self.ledger.write(party) {
            Ok(HandOver::Now(turn, after)) => Ok(Step::Now(self.with(Filling(turn)), after)),
            Ok(HandOver::Wait(after)) => Ok(Step::Wait(self, after)),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl<M: Moment> Custody<Filling, M> {
    /// Takes it back: the writer is done behind a moment, or already.
    ///
    /// # Errors
    /// [`CustodyError`], when the writer did not wait.
    pub fn filled(self, behind: Option<M>) -> Result<Custody<Filled, M>, CustodyError<M>> {
        Custody::after(self.ledger, self.state.0, behind)
    }
}

impl<M: Moment> Custody<Filled, M> {
    /// Ends a turn, after which the buffer holds a picture.
    fn after<K: Kind>(
        ledger: Ledger<M>,
        turn: Turn<K>,
        behind: Option<M>,
    ) -> Result<Self, CustodyError<M>> {
        let mut next = Self {
            state: Filled(()),
            ledger,
        };
        match next.ledger.end(turn, behind) {
            Ok(()) => Ok(next),
            Err(error) => Err(next.failed(error)),
        }
    }

    /// Hands the buffer to a reader.
    ///
    /// # Errors
    /// [`CustodyError`], when the writer failed.
    pub fn lend(mut self, party: &Party) -> Result<Step<Filled, Lent, M>, CustodyError<M>> {
        match self.ledger.read(party) {
            Ok(HandOver::Now(turn, after)) => Ok(Step::Now(self.with(Lent(turn)), after)),
            Ok(HandOver::Wait(after)) => Ok(Step::Wait(self, after)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Lets it be written again. The next writer waits for all that is not over.
    pub fn recycle(self) -> Custody<Free, M> {
        self.with(Free(()))
    }
}

impl<M: Moment> Custody<Lent, M> {
    /// Takes it back: the reader is done behind a moment, or already.
    ///
    /// # Errors
    /// [`CustodyError`], when the reader did not wait.
    pub fn returned(self, behind: Option<M>) -> Result<Custody<Filled, M>, CustodyError<M>> {
        Custody::after(self.ledger, self.state.0, behind)
    }
}

impl<S, M> Custody<S, M> {
    fn with<T>(self, state: T) -> Custody<T, M> {
        Custody {
            state,
            ledger: self.ledger,
        }
    }

    fn failed(self, error: LedgerError) -> CustodyError<M> {
        CustodyError {
            error,
            ledger: Box::new(self.ledger),
        }
    }
}
