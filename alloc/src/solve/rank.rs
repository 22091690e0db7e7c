//! The order in which candidates are taken.

use super::candidate::{Arrangement, Candidate};
use super::sweep::Sweep;
use crate::constraint::{CpuUse, MemoryCost, Role, SourceId};

/// The order that the module's documentation gives, line by line; lower is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    /// For a picture that is copied: whether it loses its colours, and how many bytes are copied.
    pub(super) copied: (bool, u64),
    pub(super) doubts: usize,
    pub(super) alternatives: usize,
    is_unwished_format: bool,
    unwished_by: usize,
    pub(super) importers: usize,
    is_others: bool,
    is_slow_to_read: bool,
    cost: MemoryCost,
    is_protected: bool,
    is_no_displays: bool,
    arrangement: u8,
    format: usize,
    memories: usize,
    bytes: u64,
    source: &'a SourceId,
}

pub(super) fn rank<'a>(
    sweep: &Sweep<'_, 'a, '_>,
    candidate: &Candidate<'a>,
    copied: bool,
) -> Rank<'a> {
    let source = candidate.source;
    let fourcc = candidate.group.fourcc;
    let info = candidate.group.info;
    let mut rank = Rank {
        copied: (false, 0),
        doubts: candidate.doubts.len(),
        alternatives: sweep
            .combination
            .iter()
            .fold(0, |sum, place| sum.saturating_add(*place)),
        is_unwished_format: sweep
            .problem
            .request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        unwished_by: 0,
        importers: 0,
        is_others: true,
        is_slow_to_read: sweep.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        cost: source.guarantees.cost,
        is_protected: source.guarantees.protected,
        is_no_displays: true,
        // Rows suit the processor; a device's own arrangement suits devices.
        arrangement: match (candidate.arrangement, sweep.cpu) {
            (Arrangement::Sources, CpuUse::None) => 0,
            (Arrangement::Rows, _) => 1,
            (Arrangement::Sources, _) => 2,
            (Arrangement::Untold, _) => 3,
        },
        format: candidate.group.rank,
        memories: candidate.layouts.first.memory_sizes().len(),
        bytes: candidate.layouts.first.total_bytes(),
        source: &source.id,
    };
    if let Some(info) = info.filter(|_| copied) {
        let bytes = sweep
            .problem
            .request
            .extents()
            .map(|extent| info.picture_bytes(extent));
        rank.copied = (info.is_grey(), bytes.max().unwrap_or_default());
    }
    for (place, choice) in sweep.members() {
        let Some(party) = sweep.problem.parties.get(place) else {
            continue;
        };
        let preferred = &choice.constraints.memory.preferred;
        if !preferred.is_empty() && !preferred.contains(&source.id) {
            rank.unwished_by = rank.unwished_by.saturating_add(1);
        }
        let role = party.participant.role;
        if party.own.contains(candidate.number) {
            rank.is_others = false;
            rank.is_no_displays &= role != Role::Display;
        } else if role.imports() {
            rank.importers = rank.importers.saturating_add(1);
        }
    }
    rank
}
