//! An [`AccessTracker`] for which the compiler checks the order of accesses: one write, then one read, and so on.

use std::fmt;

use super::AccessTrackerError;
use super::access_tracker::{
    AccessDecision, AccessKind, AccessToken, AccessTracker, Accessor, PriorAccess, Reading,
    TrackedFence, Writing,
};

/// The state of a buffer that no accessor holds. It may be written.
#[derive(Debug)]
pub struct Idle(());

/// The state of a buffer that an accessor writes.
#[derive(Debug)]
pub struct BeingWritten(AccessToken<Writing>);

/// The state of a buffer whose write was submitted. The writer's fence may be pending. The buffer may be read, or written again.
#[derive(Debug)]
pub struct Written(());

/// The state of a buffer that an accessor reads.
#[derive(Debug)]
pub struct BeingRead(AccessToken<Reading>);

/// An [`AccessTracker`] with its state as a type, for a pipeline whose order does not change.
///
/// Each method consumes the tracker and returns it in the next state, so a program with an access that the state does not permit
/// does not compile.
///
/// A second write cannot begin, since the first one has moved the tracker:
///
/// ```compile_fail,E0382
/// # use covalent_alloc::sync::*;
/// # fn two_writers<M: TrackedFence>(idle: TypedTracker<Idle, M>, camera: &Accessor, gpu: &Accessor) {
/// let one = idle.begin_write(camera);
/// let other = idle.begin_write(gpu);
/// # }
/// ```
///
/// A read cannot begin before the writer has passed its fence:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_early<M: TrackedFence>(being_written: TypedTracker<BeingWritten, M>, display: &Accessor) {
/// being_written.begin_read(display);
/// # }
/// ```
///
/// A buffer cannot be written again before its reader has ended the read:
///
/// ```compile_fail,E0599
/// # use covalent_alloc::sync::*;
/// # fn too_soon<M: TrackedFence>(being_read: TypedTracker<BeingRead, M>) {
/// being_read.recycle();
/// # }
/// ```
///
/// The order of one frame compiles:
///
/// ```
/// # use covalent_alloc::sync::*;
/// fn frame<M: TrackedFence>(
///     idle: TypedTracker<Idle, M>,
///     (camera, display): (&Accessor, &Accessor),
///     (write_fence, read_fence): (Option<M>, Option<M>),
/// ) -> Result<TypedTracker<Idle, M>, TypedTrackerError<M>> {
///     let TypedDecision::Granted(writing, _) = idle.begin_write(camera)? else { panic!("poll, then begin again") };
///     let written = writing.end_write(write_fence)?;
///     let TypedDecision::Granted(reading, _) = written.begin_read(display)? else { panic!("poll, then begin again") };
///     Ok(reading.end_read(read_fence)?.recycle())
/// }
/// ```
pub struct TypedTracker<S, M> {
    state: S,
    tracker: AccessTracker<M>,
}

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for TypedTracker<S, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TypedTracker")
            .field("state", &self.state)
            .field("tracker", &self.tracker)
            .finish()
    }
}

/// The result of [`TypedTracker::begin_write`] and [`TypedTracker::begin_read`].
#[derive(Debug)]
#[must_use = "the result contains the tracker"]
pub enum TypedDecision<From, To, M> {
    /// The accessor may use the buffer, and has to wait for these fences itself.
    Granted(TypedTracker<To, M>, Vec<PriorAccess<M>>),
    /// The accessor has no mechanism to wait for these fences. Poll them in the event loop and begin the access again.
    Wait(TypedTracker<From, M>, Vec<PriorAccess<M>>),
}

/// An error of a [`TypedTracker`], with the untyped tracker, which can be converted to a new [`TypedTracker`].
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct TypedTrackerError<M> {
    /// The error of the untyped tracker.
    pub error: AccessTrackerError,
    /// The tracker, with the accesses and fences that it had.
    pub tracker: Box<AccessTracker<M>>,
}

