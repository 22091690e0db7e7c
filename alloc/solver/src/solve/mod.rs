//! Finds a plan for a request, or the split that copies the fewest bytes and the reason for it. A source serves participants if
//! it can allocate a buffer that meets the demands of all of them.
//!
//! The solver is pure and deterministic: the same request has the same solution on any machine.
//!
//! # Which plan is chosen
//!
//! The solver tries every source with every format and every combination of the participants' alternatives, or the 256 most
//! preferred combinations if there are more. It chooses the first candidate in the following order. Each line decides only
//! between candidates that are equal in all lines above it:
//!
//! 1. guaranteed before possible, and fewer caveats before more;
//! 2. earlier alternatives: the lower sum of the alternatives' indices;
//! 3. the format that the request prefers;
//! 4. a source that more participants prefer, of those that have a preference;
//! 5. if the CPU reads or writes every frame, no memory that is mapped uncached;
//! 6. fewer bytes that devices copy for themselves of each frame ([`Constraints::internal_copies`]);
//! 7. fewer importers (a participant on the source's own device does not import);
//! 8. a source on a participant's own device before other sources;
//! 9. if the CPU reads or writes every frame, memory that is known to be mapped cached;
//! 10. memory of lower cost: system pages, then a reserved region, then a queue's own buffers;
//! 11. memory that is not protected;
//! 12. a display's memory before that of other devices;
//! 13. a driver's tiling before linear rows, and an implicit modifier last;
//! 14. formats that keep colours, and that keep the chroma that all of the producer's formats have (if no camera or decoder
//!     writes, all chroma);
//! 15. the depth of a colour channel, in the order in which this crate's table of formats has the depths: eight bits before
//!     others;
//! 16. fewer bytes a frame, without padding; for buffers between which frames are copied this does not count;
//! 17. the order of formats in this crate's table;
//! 18. fewer dma-bufs a buffer, then fewer bytes;
//! 19. the source's identifier.
//!
//! [`Constraints::internal_copies`]: crate::constraint::Constraints::internal_copies
//!
//! If the CPU accesses the pixels, all layouts are linear.
//!
//! # Memory of a limited size
//!
//! The buffers of a plan take memory of the pools that its source names. If the buffers need more than the capacity of a source's
//! pool, the source is rejected. If they need more than the memory that was free when the pool was queried, the source has a
//! caveat that states the time of the query. The groups of a split share the pools, and so do jobs that [`solve_together`]
//! solves. If the memory of a source is not sufficient for any format that all participants accept, the source is never proposed
//! for another format.
//!
//! # Where frames are copied
//!
//! If no buffer serves all participants, they are divided into groups that share. The division is the one whose copies lose the
//! least of the frames' colours. Of equal divisions, it is the one that copies the fewest bytes, including the bytes that devices
//! copy for themselves; then the one in which the most displays show the producer's buffers, then the one with the fewest groups,
//! and then the one with the fewest caveats. A group's frames are copied in the format of the group that loses the least of the
//! producer's colours. These are the bits of a channel in the producer's deepest format, then the chroma samples and the alpha
//! that all of the producer's formats have. Of equal formats, it is the one with the fewest bytes. With more than 8 participants,
//! groups are filled one after another instead, the producer's group with displays first.
//!
//! Nothing is copied out of memory that the CPU cannot map, nor out of pixels whose layout only devices know. If the producer has
//! no other buffers, there are no copies, and the participants are only divided into groups that can share a buffer.
//!
//! Each copy is made by the CPU or by one of the request's devices, whichever is cheaper. A device is considered only if it reads
//! every tiling of the producer's buffers and writes every tiling of the group's buffers.
//!
//! If participants have alternatives, each feasibility check searches all of their combinations, and the search for a conflict
//! ends after 8192 searches over all sources. The reported demands still conflict, but a smaller set of them may conflict too,
//! and it may be unknown which demands to give up. [`Split::is_cut_short`] reports this.
//!
//! # How much work the solver does
//!
//! The solver's work is bounded for every request. It takes at most [`BUDGET`] steps of about ten instructions each. Steps are
//! counted rather than timed, so the same request has the same solution on every machine. Each phase of the work has a share of
//! the budget: reading the request, the search for a buffer that serves all, the division into groups, the groups' plans, the
//! conflict, and what to give up. The unused part of a phase's share is added to the share of the next phase. A phase whose share
//! is spent ends with the results that it has found until then. The solution then states what was left out, as text and as data:
//! [`Plan::left_out`], [`Split::left_out`] and [`Candidates::left_out`].
//!
//! - A plan that was found is valid, as its verdict says. If there may be a better one, `left_out` says so.
//! - If nothing was found, and it is not certain that no source serves all, the solution is a split that is
//!   [undecided](Split::is_undecided), and the verdict is [`Verdict::Undecided`]. The same holds if not all combinations of
//!   alternatives were tried, unless the demands conflict in every combination.
//! - A group for which the search was cut short before it found a plan is marked by [`Group::is_undecided`].
//!
//! A request with more than [`Request::MAXIMUM_PARTICIPANTS`] participants, [`Request::MAXIMUM_SOURCES`] sources or
//! [`Request::MAXIMUM_EXTENTS`] sizes is not solved, nor is one whose lists are so long that reading them takes more than its
//! share. The lists themselves have no other limit.
//!
//! The output is bounded too: 256 combinations of alternatives, 4,096 hand-overs, 16 names in a sentence, and
//! [`EXPLANATION_LINES`] lines of explanation. [`Solution::explain_all`] has no such bound.
//!
//! If a conflict with at most three demands exists, the reported conflict is a smallest one; otherwise it is irreducible. If
//! giving up one or two demands is sufficient, the cheapest ones in the order of [`Field::ALL`](crate::constraint::Field::ALL)
//! are reported.

