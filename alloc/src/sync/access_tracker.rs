//! Who may touch a buffer now, and behind which moments.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Access, AccessTrackerError};
use crate::constraint::{Participant, SyncMechanism};

/// How far a moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// The work goes on.
    Pending,
    /// The work is done.
    Over,
    /// The work has ended, and not well: what it was to write is undefined.
    Failed,
}

/// What a ledger asks of a moment. Once it is not pending, it never is again.
pub trait TrackedFence: Clone {
    /// Asks, and never waits.
    fn state(&self) -> FenceState;
}

/// Who touches a buffer: a participant of the plan, here or in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    name: String,
    speaks: BTreeSet<SyncMechanism>,
}

impl Accessor {
    /// Names a party and the languages in which it is told what to wait for. With none, like a V4L2 queue or the processor, it
    /// gets the buffer only when there is nothing to wait for.
    pub fn new(name: impl Into<String>, speaks: impl IntoIterator<Item = SyncMechanism>) -> Self {
        Self {
            name: name.into(),
            speaks: speaks.into_iter().collect(),
        }
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The languages that it speaks.
    #[must_use]
    pub fn speaks(&self) -> &BTreeSet<SyncMechanism> {
        &self.speaks
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

/// For what a turn is.
pub trait Kind: sealed::Sealed {
    /// The same as a value.
    const ACCESS: Access;
}

/// A turn to read.
#[derive(Debug)]
pub enum Reading {}

/// A turn to write, or to do both.
#[derive(Debug)]
pub enum Writing {}

impl sealed::Sealed for Reading {}
impl sealed::Sealed for Writing {}
impl Kind for Reading {
    const ACCESS: Access = Access::Read;
}
impl Kind for Writing {
    const ACCESS: Access = Access::Write;
}

/// The right to touch a buffer, until it is given back to the ledger. There is one of it: it is neither cloned nor made.
///
/// A turn that is lost without an end is one that lasts: the buffer stays with its party, and the next one is told so.
#[derive(Debug)]
#[must_use = "the turn lasts until the ledger gets it back"]
pub struct AccessToken<K> {
    ledger: u64,
    number: u64,
    kind: PhantomData<K>,
}

/// Whose access is over, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorAccess<M> {
    /// Who has had the buffer.
    pub party: String,
    /// For what.
    pub access: Access,
    /// SyncPoint which moment it is done.
    pub moment: M,
    /// Whether it is in another process, which can be lost.
    away: bool,
}

/// The ledger's answer.
#[derive(Debug)]
#[must_use = "the buffer is not handed over before the answer is looked at"]
pub enum AccessDecision<K, M> {
    /// It is the next party's turn; the party itself waits for these moments, which it has to be told in its language.
    Now(AccessToken<K>, Vec<PriorAccess<M>>),
    /// The party cannot wait: poll these moments in the event loop, and ask again.
    Wait(Vec<PriorAccess<M>>),
}

/// A buffer's book: who has it, and which moments the next one has to wait for.
///
/// It orders accesses and does nothing else: no request, no wait.
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
/// let mut ledger = AccessTracker::new("frame 1");
/// let AccessDecision::Now(turn, after) = ledger.write(&gpu)? else { panic!("nobody has it") };
/// assert!(after.is_empty());
/// assert!(matches!(ledger.read(&display), Err(AccessTrackerError::ReadBeforeFence { .. })));
/// ledger.end(turn, Some(Fence(7)))?;
/// let AccessDecision::Now(turn, after) = ledger.read(&display)? else { panic!("it waits itself") };
/// assert_eq!(after[0].moment, Fence(7));
/// # ledger.end(turn, None).unwrap_err();
/// # Ok::<(), AccessTrackerError>(())
/// ```
#[derive(Debug)]
pub struct AccessTracker<M> {
    number: u64,
    buffer: String,
    open: Vec<Open<M>>,
    past: Vec<PriorAccess<M>>,
    poisoned: Option<String>,
    next: u64,
}

/// A turn that lasts.
#[derive(Debug)]
struct Open<M> {
    number: u64,
    party: String,
    access: Access,
    /// What it was told to wait for.
    after: Vec<PriorAccess<M>>,
    away: bool,
}

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<'ledger> {
    /// The party's name.
    pub party: &'ledger str,
    /// For what it has it.
    pub access: Access,
    /// Whether it is in another process.
    pub away: bool,
}

impl<M: TrackedFence> AccessTracker<M> {
    /// Opens the book of a buffer that nobody has. The name is for messages.
    pub fn new(buffer: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            buffer: buffer.into(),
            open: Vec::new(),
            past: Vec::new(),
            poisoned: None,
            next: 0,
        }
    }

