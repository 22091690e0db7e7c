//! Who may touch a buffer now, and behind which moments.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Access, LedgerError};
use crate::constraint::{Participant, SyncLanguage};

/// How far a moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentState {
    /// The work goes on.
    Pending,
    /// The work is done.
    Over,
    /// The work has ended, and not well: what it was to write is undefined.
    Failed,
}

/// What a ledger asks of a moment. Once it is not pending, it never is again.
pub trait Moment: Clone {
    /// Asks, and never waits.
    fn state(&self) -> MomentState;
}

/// Who touches a buffer: a participant of the plan, here or in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    name: String,
    speaks: BTreeSet<SyncLanguage>,
}

impl Party {
    /// Names a party and the languages in which it is told what to wait for. With none, like a V4L2 queue or the processor, it
    /// gets the buffer only when there is nothing to wait for.
    pub fn new(name: impl Into<String>, speaks: impl IntoIterator<Item = SyncLanguage>) -> Self {
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
    pub fn speaks(&self) -> &BTreeSet<SyncLanguage> {
        &self.speaks
    }
}

impl From<&Participant> for Party {
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
pub struct Turn<K> {
    ledger: u64,
    number: u64,
    kind: PhantomData<K>,
}

/// Whose access is over, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past<M> {
    /// Who has had the buffer.
    pub party: String,
    /// For what.
    pub access: Access,
    /// Behind which moment it is done.
    pub moment: M,
    /// Whether it is in another process, which can be lost.
    away: bool,
}

/// The ledger's answer.
#[derive(Debug)]
#[must_use = "the buffer is not handed over before the answer is looked at"]
pub enum HandOver<K, M> {
    /// It is the next party's turn; the party itself waits for these moments, which it has to be told in its language.
    Now(Turn<K>, Vec<Past<M>>),
    /// The party cannot wait: poll these moments in the event loop, and ask again.
    Wait(Vec<Past<M>>),
}

/// A buffer's book: who has it, and which moments the next one has to wait for.
///
/// It orders accesses and does nothing else: no request, no wait.
///
/// ```
/// use covalent_alloc::constraint::SyncLanguage;
/// use covalent_alloc::sync::{HandOver, Ledger, LedgerError, Moment, MomentState, Party};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Fence(u32);
/// impl Moment for Fence {
///     fn state(&self) -> MomentState {
///         MomentState::Pending
///     }
/// }
///
/// let gpu = Party::new("gpu", [SyncLanguage::SyncFile]);
/// let display = Party::new("display", [SyncLanguage::SyncFile]);
/// let mut ledger = Ledger::new("frame 1");
/// let HandOver::Now(turn, after) = ledger.write(&gpu)? else { panic!("nobody has it") };
/// assert!(after.is_empty());
/// assert!(matches!(ledger.read(&display), Err(LedgerError::ReadBeforeFence { .. })));
/// ledger.end(turn, Some(Fence(7)))?;
/// let HandOver::Now(turn, after) = ledger.read(&display)? else { panic!("it waits itself") };
/// assert_eq!(after[0].moment, Fence(7));
/// # ledger.end(turn, None).unwrap_err();
/// # Ok::<(), LedgerError>(())
/// ```
#[derive(Debug)]
pub struct Ledger<M> {
    number: u64,
    buffer: String,
    open: Vec<Open<M>>,
    past: Vec<Past<M>>,
    spoilt: Option<String>,
    next: u64,
}

/// A turn that lasts.
#[derive(Debug)]
struct Open<M> {
    number: u64,
    party: String,
    access: Access,
    /// What it was told to wait for.
    after: Vec<Past<M>>,
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

impl<M: Moment> Ledger<M> {
    /// Opens the book of a buffer that nobody has. The name is for messages.
    pub fn new(buffer: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            buffer: buffer.into(),
            open: Vec::new(),
            past: Vec::new(),
            spoilt: None,
            next: 0,
        }
    }