/// Makes a typed tracker after an error. Accesses that have not ended still prevent conflicting accesses.
impl<M: TrackedFence> From<AccessTracker<M>> for TypedTracker<Idle, M> {
    fn from(tracker: AccessTracker<M>) -> Self {
        Self {
            state: Idle(()),
            tracker,
        }
    }
}

impl<M: TrackedFence> TypedTracker<Idle, M> {
    /// Creates the tracker of a buffer that no accessor holds. Error messages contain the buffer's name.
    pub fn new(buffer: impl Into<String>) -> Self {
        AccessTracker::new(buffer).into()
    }

    /// Begins a write.
    ///
    /// # Errors
    /// [`TypedTrackerError`].
    pub fn begin_write(
        mut self,
        accessor: &Accessor,
    ) -> Result<TypedDecision<Idle, BeingWritten, M>, TypedTrackerError<M>> {
        match self.tracker.begin_write(accessor) {
            Ok(AccessDecision::Granted(token, prior)) => Ok(TypedDecision::Granted(
                self.with_state(BeingWritten(token)),
                prior,
            )),
            Ok(AccessDecision::Wait(prior)) => Ok(TypedDecision::Wait(self, prior)),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl<M: TrackedFence> TypedTracker<BeingWritten, M> {
    /// Ends the write. `fence` signals when the device has finished; `None` means that it has finished already.
    ///
    /// # Errors
    /// [`TypedTrackerError`] if the writer did not wait for an earlier access.
    pub fn end_write(
        self,
        fence: Option<M>,
    ) -> Result<TypedTracker<Written, M>, TypedTrackerError<M>> {
        TypedTracker::end(self.tracker, self.state.0, fence)
    }
}

impl<M: TrackedFence> TypedTracker<Written, M> {
    /// Ends a write or a read, after which the tracker is in the state [`Written`].
    fn end<K: AccessKind>(
        tracker: AccessTracker<M>,
        token: AccessToken<K>,
        fence: Option<M>,
    ) -> Result<Self, TypedTrackerError<M>> {
        let mut next = Self {
            state: Written(()),
            tracker,
        };
        match next.tracker.end(token, fence) {
            Ok(()) => Ok(next),
            Err(error) => Err(next.failed(error)),
        }
    }

    /// Begins a read.
    ///
    /// # Errors
    /// [`TypedTrackerError`] if the write failed.
    pub fn begin_read(
        mut self,
        accessor: &Accessor,
    ) -> Result<TypedDecision<Written, BeingRead, M>, TypedTrackerError<M>> {
        match self.tracker.begin_read(accessor) {
            Ok(AccessDecision::Granted(token, prior)) => Ok(TypedDecision::Granted(
                self.with_state(BeingRead(token)),
                prior,
            )),
            Ok(AccessDecision::Wait(prior)) => Ok(TypedDecision::Wait(self, prior)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Permits the next write. The writer has to wait for all pending fences.
    pub fn recycle(self) -> TypedTracker<Idle, M> {
        self.with_state(Idle(()))
    }
}

impl<M: TrackedFence> TypedTracker<BeingRead, M> {
    /// Ends the read. `fence` signals when the device has finished; `None` means that it has finished already.
    ///
    /// # Errors
    /// [`TypedTrackerError`] if the reader did not wait for the writer.
    pub fn end_read(
        self,
        fence: Option<M>,
    ) -> Result<TypedTracker<Written, M>, TypedTrackerError<M>> {
        TypedTracker::end(self.tracker, self.state.0, fence)
    }
}

impl<S, M> TypedTracker<S, M> {
    fn with_state<T>(self, state: T) -> TypedTracker<T, M> {
        TypedTracker {
            state,
            tracker: self.tracker,
        }
    }

    fn failed(self, error: AccessTrackerError) -> TypedTrackerError<M> {
        TypedTrackerError {
            error,
            tracker: Box::new(self.tracker),
        }
    }
}