    /// Hands the buffer to a party that reads: after the last writer.
    ///
    /// # Errors
    /// [`AccessTrackerError::ReadBeforeFence`], [`AccessTrackerError::Away`], [`AccessTrackerError::Poisoned`].
    pub fn read(
        &mut self,
        party: &Accessor,
    ) -> Result<AccessDecision<Reading, M>, AccessTrackerError> {
        self.settle();
        if let Some(writer) = &self.poisoned {
            return Err(AccessTrackerError::Poisoned {
                buffer: self.buffer.clone(),
                writer: writer.clone(),
                reader: party.name.clone(),
            });
        }
        self.hand_over(party)
    }

    /// Hands the buffer to a party that writes, or does both: after the last writer and all readers.
    ///
    /// # Errors
    /// [`AccessTrackerError::TwoWriters`], [`AccessTrackerError::WriteBeforeRelease`], [`AccessTrackerError::Away`].
    pub fn write(
        &mut self,
        party: &Accessor,
    ) -> Result<AccessDecision<Writing, M>, AccessTrackerError> {
        self.settle();
        self.hand_over(party)
    }

    fn hand_over<K: Kind>(
        &mut self,
        party: &Accessor,
    ) -> Result<AccessDecision<K, M>, AccessTrackerError> {
        let conflicts = |access| K::ACCESS == Access::Write || access == Access::Write;
        if let Some(holder) = self.open.iter().find(|open| conflicts(open.access)) {
            return Err(self.refusal(holder, party, K::ACCESS));
        }
        let after: Vec<PriorAccess<M>> = self
            .past
            .iter()
            .filter(|past| conflicts(past.access))
            .cloned()
            .collect();
        if party.speaks.is_empty() && !after.is_empty() {
            return Ok(AccessDecision::Wait(after));
        }
        if K::ACCESS == Access::Write {
            self.poisoned = None;
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.open.push(Open {
            number,
            party: party.name.clone(),
            access: K::ACCESS,
            after: after.clone(),
            away: false,
        });
        let turn = AccessToken {
            ledger: self.number,
            number,
            kind: PhantomData,
        };
        Ok(AccessDecision::Now(turn, after))
    }

    fn refusal(&self, holder: &Open<M>, party: &Accessor, access: Access) -> AccessTrackerError {
        let (buffer, held, next) = (
            self.buffer.clone(),
            holder.party.clone(),
            party.name.clone(),
        );
        match (holder.away, holder.access, access) {
            (true, _, access) => AccessTrackerError::Away {
                buffer,
                peer: held,
                next,
                access,
            },
            (false, Access::Write, Access::Write) => AccessTrackerError::TwoWriters {
                buffer,
                writer: held,
                next,
            },
            (false, Access::Write, Access::Read) => AccessTrackerError::ReadBeforeFence {
                buffer,
                writer: held,
                reader: next,
            },
            (false, Access::Read, _) => AccessTrackerError::WriteBeforeRelease {
                buffer,
                reader: held,
                writer: next,
            },
        }
    }

    /// Ends a turn: its party is done behind a moment, or already (`None`).
    ///
    /// # Errors
    /// [`AccessTrackerError::DidNotWait`], when the party is done and another, for whom it had to wait, is not; the turn is over all the
    /// same, and the next party waits for both. [`AccessTrackerError::NoSuchTurn`].
    #[allow(clippy::needless_pass_by_value, reason = "a turn ends once")]
    pub fn end<K: Kind>(
        &mut self,
        turn: AccessToken<K>,
        behind: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let open = self.take(turn.ledger, turn.number)?;
        self.close(open, behind)
    }

    /// Notes that the party is in another process, which has the buffer from now on.
    ///
    /// `back` is the moment that brings it back, where it is agreed on: a release point. Without one the buffer is away until
    /// [`AccessTracker::returned`] or [`AccessTracker::lost`].
    ///
    /// # Errors
    /// [`AccessTrackerError::NoSuchTurn`]; as [`AccessTracker::end`].
    #[allow(clippy::needless_pass_by_value, reason = "a turn ends once")]
    pub fn transfer_out<K: Kind>(
        &mut self,
        turn: AccessToken<K>,
        back: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let mut open = self.take(turn.ledger, turn.number)?;
        open.away = true;
        if back.is_some() {
            return self.close(open, back);
        }
        self.open.push(open);
        Ok(())
    }

    /// Ends all turns of a party that was away: it has given the buffer back, and is done behind a moment, or already.
    ///
    /// # Errors
    /// [`AccessTrackerError::NotAway`]; as [`AccessTracker::end`].
    pub fn returned(
        &mut self,
        party: &Accessor,
        behind: Option<M>,
    ) -> Result<(), AccessTrackerError> {
        let (back, stay) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.away && open.party == party.name);
        self.open = stay;
        let back: Vec<Open<M>> = back;
        if back.is_empty() {
            return Err(AccessTrackerError::NotAway {
                buffer: self.buffer.clone(),
                peer: party.name.clone(),
            });
        }
        back.into_iter()
            .map(|open| self.close(open, behind.clone()))
            .fold(Ok(()), Result::and)
    }

