//! How much the solver does for one request, counted in steps, and what it leaves out where that is not enough.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;

use super::request::Request;

/// The steps that [`solve`](super::solve) takes at the most for one request.
///
/// A step is the work of some ten instructions: a participant that is looked at, a few words of a set. Steps are counted, never
/// timed, so the same request gives the same answer on every machine, however busy that is.
pub const BUDGET: u64 = 100_000_000;

impl Request {
    /// The most participants for which the solver looks for a buffer.
    pub const MAXIMUM_PARTICIPANTS: usize = 4096;
    /// The most sources among which it looks.
    pub const MAXIMUM_SOURCES: usize = 1024;
    /// The most sizes that buffers can have to hold, the first one included.
    pub const MAXIMUM_EXTENTS: usize = 64;
}

/// Why something is left out whose share is spent.
pub(super) const MORE_WORK: &str = "the request asks for more work than is done for one";

/// The parts of the work, each with a share of the budget.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Making the request ready.
    Read,
    /// The search for a buffer that serves all.
    Share,
    /// The search for groups that share.
    Divide,
    /// The groups' plans.
    Plans,
    /// The search for the demands that conflict.
    Conflict,
    /// The search for what to give up.
    Relaxation,
}

impl Phase {
    /// Hundredths of the budget. They sum to 90: the rest is for what is begun when a share ends.
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

    /// Begins a part of the work, which may have what those before it left of their shares too.
    pub(super) fn begin(&self, phase: Phase) {
        let share = phase.share().saturating_mul(self.budget).div_euclid(100);
        let begin = self.until.get().max(self.spent.get());
        self.until.set(begin.saturating_add(share));
    }

    /// Lets a piece of this part, of so many pieces that are left, have its part of what is left of the share, and returns where the
    /// share ends.
    pub(super) fn begin_piece(&self, pieces: usize) -> u64 {
        let until = self.until.get();
        let left = until.saturating_sub(self.spent.get());
        let own = left.div_euclid(u64::try_from(pieces).unwrap_or(u64::MAX).max(1));
        self.until.set(self.spent.get().saturating_add(own));
        until
    }

    /// Ends a piece, at what [`Work::begin_piece`] returned.
    pub(super) fn end_piece(&self, until: u64) {
        self.until.set(until);
    }

    /// Counts steps that are about to be taken.
    pub(super) fn charge(&self, steps: usize) {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.spent.set(self.spent.get().saturating_add(steps));
    }

    /// Returns whether this part of the work must end.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get() >= self.until.get()
    }

    /// Returns how many steps were taken in all.
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }
}

/// Something that the solver did not do, because a request asks for more work than its budget, or a search has a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Which part of the work.
    pub part: Part,
    /// What was left out and what that means for the answer.
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
    /// The request itself: it is too large, and nothing was tried.
    Request,
    /// Combinations of the participants' alternatives.
    Alternatives,
    /// Sources and formats.
    Candidates,
    /// Which participants share where no buffer serves all.
    Groups,
    /// The plans of groups.
    Plans,
    /// Why other sources were not taken.
    Rejections,
    /// How participants hand over.
    Handovers,
    /// Which demands conflict.
    Conflict,
    /// What to give up.
    Relaxation,
}
