//! Solves one job a given number of times, so that callgrind can count its instructions.
//!
//! ```console
//! $ cargo build --release -p covalent-alloc --no-default-features --example solve-once
//! $ valgrind --tool=callgrind --toggle-collect='*jobs::solve_job*' target/release/examples/solve-once usual
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/jobs.rs"]
mod jobs;

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "usual".to_owned());
    let times: u32 = words.next().map_or(1, |times| times.parse().unwrap());
    let job = jobs::all().into_iter().find(|(job, ..)| *job == name);
    let (_, request, shares) = job.unwrap_or_else(|| panic!("there is no job called {name}"));
    let begun = std::time::Instant::now();
    let mut solution = None;
    for _ in 0..times {
        solution = Some(jobs::solve_job(&request, shares));
    }
    let each = begun.elapsed() / times.max(1);
    println!("{}", solution.unwrap().explain());
    println!("{each:?} each");
}
