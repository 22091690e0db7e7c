//! Trial imports: a plan is tried on every participant, and a combination that a driver refuses becomes a constraint.
//!
//! [`solve_with_trials`] allocates one buffer according to a plan and tries it on every participant. The trial is in a helper
//! process, because a driver may hang or abort. If a driver refuses, the refused combination is excluded and the request is
//! solved again. Refusals that repeat are kept as trial results.
//!
//! A trial can show that a plan fails, but cannot guarantee that it works: memory that was contiguous in a trial need not be
//! contiguous at the next allocation. So a success is never kept, and neither is the refusal of a plan that was possible and not
//! guaranteed.
//!
//! `covalent-machine` has the types of trial results and the functions that apply them to a request, which do no I/O. The file in
//! which they are stored, the helper process and the trials need the feature `buffer`.
//!
//! ```text
//!  request ──▶ apply trial results ──▶ solve ──▶ no plan: end
//!                 ▲        ▲             │
//!                 │        │             ▼
//!                 │        │       allocate one buffer ──▶ try it on each participant ──▶ all accept: end
//!                 │        │             │ refused                   │ refused
//!                 │        └─ exclude ◀──┴───────────────────────────┤
//!                 │        (this call)                               ▼
//!                 └─ learn ◀── structural, repeated, of a guaranteed plan: probe other sizes and formats
//!                    (kept)
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "buffer")]
mod json_path;

#[cfg(feature = "buffer")]
mod backends;
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
mod trial_trait;
#[cfg(feature = "buffer")]
mod tried_solution;
#[cfg(feature = "buffer")]
mod vendor_gpu;
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
pub use environment::environment;
#[cfg(feature = "buffer")]
pub use helper::{Helper, HelperError};
#[cfg(feature = "buffer")]
pub use measure::MeasuredCycle;
#[cfg(feature = "buffer")]
pub use serve::{ServeError, serve, serve_with};
#[cfg(feature = "buffer")]
pub use store::{TrialResultError, TrialResultStore, keep_trial_results, load_trial_results};
#[cfg(feature = "buffer")]
pub use trial_loop::solve_with_trials;
#[cfg(feature = "buffer")]
pub use trial_trait::{Allocation, Trial, TrialPlan};
#[cfg(feature = "buffer")]
pub use tried_solution::{Limits, ParticipantTrial, RefusedPlan, TrialEnd, TriedSolution};
#[cfg(feature = "buffer")]
pub use vendor_gpu::{VendorGpu, VendorGpuError};
