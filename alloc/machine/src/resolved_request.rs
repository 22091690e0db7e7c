//! The request that a job on a recorded machine resolves to, and the values of it that are not known.

use std::collections::BTreeSet;

use super::{PartialPlane, UnverifiedValue};
use covalent_solver::solve::{Plan, Request, Solution};

/// A request to the solver that was made from a recorded machine.
#[derive(Clone, Debug)]
pub struct ResolvedRequest {
    /// The request.
    pub request: Request,
    /// If not all participants share a buffer: the planes of the job's displays that were not chosen, and that would accept part
    /// of the job.
    pub planes: Vec<PartialPlane>,
    /// The unknown values of its participants, sources and pools.
    pub(super) unverified: Vec<UnverifiedValue>,
}

impl ResolvedRequest {
    /// Returns the unknown values on which a solution depends: those of every participant, and of the sources and pools that it uses.
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
