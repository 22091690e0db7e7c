//! The request that a recorded machine makes of the solver, and what of it nobody knows.

use std::collections::BTreeSet;

use super::UnverifiedValue;
use covalent_solver::solve::{Plan, Request, Solution};

/// A request to a recorded machine.
#[derive(Clone, Debug)]
pub struct ResolvedRequest {
    /// What the solver is given.
    pub request: Request,
    /// What nobody knows, of everybody who was asked.
    pub(super) unknown: Vec<UnverifiedValue>,
}

impl ResolvedRequest {
    /// Says what nobody knows of those who take part in a solution and of the sources that it takes: it rests on that.
    #[must_use]
    pub fn unknown_of(&self, solution: &Solution) -> Vec<UnverifiedValue> {
        let mut who: BTreeSet<&str> = self
            .request
            .participants
            .iter()
            .map(|participant| participant.name.as_str())
            .collect();
        match solution {
            Solution::Share(plan) => {
                who.insert(plan.source_name());
            }
            Solution::Split(split) => {
                let plans = split
                    .groups()
                    .iter()
                    .filter_map(|group| group.plan.as_ref());
                who.extend(plans.map(Plan::source_name));
            }
        }
        self.unknown
            .iter()
            .filter(|unsure| who.contains(unsure.who.as_str()))
            .cloned()
            .collect()
    }
}
