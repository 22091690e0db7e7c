//! The budget of steps for one request, and the descriptions of work that is left out if the budget is not sufficient.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;

use super::request::Request;

/// The maximum number of steps that [`solve`](super::solve) takes for one request.
///
/// A step is about ten instructions, such as checking one participant or a few words of a set. Steps are counted rather than
/// timed, so the same request has the same solution on every machine, however busy the machine is.
pub const BUDGET: u64 = 100_000_000;

impl Request {
    /// The maximum number of participants that a request may have to be solved.
    pub const MAXIMUM_PARTICIPANTS: usize = 4096;
    /// The maximum number of sources that a request may have to be solved.
    pub const MAXIMUM_SOURCES: usize = 1024;
    /// The maximum number of sizes that a request may have to be solved, including the first one.
    pub const MAXIMUM_EXTENTS: usize = 64;
}

/// The beginning of a text about work that was left out because a share of the budget was spent.
pub(super) const MORE_WORK: &str = "the limit of work for one request was reached";

/// The phases of the work. Each phase has a share of the budget.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Preparing the request.
    Read,
    /// The search for a buffer that serves all participants.
    Share,
    /// The division of the participants into groups.
    Divide,
    /// The search for a plan of each group.
    Plans,
    /// The search for the demands that conflict.
    Conflict,
    /// The search for the demands to give up.
    Relaxation,
}

impl Phase {
    /// Returns this phase's share of the budget, in hundredths. The shares of all phases sum to 90. The other 10 hundredths are
    /// for units of work that are completed after a phase has spent its share.
    const fn share(self) -> u64 {
        match self {
            Self::Share => 20,
            Self::Read | Self::Divide | Self::Conflict => 15,
            Self::Relaxation => 17,
            Self::Plans => 8,
        }
    }
}

/// The counter of the steps that were taken, with the limit of the current phase.
#[derive(Debug)]
pub(super) struct Work {
    budget: u64,
    spent: Cell<u64>,
    until: Cell<u64>,
}

impl Work {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            spent: Cell::new(0),
            until: Cell::new(0),
        }
    }

    /// Begins a phase. It may also use the steps that earlier phases have left of their shares.
    pub(super) fn begin(&self, phase: Phase) {
        let share = phase.share().saturating_mul(self.budget).div_euclid(100);
        let begin = self.until.get().max(self.spent.get());
        self.until.set(begin.saturating_add(share));
    }

    /// Begins a unit of work in this phase and limits its steps. If `pieces` units are still to be done, it gets an equal part of
    /// the steps that the phase has left. Returns the number of steps at which the phase's share ends, for [`Work::end_piece`].
    pub(super) fn begin_piece(&self, pieces: usize) -> u64 {
        let until = self.until.get();
        let left = until.saturating_sub(self.spent.get());
        let own = left.div_euclid(u64::try_from(pieces).unwrap_or(u64::MAX).max(1));
        self.until.set(self.spent.get().saturating_add(own));
        until
    }

    /// Ends a unit of work. `until` is the number that [`Work::begin_piece`] returned.
    pub(super) fn end_piece(&self, until: u64) {
        self.until.set(until);
    }

    /// Counts steps that are about to be taken.
    pub(super) fn charge(&self, steps: usize) {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.spent.set(self.spent.get().saturating_add(steps));
    }

    /// Returns whether this phase's share is spent.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get() >= self.until.get()
    }

    /// Returns the number of steps that were taken in all phases.
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }
}

/// Work that the solver did not do, because the request needs more steps than the budget has or exceeds a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// The part of the solver's work.
    pub part: Part,
    /// A description of what was left out, and what that means for the solution.
    pub words: String,
}

impl LeftOut {
    pub(super) fn new(part: Part, words: impl Into<String>) -> Self {
        Self {
            part,
            words: words.into(),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// A part of the solver's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// The complete request. It exceeds a limit, and nothing was tried.
    Request,
    /// Trying combinations of the participants' alternatives.
    Alternatives,
    /// Trying sources and formats.
    Candidates,
    /// Dividing the participants into groups, if no buffer serves all of them.
    Groups,
    /// Making the plans of groups.
    Plans,
    /// Listing the reasons why other sources were rejected.
    Rejections,
    /// Listing hand-overs between writers and readers.
    Handovers,
    /// Searching for the demands that conflict.
    Conflict,
    /// Searching for the demands to give up.
    Relaxation,
}
