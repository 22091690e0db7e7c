//! The checks: each looks at a [`Snapshot`] and says what it finds. None asks the machine.

mod card;
mod group;
mod kernel;
mod limit;
mod memory;
mod node;
mod pool;
mod seat;
mod vulkan;

#[cfg(test)]
mod fixture;

use super::finding::Finding;
use super::snapshot::Snapshot;

/// One check. Whoever adds one adds a line to [`CHECKS`].
type Check = fn(&Snapshot) -> Vec<Finding>;

const CHECKS: [Check; 8] = [
    node::check,
    kernel::check,
    card::check,
    memory::check,
    limit::check,
    vulkan::check,
    pool::check,
    seat::check,
];

/// Makes all checks, and returns what they find, the worst first.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(snapshot)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}
