//! Tracks the accesses to one buffer, and the fences that the next access has to wait for.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Access, AccessTrackerError};
use crate::constraint::{Participant, SyncMechanism};

/// The state of a fence. A fence that is not pending never becomes pending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// The work that signals the fence has not ended.
    Pending,
    /// The work has ended without an error.
    Signalled,
    /// The work has ended with an error. The contents of the buffer that it wrote are undefined.
    Failed,
}

/// A fence whose state an [`AccessTracker`] can query.
pub trait TrackedFence: Clone {
    /// Returns the state at this time. It does not wait.
    fn state(&self) -> FenceState;
}

/// A user of a buffer: a participant of the plan, in this process or in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    name: String,
    mechanisms: BTreeSet<SyncMechanism>,
}

impl Accessor {
    /// Creates an accessor with a name, which error messages contain, and the mechanisms by which it can wait for fences.
    ///
    /// An accessor without a mechanism, such as a V4L2 queue or the CPU, cannot wait. It gets the buffer only when every fence
    /// that it would have to wait for is signalled.
    pub fn new(
        name: impl Into<String>,
        mechanisms: impl IntoIterator<Item = SyncMechanism>,
    ) -> Self {
        Self {
            name: name.into(),
            mechanisms: mechanisms.into_iter().collect(),
        }
    }

    /// Returns the name, which error messages contain.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the mechanisms by which the accessor can wait for fences.
    #[must_use]
    pub fn mechanisms(&self) -> &BTreeSet<SyncMechanism> {
        &self.mechanisms
    }
}

impl From<&Participant> for Accessor {
    fn from(participant: &Participant) -> Self {
        Self::new(&participant.name, participant.constraints().sync.clone())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The type parameter of an [`AccessToken`], which is the access that it permits: [`Reading`] or [`Writing`].
pub trait AccessKind: sealed::Sealed {
    /// The access that tokens of this kind permit.
    const ACCESS: Access;
}

/// The kind of a token that permits reads.
#[derive(Debug)]
pub enum Reading {}

/// The kind of a token that permits reads and writes.
#[derive(Debug)]
pub enum Writing {}

impl sealed::Sealed for Reading {}
impl sealed::Sealed for Writing {}
impl AccessKind for Reading {
    const ACCESS: Access = Access::Read;
}
impl AccessKind for Writing {
    const ACCESS: Access = Access::Write;
}

/// Permits one access to a buffer, until the caller passes the token to [`AccessTracker::end`] or
/// [`AccessTracker::transfer_out`]. A token cannot be cloned or constructed.
///
/// If a token is dropped instead, the buffer stays held, and the next conflicting access gets an error that names the holder.
#[derive(Debug)]
#[must_use = "the access lasts until the token is passed to `end` of the tracker"]
pub struct AccessToken<K> {
    tracker_id: u64,
    access_id: u64,
    kind: PhantomData<K>,
}

/// An earlier access to the buffer, with the fence that signals when the device has finished it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorAccess<M> {
    /// The name of the accessor.
    pub accessor: String,
    /// Whether the access read or wrote.
    pub access: Access,
    /// The fence that signals when the access has finished.
    pub fence: M,
    /// Whether the accessor is in another process, which may end before it signals the release point.
    transferred: bool,
}

/// The result of [`AccessTracker::begin_read`] and [`AccessTracker::begin_write`].
#[derive(Debug)]
#[must_use = "the result tells whether the accessor may use the buffer"]
pub enum AccessDecision<K, M> {
    /// The accessor may use the buffer, and has to wait for these fences itself. [`export_wait`](super::export_wait) converts the
    /// fences for the mechanism by which the accessor waits.
    Granted(AccessToken<K>, Vec<PriorAccess<M>>),
    /// The accessor has no mechanism to wait for these fences. Poll them in the event loop and begin the access again.
    Wait(Vec<PriorAccess<M>>),
}

/// Tracks which accessors use one buffer, and for which fences the next access has to wait.
///
/// The tracker never waits, and makes no system calls except those of [`TrackedFence::state`].
///
/// ```
/// use covalent_alloc::constraint::SyncMechanism;
/// use covalent_alloc::sync::{AccessDecision, AccessTracker, AccessTrackerError, TrackedFence, FenceState, Accessor};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Fence(u32);
/// impl TrackedFence for Fence {
///     fn state(&self) -> FenceState {
///         FenceState::Pending
///     }
/// }
///
/// let gpu = Accessor::new("gpu", [SyncMechanism::SyncFile]);
/// let display = Accessor::new("display", [SyncMechanism::SyncFile]);
/// let mut tracker = AccessTracker::new("frame 1");
/// let AccessDecision::Granted(token, prior) = tracker.begin_write(&gpu)? else { panic!("the buffer is unused") };
/// assert!(prior.is_empty());
/// assert!(matches!(tracker.begin_read(&display), Err(AccessTrackerError::ReadBeforeFence { .. })));
/// tracker.end(token, Some(Fence(7)))?;
/// let AccessDecision::Granted(token, prior) = tracker.begin_read(&display)? else { panic!("the display can wait") };
/// assert_eq!(prior[0].fence, Fence(7));
/// # tracker.end(token, None).unwrap_err();
/// # Ok::<(), AccessTrackerError>(())
/// ```
#[derive(Debug)]
pub struct AccessTracker<M> {
    id: u64,
    buffer: String,
    current: Vec<CurrentAccess<M>>,
    prior: Vec<PriorAccess<M>>,
    /// The name of the last writer, if its fence has an error. The next write clears it.
    poisoned_by: Option<String>,
    next_access_id: u64,
}

/// An access that has not ended: its token still exists, or the buffer was transferred to another process.
#[derive(Debug)]
struct CurrentAccess<M> {
    id: u64,
    accessor: String,
    access: Access,
    /// The earlier accesses that this access has to wait for.
    waits_for: Vec<PriorAccess<M>>,
    transferred: bool,
}

/// An accessor whose access to the buffer has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder<'tracker> {
    /// The name of the accessor.
    pub accessor: &'tracker str,
    /// The kind of the access that has not ended.
    pub access: Access,
    /// Whether the buffer was transferred to another process.
    pub transferred: bool,
}