    /// Gives up a party that is gone: its process was killed, or its device left. Its turns end, and what it has promised by a
    /// release point is not waited for any more. What its devices still do goes on until `behind`: the fence that the dma-buf
    /// carries. What it was writing is poisoned.
    pub fn lost(&mut self, party: &Accessor, behind: Option<&M>) {
        let mut accesses = Vec::new();
        self.open.retain(|open| {
            let theirs = open.party == party.name;
            if theirs {
                accesses.push(open.access);
            }
            !theirs
        });
        self.past.retain(|past| {
            let theirs =
                past.away && past.party == party.name && past.moment.state() == FenceState::Pending;
            if theirs {
                accesses.push(past.access);
            }
            !theirs
        });
        if accesses.contains(&Access::Write) {
            self.poisoned = Some(party.name.clone());
        }
        for access in accesses {
            self.past.extend(behind.map(|moment| PriorAccess {
                party: party.name.clone(),
                access,
                moment: moment.clone(),
                away: false,
            }));
        }
    }

    /// Who has the buffer.
    pub fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        self.open.iter().map(|open| Holder {
            party: &open.party,
            access: open.access,
            away: open.away,
        })
    }

    /// How many moments are kept.
    #[must_use]
    pub fn device_sync(&self) -> usize {
        self.past.len()
    }

    fn take(&mut self, ledger: u64, number: u64) -> Result<Open<M>, AccessTrackerError> {
        let place = self
            .open
            .iter()
            .position(|open| ledger == self.number && open.number == number && !open.away);
        place
            .map(|place| self.open.remove(place))
            .ok_or_else(|| AccessTrackerError::NoSuchTurn {
                buffer: self.buffer.clone(),
            })
    }

    fn close(&mut self, open: Open<M>, behind: Option<M>) -> Result<(), AccessTrackerError> {
        // Asked before the others: who waits is over after them, so that no order of these questions makes a false alarm. Of a
        // reader that had nobody to wait for nothing hangs on the answer, which costs a call of the kernel.
        let counts = open.access == Access::Write || !open.after.is_empty();
        let state = match &behind {
            None => FenceState::Over,
            Some(moment) if counts => moment.state(),
            Some(_) => FenceState::Pending,
        };
        let unfinished = open
            .after
            .iter()
            .find(|past| past.moment.state() == FenceState::Pending);
        let result = match unfinished {
            Some(other) if state == FenceState::Over => Err(AccessTrackerError::DidNotWait {
                buffer: self.buffer.clone(),
                party: open.party.clone(),
                other: other.party.clone(),
            }),
            _ => Ok(()),
        };
        if open.access == Access::Write && result.is_ok() && state != FenceState::Failed {
            // It is over after them, so who waits for it waits for them. A failure may be over before.
            self.past.clear();
        }
        self.past.extend(behind.map(|moment| PriorAccess {
            party: open.party,
            access: open.access,
            moment,
            away: open.away,
        }));
        result
    }

    /// Forgets what is over.
    fn settle(&mut self) {
        let poisoned = &mut self.poisoned;
        self.past.retain(|past| match past.moment.state() {
            FenceState::Pending => true,
            FenceState::Over => false,
            FenceState::Failed => {
                if past.access == Access::Write {
                    *poisoned = Some(past.party.clone());
                }
                false
            }
        });
    }
}
