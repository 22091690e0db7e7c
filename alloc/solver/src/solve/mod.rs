//! From declarations to a plan, or to the split that copies least and the reason for it.
//!
//! The solver is pure and deterministic: the same request gives the same solution on any machine.
//!
//! # Which plan is chosen
//!
//! Every source is tried, those on the participants' own devices and neutral ones, with every format and every combination of the
//! participants' alternatives (the 256 best, where there are more). Among all that work, the first by this total order, where
//! each line decides only between those that are equal in all lines above:
//!
//! 1. guaranteed before possible, and fewer caveats before more;
//! 2. earlier alternatives of the participants, all in all;
//! 3. the format that the request prefers;
//! 4. a source that more of the participants with such a wish prefer;
//! 5. fewer importers: a participant on the source's own device imports nothing foreign;
//! 6. a participant's own device before memory of a third;
//! 7. where the processor reads or writes every frame, memory that it reads through its cache;
//! 8. cheaper memory: pages, then a reserved region, then a queue's own buffers;
//! 9. memory that is not protected;
//! 10. a display's memory before that of other devices;
//! 11. a device's own arrangement before rows where the processor never touches the pixels, rows first where it does, and
//!     an arrangement that nobody tells last;
//! 12. the order of formats in this crate's table;
//! 13. fewer dma-bufs a buffer, then fewer bytes;
//! 14. the source's identifier.
//!
//! # Where it copies
//!
//! Where no buffer serves all, participants are divided into groups that share, so that the fewest bytes are copied; then the
//! fewest groups, then the fewest caveats. A copied picture is in the format of its group that has the fewest bytes, but loses
//! its colours only where all do. With more than 8 participants groups are filled one after another instead.
//!
//! Where participants have alternatives each question is asked of their combinations, and the search for a conflict ends after
//! 8192 sweeps over all sources. The demands that are told then conflict all the same, but perhaps fewer of them do, and
//! there may be nothing known to give up; [`Split::is_cut_short`] says so.
//!
//! # How much work that is
//!
//! The solver does bounded work, whatever the request. It takes at most [`BUDGET`] steps, of some ten instructions each, which are
//! counted and never timed: so the same request has the same answer on every machine. Each part of the work has a share of
//! them: reading the request, the search for a buffer that serves all, groups, their plans, the conflict, and what to give up. A
//! part that leaves some of its share leaves it to those behind it, and a part whose share is spent ends with what was found by then, and the answer says what was left out, in words and as data:
//! [`Plan::left_out`], [`Split::left_out`] and [`Candidates::left_out`].
//!
//! - A plan that was found is one that works, as sure as its verdict says; where there may be a better one, that is said.
//! - Where nothing was found, and that nothing serves is not known, the answer is a split that is [undecided](Split::is_undecided), and
//!   the verdict is [`Verdict::Undecided`]. So it is too where only the best of the combinations of alternatives were tried,
//!   unless the demands that conflict do so by every combination.
//! - A group for which no plan was looked for or found in time says so itself ([`Group::is_undecided`]).
//!
//! A request with more than [`Request::MAXIMUM_PARTICIPANTS`] participants, [`Request::MAXIMUM_SOURCES`] sources or
//! [`Request::MAXIMUM_EXTENTS`] sizes is not tried at all, nor is one whose lists are so long that reading them takes the share of that. The
//! lists themselves have no limit but this.
//!
//! What is said is bounded too: 256 combinations of alternatives, 4,096 hand-overs, 16 names in a sentence, and
//! [`EXPLANATION_LINES`] lines of explanation. [`Solution::explain_all`] says all that is known.
//!
//! The conflict is the smallest there is where that has up to three demands, and otherwise irreducible. What to give up is as
//! few as one or two demands where these are enough, and of these the cheapest, in the order of
//! [`Field::ALL`](crate::constraint::Field::ALL).

mod bits;
mod bounded_text;
mod candidate_search;
mod candidates;
mod caveat;
mod combinations;
mod conflict;
mod demands;
mod divide;
mod explain;
mod explanation_text;
mod feasibility;
mod fields;
mod fit;
mod hitting_set;
mod layout;
mod layout_candidate;
mod layout_choice;
mod memo;
mod memory;
mod memory_requirements;
mod merged;
mod names;
mod necessary;
mod no_plan;
mod outcome;
mod pairs;
mod participant_reader;
mod plan;
mod plan_builder;
mod prepared_participant;
mod problem;
mod rank;
mod rejection;
mod request;
mod search;
mod source_evaluation;
mod split;
mod stride;
mod visit;
mod work;

pub use candidates::{Candidate, Candidates};
pub use explanation_text::{EXPLANATION_BYTES, EXPLANATION_LINES};
pub use no_plan::NoPlan;
pub use plan::{Action, Handover, Plan, PlanError, Rejection, Step, Verdict};
pub use request::{Request, RequestError};
pub use split::{Copier, FrameCopy, Group, Split};
pub use work::{BUDGET, LeftOut, Part};

use problem::{Problem, View};
use work::{Phase, Work};

/// What the solver found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and callers take the plan out of it"
)]
pub enum Solution {
    /// One buffer serves all.
    Share(Plan),
    /// No buffer serves all: where to copy, and why.
    Split(Split),
}

impl Solution {
    /// Returns how sure it is that one buffer serves all.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Share(plan) => plan.verdict(),
            Self::Split(split) if split.is_undecided() => Verdict::Undecided,
            Self::Split(_) => Verdict::Impossible,
        }
    }

    /// Returns what the solver did not look at or does not tell of: empty but for requests that ask for more than [`BUDGET`]
    /// or one of the limits allows.
    pub fn left_out(&self) -> &[LeftOut] {
        match self {
            Self::Share(plan) => plan.left_out(),
            Self::Split(split) => split.left_out(),
        }
    }
}

/// Finds a buffer that serves all participants, or the way round that copies the fewest bytes.
pub fn solve(request: &Request) -> Solution {
    solve_within(request, BUDGET).0
}

/// Does what [`solve`] does with another budget of steps, and returns how many steps were taken.
///
/// Each part of the work has a share of the budget, and ends when it is spent: what was found by then is the answer. A piece of
/// work that was begun is ended, so a small budget is passed by a little; [`BUDGET`] never is.
pub fn solve_within(request: &Request, budget: u64) -> (Solution, u64) {
    let problem = match Problem::new(request, Work::new(budget)) {
        Ok(problem) => problem,
        Err((left_out, spent)) => {
            return (Solution::Split(Split::untried(request, left_out)), spent);
        }
    };
    let everyone = problem.all_participants();
    problem.work.begin(Phase::Share);
    let solution = match search::best(&problem, View::sharing(&everyone), false) {
        Ok(plan) => Solution::Share(plan),
        Err(rejections) => Solution::Split(split::split(&problem, rejections)),
    };
    (solution, problem.work.spent())
}

/// Returns every source and format in which one buffer serves all participants, in order, and how sure that is.
///
/// [`solve`] takes the best of them; what is not among them is impossible, unless something was [left out](Candidates::left_out).
pub fn candidates(request: &Request) -> Candidates {
    let problem = match Problem::new(request, Work::new(BUDGET)) {
        Ok(problem) => problem,
        Err((left_out, _)) => return Candidates::new(Vec::new(), Some(left_out)),
    };
    let everyone = problem.all_participants();
    problem.work.begin(Phase::Share);
    let (candidates, left_out) = search::candidates(&problem, View::sharing(&everyone));
    Candidates::new(candidates, left_out)
}
