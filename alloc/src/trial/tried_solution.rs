//! The result of [`solve_with_trials`](super::solve_with_trials), and its limits.

use serde::Serialize;

use crate::model::FormatModifier;
use crate::solve::Solution;
use covalent_machine::trial_results::{Outcome, Refusal, TrialResult};

/// The limits of [`solve_with_trials`](super::solve_with_trials). No known case needs more than the [`Default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of plans that are tried. Each is the best plan that is not excluded.
    pub plans: u32,
    /// The maximum number of allocations and of trials on participants together, including those with other sizes and formats
    /// after a refusal.
    pub trials: u32,
    /// How often the same refusal must be returned before it is excluded or learnt.
    pub repeats: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plans: 8,
            trials: 128,
            repeats: 2,
        }
    }
}

/// A solution, and the outcomes of its trials.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TriedSolution {
    /// The last solution of the solver. A successful trial does not change its verdict from possible to guaranteed.
    pub solution: Solution,
    /// Why no further plan was tried.
    #[serde(rename = "ending")]
    pub end: TrialEnd,
    /// The outcome of each trial of the last plan.
    #[serde(rename = "tried")]
    pub participant_trials: Vec<ParticipantTrial>,
    /// The plans that were refused, in the order of their trials.
    #[serde(rename = "given_up")]
    pub refused_plans: Vec<RefusedPlan>,
    /// The trial results that were learnt in this call.
    #[serde(rename = "learnt")]
    pub learnt_results: Vec<TrialResult>,
    /// The earlier trial results that changed the last request.
    #[serde(rename = "known")]
    pub applied_results: Vec<TrialResult>,
    /// The number of allocations and of trials on participants that were made.
    #[serde(rename = "trials")]
    pub trial_count: u32,
}

/// Why no further plan was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrialEnd {
    /// Every participant accepted the buffer.
    #[serde(rename = "proved")]
    Accepted,
    /// No participant refused the buffer, and at least one could not be tried.
    Untested,
    /// After the refusals, no buffer satisfies all participants.
    NoPlan,
    /// One of the [`Limits`] was reached: the last plan was refused, or its trial is incomplete.
    #[serde(rename = "capped")]
    LimitReached,
}

/// The outcome of the trial on one participant, or of the allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParticipantTrial {
    /// The name of the participant; the name of the source for the allocation.
    #[serde(rename = "who")]
    pub participant: String,
    /// The outcome of the trial.
    pub outcome: Outcome,
}

/// A plan that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedPlan {
    /// The name of the source of the plan.
    pub source_name: String,
    /// The format and modifier of the plan.
    pub format: FormatModifier,
    /// The name of the source or participant that refused.
    #[serde(rename = "who")]
    pub refused_by: String,
    /// The refusal that this source or participant returned.
    pub refusal: Refusal,
}
