//! The checks of `covalent doctor`. Each check is a function from a [`Snapshot`] to findings, and does not access the machine.

mod card;
mod group;
mod kernel;
mod kernel_version;
mod limit;
mod memory;
mod node;
mod permission;
mod pipeline;
mod pool;
mod seat;
mod vulkan;

#[cfg(test)]
mod fixture;

use super::finding::Finding;
use super::snapshot::Snapshot;

/// One check. A new check also needs an entry in [`CHECKS`].
type Check = fn(&Snapshot) -> Vec<Finding>;

const CHECKS: [Check; 10] = [
    node::check,
    kernel::check,
    kernel_version::check,
    card::check,
    pipeline::check,
    memory::check,
    limit::check,
    vulkan::check,
    pool::check,
    seat::check,
];

/// Runs all checks, and returns their findings, the worst first.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(snapshot)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}
