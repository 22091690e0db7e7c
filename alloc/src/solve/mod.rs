//! From declarations to a plan, or to the split that copies least and the reason for it.
//!
//! The solver is pure and deterministic: the same request gives the same solution on any machine.
//!
//! # Which plan is chosen
//!
//! Among all that work, the first by this total order, where each line decides only between those that are equal in all lines above:
//!
//! 1. guaranteed before possible, and fewer doubts before more;
//! 2. the format that the request prefers;
//! 3. fewer importers: a participant on the source's own device imports nothing foreign;
//! 4. a participant's own device before memory of a third;
//! 5. where the processor reads or writes every frame, memory that it reads through its cache;
//! 6. cheaper memory: pages, then a reserved region, then a queue's own buffers;
//! 7. a display's memory before that of other devices, then fewer bytes a buffer only where formats are equal;
//! 8. the order of formats in this crate's table;
//! 9. the source's identifier.

#![forbid(unsafe_code)]

mod candidate;
mod conflict;
mod explain;
mod layout;
mod plan;
mod request;
mod split;

pub use plan::{Action, Plan, PlanError, Rejection, Step, Verdict};
pub use request::Request;
pub use split::{Group, Split};

/// What the solver found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Solution {
    /// One buffer serves all.
    Share(Plan),
    /// No buffer serves all: where to copy, and why.
    Split(Split),
}

impl Solution {
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
    match candidate::best(request) {
        Ok(plan) => Solution::Share(plan),
        Err(rejections) => Solution::Split(split::split(request, rejections)),
    }
}
