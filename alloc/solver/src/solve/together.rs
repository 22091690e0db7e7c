//! Solves several jobs that run at the same time and share the machine's pools.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::pools::{PoolUse, TakenBytes};
use super::request::Request;
use super::{Solution, solve_beside};
use crate::text::printable;

/// The solutions of jobs that run at the same time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JointSolution {
    /// The solutions of the jobs, in the given order of the jobs.
    pub jobs: Vec<JobSolution>,
    /// The memory that all jobs together take from each pool, sorted by the pools' identifiers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolUse>,
}

/// The solution of one of several jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobSolution {
    /// The name of the job.
    pub name: String,
    /// Whether the job gets a solution of the same kind as it would get alone: one buffer for all participants, a split in which
    /// each group has a buffer, or a split in which a group has none. If not, the jobs that were solved before it leave it too
    /// little memory.
    pub fits: bool,
    /// The solution of the job with the memory that is left by the jobs that were solved before it.
    #[serde(flatten)]
    pub solution: Solution,
}

impl JointSolution {
    /// Returns the jobs that do not fit, which are those whose [`JobSolution::fits`] is false. Such a job would get a better kind
    /// of solution alone, but the other jobs leave it too little memory for that.
    pub fn unfit(&self) -> impl Iterator<Item = &JobSolution> {
        self.jobs.iter().filter(|job| !job.fits)
    }

    /// Explains the solution of each job, the memory taken from the pools, and which jobs do not fit. The function
    /// `explain` returns the text for the solution of one job, as [`Solution::explain`] does.
    pub fn explain(&self, explain: impl Fn(&Solution) -> String) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        for job in &self.jobs {
            let _ = writeln!(text, "job {}:", printable(&job.name));
            for line in explain(&job.solution).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        for own in &self.pools {
            let _ = writeln!(text, "all jobs take {own}");
        }
        for job in self.unfit() {
            let _ = writeln!(
                text,
                "job {} does not fit: it would get its buffers if it ran alone, but the other jobs leave it too little memory",
                printable(&job.name)
            );
        }
        text
    }
}

/// Solves the requests of jobs that run at the same time. Pools with the same identifier are the same memory.
///
/// A job takes its memory before the jobs that follow it. If a job does not fit, the jobs are solved again with this job first,
/// because the other jobs may be able to use other memory. If no such order lets all jobs fit, the result is that of the given
/// order.
///
/// The result depends only on the jobs and their order.
pub fn solve_together(jobs: &[(&str, &Request)]) -> JointSolution {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    let given = solve_in_order(jobs, &order);
    let mut tried = given.clone();
    for _ in jobs {
        let unfit = |index: &usize| !tried.jobs[*index].fits;
        let Some(next) = order.iter().position(unfit) else {
            return tried;
        };
        if next == 0 {
            break;
        }
        let first = order.remove(next);
        order.insert(0, first);
        tried = solve_in_order(jobs, &order);
    }
    if tried.unfit().next().is_none() {
        tried
    } else {
        given
    }
}

fn solve_in_order(jobs: &[(&str, &Request)], order: &[usize]) -> JointSolution {
    let mut taken = TakenBytes::new();
    let mut solved: BTreeMap<usize, JobSolution> = BTreeMap::new();
    let mut pools: BTreeMap<_, PoolUse> = BTreeMap::new();
    for index in order {
        let (name, request) = jobs[*index];
        let solution = solve_beside(request, &taken);
        let fits = taken.is_empty()
            || quality(&solution) == 2
            || quality(&solution) >= quality(&solve_beside(request, &TakenBytes::new()));
        for own in uses(&solution) {
            let bytes = taken.entry(own.pool.clone()).or_default();
            *bytes = bytes.saturating_add(own.bytes);
            pools
                .entry(own.pool.clone())
                .and_modify(|all| all.bytes = all.bytes.saturating_add(own.bytes))
                .or_insert_with(|| own.clone());
        }
        let job = JobSolution {
            name: name.to_owned(),
            fits,
            solution,
        };
        solved.insert(*index, job);
    }
    JointSolution {
        jobs: solved.into_values().collect(),
        pools: pools.into_values().collect(),
    }
}

/// Returns how good a solution is: 2 for one buffer that serves all participants, 1 for a split with buffers for each group, and
/// 0 if a group has no buffer.
fn quality(solution: &Solution) -> u8 {
    match solution {
        Solution::Share(_) => 2,
        Solution::Split(split) => u8::from(split.groups().iter().all(|group| group.plan.is_some())),
    }
}

/// Returns the memory that each plan of a solution takes from each pool.
fn uses(solution: &Solution) -> impl Iterator<Item = &PoolUse> {
    let (shared, groups) = match solution {
        Solution::Share(plan) => (Some(plan), [].as_slice()),
        Solution::Split(split) => (None, split.groups()),
    };
    let plans = groups.iter().filter_map(|group| group.plan.as_ref());
    shared
        .into_iter()
        .chain(plans)
        .flat_map(|plan| plan.pools())
}