mod bits;
mod bounded_text;
mod candidate_search;
mod candidates;
mod caveat;
mod coded;
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
mod internal_copies;
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
mod pictures;
mod plan;
mod plan_builder;
mod pools;
mod prepared_participant;
mod problem;
mod rank;
mod rejection;
mod request;
mod search;
mod source_evaluation;
mod split;
mod stride;
mod together;
mod visit;
mod work;

pub use candidates::{Candidate, Candidates};
pub use explanation_text::{EXPLANATION_BYTES, EXPLANATION_LINES};
pub use internal_copies::DeviceCopy;
pub use no_plan::NoPlan;
pub use plan::{Action, Handover, Plan, PlanError, Rejection, Step, Verdict};
pub use pools::PoolUse;
pub use request::{Request, RequestError};
pub use split::{Copier, FrameCopy, Group, GroupCopier, Split};
pub use together::{JobSolution, JointSolution, solve_together};
pub use work::{BUDGET, LeftOut, Part};

use outcome::SearchRejections;
use pools::TakenBytes;
use problem::{Problem, View};
use work::{Phase, Work};

/// The result of the solver.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "a program has one solution at a time, and moves the plan out of it"
)]
pub enum Solution {
    /// One buffer serves all participants.
    Share(Plan),
    /// No buffer serves all participants. The split states where frames are copied, and why.
    Split(Split),
}

impl Solution {
    /// Returns how certain it is that one buffer serves all participants.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Share(plan) => plan.verdict(),
            Self::Split(split) if split.is_undecided() => Verdict::Undecided,
            Self::Split(_) => Verdict::Impossible,
        }
    }

    /// Returns what the solver did not try or does not list. The list is empty unless the request exceeds [`BUDGET`] or another
    /// limit.
    pub fn left_out(&self) -> &[LeftOut] {
        match self {
            Self::Share(plan) => plan.left_out(),
            Self::Split(split) => split.left_out(),
        }
    }
}

/// Finds a buffer that serves all participants, or the split that copies the fewest bytes.
pub fn solve(request: &Request) -> Solution {
    solve_within(request, BUDGET).0
}

/// Finds a buffer that serves all participants, like [`solve`], but searches for no split if there is none.
///
/// This takes a fraction of the work of [`solve`], which also searches for the split that copies the fewest bytes and for the
/// demands that conflict.
///
/// # Errors
/// The reason why each source is rejected, as in [`Split::rejections`]. The list is empty if the request exceeds a limit.
pub fn solve_shared(request: &Request) -> Result<Plan, Vec<Rejection>> {
    let problem =
        Problem::new(request, Work::new(BUDGET), &TakenBytes::new()).map_err(|_| Vec::new())?;
    share(&problem).map_err(|rejections| rejections.into_rejections(&problem))
}

/// Finds the best plan that serves all participants of a problem.
fn share(problem: &Problem<'_>) -> Result<Plan, SearchRejections> {
    let everyone = problem.all_participants();
    problem.work.begin(Phase::Share);
    search::best(problem, View::sharing(&everyone), false)
}

/// Solves a request as [`solve`] does, with another budget of steps. Also returns how many steps were taken.
///
/// A phase ends when its share of the budget is spent, and the solution contains what was found until then. A unit of work that
/// was begun is completed, so the number of steps can be slightly greater than a small budget. If the budget is [`BUDGET`], the
/// number of steps is never greater.
pub fn solve_within(request: &Request, budget: u64) -> (Solution, u64) {
    solve_within_taken(request, budget, &TakenBytes::new())
}

/// Solves a request with the memory that other jobs leave in its pools.
fn solve_beside(request: &Request, taken: &TakenBytes) -> Solution {
    solve_within_taken(request, BUDGET, taken).0
}

fn solve_within_taken(request: &Request, budget: u64, taken: &TakenBytes) -> (Solution, u64) {
    let problem = match Problem::new(request, Work::new(budget), taken) {
        Ok(problem) => problem,
        Err((left_out, spent)) => {
            return (Solution::Split(Split::untried(request, left_out)), spent);
        }
    };
    let solution = match share(&problem) {
        Ok(plan) => Solution::Share(plan),
        Err(rejections) => Solution::Split(split::split(&problem, rejections)),
    };
    (solution, problem.work.spent())
}

/// Lists the combinations of a source and a format with which one buffer serves all participants, sorted by source and format.
/// The [`Verdict`] of each combination states whether the source guarantees this.
///
/// [`solve`] chooses the best combination. A combination that is not listed is impossible, unless the search [left something
/// out](Candidates::left_out).
pub fn candidates(request: &Request) -> Candidates {
    let problem = match Problem::new(request, Work::new(BUDGET), &TakenBytes::new()) {
        Ok(problem) => problem,
        Err((left_out, _)) => return Candidates::new(Vec::new(), Some(left_out)),
    };
    let everyone = problem.all_participants();
    problem.work.begin(Phase::Share);
    let (candidates, left_out) = search::candidates(&problem, View::sharing(&everyone));
    Candidates::new(candidates, left_out)
}
