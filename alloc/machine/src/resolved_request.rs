//! The request to the solver for a job on a recorded machine, and those of its values that are not known.

use std::collections::BTreeSet;

use super::{PartialPlane, UnverifiedValue};
use covalent_solver::solve::{Plan, Request, Solution};

/// The request to the solver for a job on a recorded machine. The names of the job are resolved to the machine's participants, a
/// plane is chosen for each display, and the trial results are applied.
#[derive(Clone, Debug)]
pub struct ResolvedRequest {
    /// The request to the solver.
    pub request: Request,
    /// The planes of the job's displays that were not chosen and that would accept frames of the job in some format. The list is
    /// empty if all participants share a buffer.
    pub planes: Vec<PartialPlane>,
    /// The values of the request's participants, sources and pools that are not known.
    pub(super) unverified: Vec<UnverifiedValue>,
}

impl ResolvedRequest {
    /// Returns the unknown values on which a solution depends: those of all participants, and those of the sources and pools that
    /// the solution uses.
    #[must_use]
    pub fn unverified(&self, solution: &Solution) -> Vec<UnverifiedValue> {
        let mut names: BTreeSet<&str> = self
            .request
            .participants
            .iter()
            .map(|participant| participant.name.as_str())
            .collect();
        match solution {
            Solution::Share(plan) => {
                names.insert(plan.source_name());
                names.extend(plan.pools().iter().map(|own| own.name.as_str()));
            }
            Solution::Split(split) => {
                let plans = split
                    .groups()
                    .iter()
                    .filter_map(|group| group.plan.as_ref());
                names.extend(plans.clone().map(Plan::source_name));
                names.extend(plans.flat_map(Plan::pools).map(|own| own.name.as_str()));
            }
        }
        self.unverified
            .iter()
            .filter(|value| names.contains(value.owner.as_str()))
            .cloned()
            .collect()
    }
}
