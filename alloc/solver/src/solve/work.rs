//! The budget of steps for one request, and the parts of the work that are left out if the budget is not enough.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;

use super::request::Request;

/// The most steps that [`solve`](super::solve) takes for one request.
///
/// A step is about ten instructions, such as looking at one participant or at a few words of a set. Steps are counted rather than
/// timed, so the same request has the same solution on every machine, however busy the machine is.
pub const BUDGET: u64 = 100_000_000;

impl Request {
    /// The most participants of a request that is solved.
    pub const MAXIMUM_PARTICIPANTS: usize = 4096;
    /// The most sources of a request that is solved.
    pub const MAXIMUM_SOURCES: usize = 1024;
    /// The most sizes of a request that is solved, including the first one.
    pub const MAXIMUM_EXTENTS: usize = 64;
}

/// The reason for what is left out because a share of the budget is spent.
pub(super) const MORE_WORK: &str = "the limit of work for one request was reached";

/// The phases of the work, each of which has a share of the budget.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Preparing the request.
    Read,
    /// The search for a buffer that serves all participants.
    Share,
    /// The division into groups.
    Divide,
    /// The groups' plans.
    Plans,
    /// The search for the demands that conflict.
    Conflict,
    /// The search for the demands to give up.
    Relaxation,
}

impl Phase {
    /// Returns this phase's share of the budget, in hundredths. The shares of all phases sum to 90. The other 10 hundredths are
    /// for pieces of work that are completed after a phase has spent its share.
    const fn share(self) -> u64 {
        match self {
            Self::Share => 20,
            Self::Read | Self::Divide | Self::Conflict => 15,
            Self::Relaxation => 17,
            Self::Plans => 8,
        }
    }
}

/// Counts steps.
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

    /// Begins a phase, which may also use what earlier phases left of their shares.
    pub(super) fn begin(&self, phase: Phase) {
        let share = phase.share().saturating_mul(self.budget).div_euclid(100);
        let begin = self.until.get().max(self.spent.get());
        self.until.set(begin.saturating_add(share));
    }

    /// Gives one piece of this phase an equal part of the steps that the phase has left, where `pieces` pieces are still to be
    /// done. Returns the number of steps at which the share of the phase ends.
    pub(super) fn begin_piece(&self, pieces: usize) -> u64 {
        let until = self.until.get();
        let left = until.saturating_sub(self.spent.get());
        let own = left.div_euclid(u64::try_from(pieces).unwrap_or(u64::MAX).max(1));
        self.until.set(self.spent.get().saturating_add(own));
        until
    }

    /// Ends a piece; `until` is what [`Work::begin_piece`] returned.
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

    /// Returns how many steps were taken in all.
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }
}

/// Something that the solver did not do, because the request needs more work than the budget allows or exceeds a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// The part of the work.
    pub part: Part,
    /// What was left out, and what that means for the solution.
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
    /// The whole request: it exceeds a limit, and nothing was tried.
    Request,
    /// Combinations of the participants' alternatives.
    Alternatives,
    /// Sources and formats.
    Candidates,
    /// The division into groups if no buffer serves all participants.
    Groups,
    /// The plans of groups.
    Plans,
    /// The reasons that other sources were rejected.
    Rejections,
    /// The list of hand-overs.
    Handovers,
    /// The demands that conflict.
    Conflict,
    /// The demands to give up.
    Relaxation,
}
