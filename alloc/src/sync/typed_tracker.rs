//! A ledger whose order the compiler knows: one writer, then one reader, then again.

use std::fmt;

use super::AccessTrackerError;
use super::access_tracker::{
    AccessDecision, AccessToken, AccessTracker, Accessor, Kind, PriorAccess, Reading, TrackedFence,
    Writing,
};

/// Nobody has the buffer: it may be written.
#[derive(Debug)]
pub struct Free(());

/// A party writes it.
#[derive(Debug)]
pub struct Filling(AccessToken<Writing>);

/// It is written, behind a moment: it may be read, or written again.
#[derive(Debug)]
pub struct Filled(());

/// A party reads it.
#[derive(Debug)]
pub struct Lent(AccessToken<Reading>);

/// A buffer's ledger in a state that the compiler knows, for a pipeline whose order does not change: each step takes it and
/// gives it back in the next state. What a state does not have cannot be asked for.
///
/// There is no second writer, since the first has taken the buffer:
///
/// ```compile_fail,E0382
/// # use covalent_alloc::sync::*;
/// # fn two_writers<M: TrackedFence>(free: TypedTracker<Free, M>, camera: &Accessor, gpu: &Accessor) {
/// let one = free.fill(camera);
/// let other = free.fill(gpu);
/// # }
/// ```
///
/// nor a reader before the writer's fence:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_early<M: TrackedFence>(filling: TypedTracker<Filling, M>, display: &Accessor) {
/// filling.lend(display);
/// # }
/// ```
///
/// nor is it written again before it is given back:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_soon<M: TrackedFence>(lent: TypedTracker<Lent, M>) {
/// lent.recycle();
/// # }
/// ```
///
/// What does compile is the order of a frame:
///
/// ```
/// # use covalent_alloc::sync::*;
/// fn frame<M: TrackedFence>(
///     free: TypedTracker<Free, M>,
///     (camera, display): (&Accessor, &Accessor),
///     (written, shown): (Option<M>, Option<M>),
/// ) -> Result<TypedTracker<Free, M>, TypedTrackerError<M>> {
///     let Step::Now(filling, _) = free.fill(camera)? else { panic!("poll, and ask again") };
///     let filled = filling.filled(written)?;
///     let Step::Now(lent, _) = filled.lend(display)? else { panic!("poll, and ask again") };
///     Ok(lent.returned(shown)?.recycle())
/// }
/// ```
pub struct TypedTracker<S, M> {
    state: S,
    ledger: AccessTracker<M>,
}

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for TypedTracker<S, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TypedTracker")
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
    Now(TypedTracker<To, M>, Vec<PriorAccess<M>>),
    /// The party cannot wait: poll these moments in the event loop, and ask again.
    Wait(TypedTracker<From, M>, Vec<PriorAccess<M>>),
}

/// A step that went wrong, with the ledger, from which the pipeline can begin again.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct TypedTrackerError<M> {
    /// What went wrong.
    pub error: AccessTrackerError,
    /// The ledger, as it stands.
    pub ledger: Box<AccessTracker<M>>,
}

/// Begins again with a ledger whose pipeline went wrong. Turns that last in it are refused as ever.
impl<M: TrackedFence> From<AccessTracker<M>> for TypedTracker<Free, M> {
    fn from(ledger: AccessTracker<M>) -> Self {
        Self {
            state: Free(()),
            ledger,
        }
    }
}

impl<M: TrackedFence> TypedTracker<Free, M> {
    /// Opens the book of a buffer that nobody has. The name is for messages.
    pub fn new(buffer: impl Into<String>) -> Self {
        AccessTracker::new(buffer).into()
    }

    /// Hands the buffer to a writer.
    ///
    /// # Errors
    /// [`TypedTrackerError`].
    pub fn fill(
        mut self,
        party: &Accessor,
    ) -> Result<Step<Free, Filling, M>, TypedTrackerError<M>> {
        match self.ledger.write(party) {
            Ok(AccessDecision::Now(turn, after)) => Ok(Step::Now(self.with(Filling(turn)), after)),
            Ok(AccessDecision::Wait(after)) => Ok(Step::Wait(self, after)),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl<M: TrackedFence> TypedTracker<Filling, M> {
    /// Takes it back: the writer is done behind a moment, or already.
    ///
    /// # Errors
    /// [`TypedTrackerError`], when the writer did not wait.
    pub fn filled(
        self,
        behind: Option<M>,
    ) -> Result<TypedTracker<Filled, M>, TypedTrackerError<M>> {
        TypedTracker::after(self.ledger, self.state.0, behind)
    }
}

impl<M: TrackedFence> TypedTracker<Filled, M> {
    /// Ends a turn, after which the buffer holds a picture.
    fn after<K: Kind>(
        ledger: AccessTracker<M>,
        turn: AccessToken<K>,
        behind: Option<M>,
    ) -> Result<Self, TypedTrackerError<M>> {
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
    /// [`TypedTrackerError`], when the writer failed.
    pub fn lend(mut self, party: &Accessor) -> Result<Step<Filled, Lent, M>, TypedTrackerError<M>> {
        match self.ledger.read(party) {
            Ok(AccessDecision::Now(turn, after)) => Ok(Step::Now(self.with(Lent(turn)), after)),
            Ok(AccessDecision::Wait(after)) => Ok(Step::Wait(self, after)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Lets it be written again. The next writer waits for all that is not over.
    pub fn recycle(self) -> TypedTracker<Free, M> {
        self.with(Free(()))
    }
}

impl<M: TrackedFence> TypedTracker<Lent, M> {
    /// Takes it back: the reader is done behind a moment, or already.
    ///
    /// # Errors
    /// [`TypedTrackerError`], when the reader did not wait.
    pub fn returned(
        self,
        behind: Option<M>,
    ) -> Result<TypedTracker<Filled, M>, TypedTrackerError<M>> {
        TypedTracker::after(self.ledger, self.state.0, behind)
    }
}

impl<S, M> TypedTracker<S, M> {
    fn with<T>(self, state: T) -> TypedTracker<T, M> {
        TypedTracker {
            state,
            ledger: self.ledger,
        }
    }

    fn failed(self, error: AccessTrackerError) -> TypedTrackerError<M> {
        TypedTrackerError {
            error,
            ledger: Box::new(self.ledger),
        }
    }
}
