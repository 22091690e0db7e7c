//! Refusals that drivers have shown, and the constraints that they add to a request.
//!
//! A [`TrialResult`] records one refusal. Either a trial on this machine has shown it, or it is a quirk that ships with this
//! crate. [`TrialResults`] holds all of them for one machine. [`TrialResults::apply`] converts those that are valid on that
//! machine into constraints of a request, so that the solver does not choose a buffer that a driver would refuse.
//!
//! This module has only plain data and pure functions. `covalent-alloc` runs the trials and stores their results in a file.

mod exclude;
mod generalise;
mod narrow;
mod outcome;
mod quirks;
mod result;
mod results;

pub use covalent_solver::constraint::Interface;
pub use exclude::{Exclusion, exclude};
pub use generalise::{CONFIRMATIONS, Probe, generalise};
pub use narrow::{narrowed, pair, participant_in_format, plan_of, without_other_formats};
pub use outcome::{Cause, Outcome, Refusal, RefusalKind};
pub use result::{
    Conditions, Effect, Environment, Origin, ParticipantSelector, Scope, TrialResult,
};
pub use results::{AppliedResults, TrialResults};
