//! Tests that compare plans and explanations with snapshots.
#![allow(missing_docs, clippy::unwrap_used)]

mod copied;
mod cropped;
mod hardware;
mod narrow;
mod opaque;
mod pools;
mod ranked;
mod relaxed;
mod shared;
mod tiled;

use covalent_solver::solve::{Plan, Request, Solution, solve};

fn plan(request: &Request) -> Plan {
    match solve(request) {
        Solution::Share(plan) => plan,
        split => panic!("{}", split.explain()),
    }
}
