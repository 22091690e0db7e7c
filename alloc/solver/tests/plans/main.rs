//! Plans and explanations as engineers read them.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod arranged;
mod copied;
mod given_up;
mod narrow;
mod shared;

use covalent_solver::solve::{Plan, Request, Solution, solve};

fn plan(request: &Request) -> Plan {
    match solve(request) {
        Solution::Share(plan) => plan,
        split => panic!("{}", split.explain()),
    }
}
