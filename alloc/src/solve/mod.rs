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
//! 1. guaranteed before possible, and fewer doubts before more;
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
//! fewest groups, then the fewest doubts. A copied picture is in the format of its group that has the fewest bytes, but loses
//! its colours only where all do. With more than 8 participants groups are filled one after another instead.
//!
//! Where participants have alternatives each question is asked of their combinations, and the search for a conflict ends after
//! 8192 sweeps over all sources. The demands that are told then conflict all the same, but perhaps fewer of them do, and
//! there may be nothing known to give up; [`Split::is_cut_short`] says so.
//!
//! The conflict is the smallest there is where that has up to three demands, and otherwise irreducible. What to give up is as
//! few as one or two demands where these are enough, and of these the cheapest, in the order of
//! [`Field::ALL`](crate::constraint::Field::ALL).

#![forbid(unsafe_code)]

mod bits;
mod candidate;
mod conflict;
mod doubt;
mod draft;
mod explain;
mod failure;
mod fit;
mod known;
mod layout;
mod memory;
mod pairs;
mod plan;
mod problem;
mod rank;
mod request;
mod split;
mod standing;
mod sweep;

pub use plan::{Action, Handover, Plan, PlanError, Rejection, Step, Verdict};
pub use request::{Request, RequestError};
pub use split::{Copier, FrameCopy, Group, Split};

use crate::constraint::SourceId;
use crate::model::FormatModifier;
use problem::{Problem, View};

/// What the solver found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
            Self::Split(_) => Verdict::Impossible,
        }
    }

    /// Says in words what was found and why.
    pub fn explain(&self) -> String {
        match self {
            Self::Share(plan) => plan.explain(),
            Self::Split(split) => split.explain(),
        }
    }
}

/// Finds a buffer that serves all participants, or the way round that copies the fewest bytes.
pub fn solve(request: &Request) -> Solution {
    let problem = Problem::new(request);
    let everybody = problem.everybody();
    match candidate::best(&problem, View::sharing(&everybody), false) {
        Ok(plan) => Solution::Share(plan),
        Err(fallen) => Solution::Split(split::split(&problem, fallen.rejections(&problem))),
    }
}

/// Returns every source and format in which one buffer serves all participants, in order, and how sure that is.
///
/// [`solve`] takes the best of them; what is not among them is impossible.
pub fn ways(request: &Request) -> Vec<(SourceId, FormatModifier, Verdict)> {
    let problem = Problem::new(request);
    let everybody = problem.everybody();
    candidate::ways(&problem, View::sharing(&everybody))
}
