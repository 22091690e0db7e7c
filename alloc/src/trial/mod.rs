//! Proof and learning: a plan is tried on everybody, and what drivers refuse becomes a constraint.
//!
//! A plan is proved by allocating one buffer by it and trying that on every participant, in a helper process, because a
//! driver may hang or abort. [`solve_with_trials`] does so, solves again with what was refused, and keeps what is worth
//! keeping as facts.
//!
//! A trial refutes; it never guarantees. That scattered memory happened to lie in one piece today proves nothing of its
//! source, so no success is ever kept, and no refusal of a plan that was only possible either.
//!
//! Facts, how far they reach and what they make of a request are pure data and pure functions. Their file, the helper
//! process and the trials need the feature `buffer`.

#![forbid(unsafe_code)]

#[cfg(feature = "buffer")]
mod place;

#[cfg(feature = "buffer")]
mod backends;
#[cfg(feature = "buffer")]
mod contract;
#[cfg(feature = "buffer")]
mod declare;
#[cfg(feature = "buffer")]
mod environment;
#[cfg(feature = "buffer")]
mod helper;
#[cfg(feature = "buffer")]
mod measure;
#[cfg(feature = "buffer")]
mod serve;
#[cfg(feature = "buffer")]
mod store;
#[cfg(feature = "buffer")]
mod trial_loop;
#[cfg(feature = "buffer")]
mod wire;

pub use covalent_machine::trial_results::{
    AppliedResults, CONFIRMATIONS, Cause, Conditions, Effect, Environment, Interface, Origin,
    Outcome, ParticipantSelector, Probe, Refusal, RefusalKind, Scope, TrialResult, TrialResults,
    generalise, narrowed, pair, plan_of,
};

#[cfg(feature = "buffer")]
pub use crate::backend::Declared;
#[cfg(feature = "buffer")]
pub use contract::{Allocation, Planned, Trial};
#[cfg(feature = "buffer")]
pub use environment::environment;
#[cfg(feature = "buffer")]
pub use helper::{Helper, HelperError};
#[cfg(feature = "buffer")]
pub use measure::MeasuredCycle;
#[cfg(feature = "buffer")]
pub use serve::{ServeError, serve, serve_with};
#[cfg(feature = "buffer")]
pub use store::{TrialResultError, TrialResultStore, keep_facts, known_facts};
#[cfg(feature = "buffer")]
pub use trial_loop::{
    Limits, ParticipantTrial, RefusedPlan, TrialEnd, TriedSolution, solve_with_trials,
};
