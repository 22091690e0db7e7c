//! Solves one request, so that callgrind can count its instructions.
//!
//! ```console
//! $ cargo build --release -p covalent-solver --example solve-once
//! $ target/release/examples/solve-once --list
//! $ valgrind --tool=callgrind --toggle-collect='*jobs::solve_job*' target/release/examples/solve-once usual
//! ```
//!
//! With `--list`, the program prints the names of all requests. With a name, it solves that request and prints one line about the
//! solution. With `--explain NAME`, it prints the explanation of the solution.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/jobs.rs"]
mod jobs;
#[path = "../benches/shapes/mod.rs"]
mod shapes;

use covalent_solver::solve::{BUDGET, Request, Solution};

/// Returns the request with this name.
fn named(name: &str) -> Request {
    let job = jobs::all().into_iter().find(|(job, ..)| *job == name);
    let shape = shapes::ALL.iter().find(|(shape, _)| *shape == name);
    match (job, shape) {
        (Some((_, request, _)), _) => request,
        (None, Some((_, shape))) => shape(),
        (None, None) => panic!("there is no request called {name}; --list names all"),
    }
}

/// Returns the budget of steps: the environment variable `STEPS`, or the default of `solve`.
fn budget() -> u64 {
    std::env::var("STEPS").map_or(BUDGET, |steps| steps.parse().unwrap())
}

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        None => panic!("expected the name of a request, --list, or --explain NAME"),
        Some("--list") => {
            let jobs = jobs::all().into_iter().map(|(name, ..)| name);
            for name in jobs.chain(shapes::ALL.iter().map(|(name, _)| *name)) {
                println!("{name}");
            }
        }
        Some("--explain") => {
            let request = named(&words.next().unwrap());
            print!("{}", jobs::solve_job_within(&request, BUDGET).0.explain());
        }
        Some(name) => {
            let (solution, steps) = jobs::solve_job_within(&named(name), budget());
            let outcome = match &solution {
                Solution::Share(plan) => format!("shares {}", plan.source()),
                Solution::Split(split) => format!("{} groups", split.groups().len()),
            };
            let verdict = format!("{:?}", solution.verdict()).to_lowercase();
            let left_out = solution.left_out().len();
            println!("{name}: {verdict}, {outcome}, {steps} steps, {left_out} parts left out");
        }
    }
}
