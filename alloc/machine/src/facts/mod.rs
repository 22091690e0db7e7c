//! What drivers are known to refuse, and what that makes of a request.
//!
//! A refusal that was seen, or that ships with this crate, is a [`Fact`]. A [`TrialResults`] holds them for one machine and turns those
//! in force into constraints of a request, so that the solver passes over what would be refused. Facts are pure data and pure
//! functions: who tries plans and keeps facts in a file is `covalent-alloc`.

mod book;
mod exclude;
mod fact;
mod generalise;
mod known;
mod narrow;
mod outcome;

pub use book::{AppliedResults, TrialResults};
pub use covalent_solver::constraint::Interface;
pub use exclude::{Exclusion, exclude};
pub use fact::{Conditions, Effect, Environment, Origin, ParticipantSelector, Scope, TrialResult};
pub use generalise::{Probe, WITNESSES, generalise};
pub use narrow::{narrowed, pair, plan_of};
pub use outcome::{Cause, Outcome, Refusal, RefusalKind};