    /// Hands the buffer to a party that reads: after the last writer.
    ///
    /// # Errors
    /// [`LedgerError::ReadBeforeFence`], [`LedgerError::Away`], [`LedgerError::Spoilt`].
    pub fn read(&mut self, party: &Party) -> Result<HandOver<Reading, M>, LedgerError> {
        self.settle();
        if let Some(writer) = &self.spoilt {
            return Err(LedgerError::Spoilt {
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
    /// [`LedgerError::TwoWriters`], [`LedgerError::WriteBeforeRelease`], [`LedgerError::Away`].
    pub fn write(&mut self, party: &Party) -> Result<HandOver<Writing, M>, LedgerError> {
        self.settle();
        self.hand_over(party)
    }

    fn hand_over<K: Kind>(&mut self, party: &Party) -> Result<HandOver<K, M>, LedgerError> {
        let conflicts = |access| K::ACCESS == Access::Write || access == Access::Write;
        if let Some(holder) = self.open.iter().find(|open| conflicts(open.access)) {
            return Err(self.refusal(holder, party, K::ACCESS));
        }
        let after: Vec<Past<M>> = self
            .past
            .iter()
            .filter(|past| conflicts(past.access))
            .cloned()
            .collect();
        if party.speaks.is_empty() && !after.is_empty() {
            return Ok(HandOver::Wait(after));
        }
        if K::ACCESS == Access::Write {
            self.spoilt = None;
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
        let turn = Turn {
            ledger: self.number,
            number,
            kind: PhantomData,
        };
        Ok(HandOver::Now(turn, after))
    }

    fn refusal(&self, holder: &Open<M>, party: &Party, access: Access) -> LedgerError {
        let (buffer, held, next) = (
            self.buffer.clone(),
            holder.party.clone(),
            party.name.clone(),
        );
        match (holder.away, holder.access, access) {
            (true, _, access) => LedgerError::Away {
                buffer,
                peer: held,
                next,
                access,
            },
            (false, Access::Write, Access::Write) => LedgerError::TwoWriters {
                buffer,
                writer: held,
                next,
            },
            (false, Access::Write, Access::Read) => LedgerError::ReadBeforeFence {
                buffer,
                writer: held,
                reader: next,
            },
            (false, Access::Read, _) => LedgerError::WriteBeforeRelease {
                buffer,
                reader: held,
                writer: next,
            },
        }
    }

    /// Ends a turn: its party is done behind a moment, or already (`None`).
    ///
    /// # Errors
    /// [`LedgerError::DidNotWait`], when the party is done and another, for whom it had to wait, is not; the turn is over all the
    /// same, and the next party waits for both. [`LedgerError::NoSuchTurn`].
    #[allow(clippy::needless_pass_by_value, reason = "a turn ends once")]
    pub fn end<K: Kind>(&mut self, turn: Turn<K>, behind: Option<M>) -> Result<(), LedgerError> {
        let open = self.take(turn.ledger, turn.number)?;
        self.close(open, behind)
    }

    /// Notes that the party is in another process, which has the buffer from now on.
    ///
    /// `back` is the moment that brings it back, where it is agreed on: a release point. Without one the buffer is away until
    /// [`Ledger::returned`] or [`Ledger::lost`].
    ///
    /// # Errors
    /// [`LedgerError::NoSuchTurn`]; as [`Ledger::end`].
    #[allow(clippy::needless_pass_by_value, reason = "a turn ends once")]
    pub fn send_away<K: Kind>(
        &mut self,
        turn: Turn<K>,
        back: Option<M>,
    ) -> Result<(), LedgerError> {
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
    /// [`LedgerError::NotAway`]; as [`Ledger::end`].
    pub fn returned(&mut self, party: &Party, behind: Option<M>) -> Result<(), LedgerError> {
        let (back, stay) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.away && open.party == party.name);
        self.open = stay;
        let back: Vec<Open<M>> = back;
        if back.is_empty() {
            return Err(LedgerError::NotAway {
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
    /// carries. What it was writing is spoilt.
    pub fn lost(&mut self, party: &Party, behind: Option<&M>) {
        let mut accesses = Vec::new();
        self.open.retain(|open| {
            let theirs = open.party == party.name;
            if theirs {
                accesses.push(open.access);
            }
            !theirs
        });
        self.past.retain(|past| {
            let theirs = past.away
                && past.party == party.name
                && past.moment.state() == MomentState::Pending;
            if theirs {
                accesses.push(past.access);
            }
            !theirs
        });
        if accesses.contains(&Access::Write) {
            self.spoilt = Some(party.name.clone());
        }
        for access in accesses {
            self.past.extend(behind.map(|moment| Past {
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
    pub fn moments(&self) -> usize {
        self.past.len()
    }

    fn take(&mut self, ledger: u64, number: u64) -> Result<Open<M>, LedgerError> {
        let place = self
            .open
            .iter()
            .position(|open| ledger == self.number && open.number == number && !open.away);
        place
            .map(|place| self.open.remove(place))
            .ok_or_else(|| LedgerError::NoSuchTurn {
                buffer: self.buffer.clone(),
            })
    }

    fn close(&mut self, open: Open<M>, behind: Option<M>) -> Result<(), LedgerError> {
        // Asked before the others: who waits is over after them, so that no order of these questions makes a false alarm. Of a
        // reader that had nobody to wait for nothing hangs on the answer, which costs a call of the kernel.
        let counts = open.access == Access::Write || !open.after.is_empty();
        let state = match &behind {
            None => MomentState::Over,
            Some(moment) if counts => moment.state(),
            Some(_) => MomentState::Pending,
        };
        let unfinished = open
            .after
            .iter()
            .find(|past| past.moment.state() == MomentState::Pending);
        let result = match unfinished {
            Some(other) if state == MomentState::Over => Err(LedgerError::DidNotWait {
                buffer: self.buffer.clone(),
                party: open.party.clone(),
                other: other.party.clone(),
            }),
            _ => Ok(()),
        };
        if open.access == Access::Write && result.is_ok() && state != MomentState::Failed {
            // It is over after them, so who waits for it waits for them. A failure may be over before.
            self.past.clear();
        }
        self.past.extend(behind.map(|moment| Past {
            party: open.party,
            access: open.access,
            moment,
            away: open.away,
        }));
        result
    }

    /// Forgets what is over.
    fn settle(&mut self) {
        let spoilt = &mut self.spoilt;
        self.past.retain(|past| match past.moment.state() {
            MomentState::Pending => true,
            MomentState::Over => false,
            MomentState::Failed => {
                if past.access == Access::Write {
                    *spoilt = Some(past.party.clone());
                }
                false
            }
        });
    }
}