impl<M: TrackedFence> AccessTracker<M> {
    /// Creates the tracker of a buffer that no accessor holds. Error messages contain the buffer's name.
    pub fn new(buffer: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            buffer: buffer.into(),
            current: Vec::new(),
            prior: Vec::new(),
            poisoned_by: None,
            next_access_id: 0,
        }
    }

    /// Begins a read, which has to wait for the last writer.
    ///
    /// # Errors
    /// [`AccessTrackerError::ReadBeforeFence`], [`AccessTrackerError::Transferred`], [`AccessTrackerError::Poisoned`].
    pub fn begin_read(
        &mut self,
        accessor: &Accessor,
    ) -> Result<AccessDecision<Reading, M>, AccessTrackerError> {
        self.prune_signalled();
        if let Some(writer) = &self.poisoned_by {
            return Err(AccessTrackerError::Poisoned {
                buffer: self.buffer.clone(),
                writer: writer.clone(),
                reader: accessor.name.clone(),
            });
        }
        self.begin(accessor)
    }

    /// Begins an access that writes, or reads and writes. It has to wait for the last writer and all readers.
    ///
    /// # Errors
    /// [`AccessTrackerError::TwoWriters`], [`AccessTrackerError::WriteBeforeRelease`], [`AccessTrackerError::Transferred`].
    pub fn begin_write(
        &mut self,
        accessor: &Accessor,
    ) -> Result<AccessDecision<Writing, M>, AccessTrackerError> {
        self.prune_signalled();
        self.begin(accessor)
    }

    /// Begins an access, or returns the accesses that it has to wait for.
    fn begin<K: AccessKind>(
        &mut self,
        accessor: &Accessor,
    ) -> Result<AccessDecision<K, M>, AccessTrackerError> {
        let conflicts = |access| K::ACCESS == Access::Write || access == Access::Write;
        if let Some(holder) = self.current.iter().find(|one| conflicts(one.access)) {
            return Err(self.conflict(holder, accessor, K::ACCESS));
        }
        let waits_for: Vec<PriorAccess<M>> = self
            .prior
            .iter()
            .filter(|prior| conflicts(prior.access))
            .cloned()
            .collect();
        if accessor.mechanisms.is_empty() && !waits_for.is_empty() {
            return Ok(AccessDecision::Wait(waits_for));
        }
        if K::ACCESS == Access::Write {
            self.poisoned_by = None;
        }
        let id = self.next_access_id;
        self.next_access_id = id.wrapping_add(1);
        self.current.push(CurrentAccess {
            id,
            accessor: accessor.name.clone(),
            access: K::ACCESS,
            waits_for: waits_for.clone(),
            transferred: false,
        });
        let token = AccessToken {
            tracker_id: self.id,
            access_id: id,
            kind: PhantomData,
        };
        Ok(AccessDecision::Granted(token, waits_for))
    }

    /// Makes the error for an access that conflicts with the current access of `holder`.
    fn conflict(
        &self,
        holder: &CurrentAccess<M>,
        accessor: &Accessor,
        access: Access,
    ) -> AccessTrackerError {
        let buffer = self.buffer.clone();
        let (holder_name, requester) = (holder.accessor.clone(), accessor.name.clone());
        match (holder.transferred, holder.access, access) {
            (true, _, access) => AccessTrackerError::Transferred {
                buffer,
                peer: holder_name,
                requester,
                access,
            },
            (false, Access::Write, Access::Write) => AccessTrackerError::TwoWriters {
                buffer,
                writer: holder_name,
                requester,
            },
            (false, Access::Write, Access::Read) => AccessTrackerError::ReadBeforeFence {
                buffer,
                writer: holder_name,
                reader: requester,
            },
            (false, Access::Read, _) => AccessTrackerError::WriteBeforeRelease {
                buffer,
                reader: holder_name,
                writer: requester,
            },
        }
    }

    /// Ends an access. `fence` signals when the device has finished the access; `None` means that it has finished already.
    ///
    /// # Errors
    /// [`AccessTrackerError::DidNotWait`] if this access has finished although an access that it had to wait for is pending. The
    /// tracker has ended the access nevertheless, and the next access waits for both. [`AccessTrackerError::UnknownToken`] for a
    /// token of another tracker, or of an accessor that was reported as lost.
    #[allow(clippy::needless_pass_by_value, reason = "an access ends once")]
    pub fn end<K: AccessKind>(
        &mut self,
        token: AccessToken<K>,
        fence: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let access = self.take(token.tracker_id, token.access_id)?;
        self.close(access, fence)
    }

    /// Records that the buffer is transferred to the accessor in another process, which holds it from now on.
    ///
    /// `release` is the fence that signals when the other process releases the buffer, such as a release point. If it is `None`,
    /// the buffer stays transferred until [`AccessTracker::end_transferred`] or [`AccessTracker::end_lost`].
    ///
    /// # Errors
    /// The errors of [`AccessTracker::end`].
    #[allow(clippy::needless_pass_by_value, reason = "an access ends once")]
    pub fn transfer_out<K: AccessKind>(
        &mut self,
        token: AccessToken<K>,
        release: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let mut access = self.take(token.tracker_id, token.access_id)?;
        access.transferred = true;
        if release.is_some() {
            return self.close(access, release);
        }
        self.current.push(access);
        Ok(())
    }

    /// Ends all transferred accesses of an accessor that has returned the buffer. `fence` signals when its device has finished
    /// the accesses; `None` means that it has finished already.
    ///
    /// # Errors
    /// [`AccessTrackerError::NotTransferred`]; the errors of [`AccessTracker::end`].
    pub fn end_transferred(
        &mut self,
        accessor: &Accessor,
        fence: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let (returned, remaining): (Vec<CurrentAccess<M>>, Vec<CurrentAccess<M>>) =
            std::mem::take(&mut self.current)
                .into_iter()
                .partition(|one| one.transferred && one.accessor == accessor.name);
        self.current = remaining;
        if returned.is_empty() {
            return Err(AccessTrackerError::NotTransferred {
                buffer: self.buffer.clone(),
                peer: accessor.name.clone(),
            });
        }
        returned
            .into_iter()
            .map(|access| self.close(access, fence.clone()))
            .fold(Ok(()), Result::and)
    }

    /// Ends all accesses of an accessor that no longer exists, because its process was killed or its device was removed.
    ///
    /// The accessor's pending release points are dropped, because no process will signal them. Its devices may still access the
    /// buffer: `fence`, usually the implicit fence of the dma-buf, signals when they have finished. If the accessor was writing,
    /// the buffer is poisoned: reads fail until the buffer is written again.
    pub fn end_lost(&mut self, accessor: &Accessor, fence: Option<&M>) {
        let mut lost = Vec::new();
        self.current.retain(|one| {
            let is_lost = one.accessor == accessor.name;
            if is_lost {
                lost.push(one.access);
            }
            !is_lost
        });
        self.prior.retain(|prior| {
            let is_lost = prior.transferred
                && prior.accessor == accessor.name
                && prior.fence.state() == FenceState::Pending;
            if is_lost {
                lost.push(prior.access);
            }
            !is_lost
        });
        if lost.contains(&Access::Write) {
            self.poisoned_by = Some(accessor.name.clone());
        }
        for access in lost {
            self.prior.extend(fence.map(|fence| PriorAccess {
                accessor: accessor.name.clone(),
                access,
                fence: fence.clone(),
                transferred: false,
            }));
        }
    }

    /// Lists the accessors whose access has not ended.
    pub fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        self.current.iter().map(|one| Holder {
            accessor: &one.accessor,
            access: one.access,
            transferred: one.transferred,
        })
    }

    /// Returns how many fences of ended accesses the tracker keeps.
    #[must_use]
    pub fn fence_count(&self) -> usize {
        self.prior.len()
    }

    fn take(
        &mut self,
        tracker_id: u64,
        access_id: u64,
    ) -> Result<CurrentAccess<M>, AccessTrackerError> {
        let index = self
            .current
            .iter()
            .position(|one| tracker_id == self.id && one.id == access_id && !one.transferred);
        index
            .map(|index| self.current.remove(index))
            .ok_or_else(|| AccessTrackerError::UnknownToken {
                buffer: self.buffer.clone(),
            })
    }

    fn close(
        &mut self,
        access: CurrentAccess<M>,
        fence: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        // The fence of this access is queried before the fences that the access waits for. In the other order, if all of them
        // signalled between the two queries, it would look as if the accessor had not waited. The fence of a reader that had
        // nothing to wait for is not queried, because its state is not used, and the query is a system call.
        let is_relevant = access.access == Access::Write || !access.waits_for.is_empty();
        let state = match &fence {
            None => FenceState::Signalled,
            Some(fence) if is_relevant => fence.state(),
            Some(_) => FenceState::Pending,
        };
        let unfinished = access
            .waits_for
            .iter()
            .find(|prior| prior.fence.state() == FenceState::Pending);
        let result = match unfinished {
            Some(other) if state == FenceState::Signalled => Err(AccessTrackerError::DidNotWait {
                buffer: self.buffer.clone(),
                accessor: access.accessor.clone(),
                other: other.accessor.clone(),
            }),
            _ => Ok(()),
        };
        if access.access == Access::Write && result.is_ok() && state != FenceState::Failed {
            // The writer has waited for all earlier fences, so the next access needs to wait only for the writer's fence. A
            // writer whose fence has an error may not have waited, so the earlier fences are kept then.
            self.prior.clear();
        }
        self.prior.extend(fence.map(|fence| PriorAccess {
            accessor: access.accessor,
            access: access.access,
            fence,
            transferred: access.transferred,
        }));
        result
    }

    /// Removes the fences that are not pending, and records a writer that failed.
    fn prune_signalled(&mut self) {
        let poisoned_by = &mut self.poisoned_by;
        self.prior.retain(|prior| match prior.fence.state() {
            FenceState::Pending => true,
            FenceState::Signalled => false,
            FenceState::Failed => {
                if prior.access == Access::Write {
                    *poisoned_by = Some(prior.accessor.clone());
                }
                false
            }
        });
    }
}
