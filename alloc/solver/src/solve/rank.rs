//! The order in which candidates are taken.

use super::candidate_search::CandidateSearch;
use super::layout_candidate::{LayoutCandidate, Tiling};
use super::offer::{Importers, Offer};
use crate::constraint::{CpuUse, MemoryCost, Role, SourceId};

/// The order that the module's documentation gives, line by line; lower is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    /// For a picture that is copied: whether it loses its colours, and how many bytes are copied.
    pub(super) copied: (bool, u64),
    pub(super) caveats: usize,
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

impl Importers {
    fn of(sweep: &CandidateSearch<'_, '_, '_>, offer: &Offer<'_>) -> Self {
        let mut found = Self {
            unwished_by: 0,
            importers: 0,
            is_others: true,
            is_no_displays: true,
        };
        sweep
            .problem
            .work
            .charge(sweep.view.members.len().saturating_mul(3));
        for (place, choice) in sweep.members() {
            let party = sweep.problem.party(place);
            let preferred = &choice.constraints.memory.preferred;
            if !preferred.is_empty() && !preferred.contains(&offer.source.id) {
                found.unwished_by = found.unwished_by.saturating_add(1);
            }
            let role = party.participant.role;
            if party.own.contains(offer.number) {
                found.is_others = false;
                found.is_no_displays &= role != Role::Display;
            } else if role.imports() {
                found.importers = found.importers.saturating_add(1);
            }
        }
        found
    }
}

pub(super) fn rank<'a>(
    sweep: &CandidateSearch<'_, 'a, '_>,
    offer: &Offer<'a>,
    candidate: &LayoutCandidate<'a>,
    copied: bool,
) -> Rank<'a> {
    let source = candidate.source;
    let fourcc = candidate.group.fourcc;
    let info = candidate.group.info;
    let importers = offer.importers.get_or_init(|| Importers::of(sweep, offer));
    let mut rank = Rank {
        copied: (false, 0),
        caveats: candidate.caveats.len(),
        alternatives: sweep.alternatives,
        is_unwished_format: sweep
            .problem
            .request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        unwished_by: importers.unwished_by,
        importers: importers.importers,
        is_others: importers.is_others,
        is_slow_to_read: sweep.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        cost: source.guarantees.cost,
        is_protected: source.guarantees.protected,
        is_no_displays: importers.is_no_displays,
        // Rows suit the processor; a device's own arrangement suits devices.
        arrangement: match (candidate.arrangement, sweep.cpu) {
            (Tiling::DriverChosen, CpuUse::None) => 0,
            (Tiling::Linear, _) => 1,
            (Tiling::DriverChosen, _) => 2,
            (Tiling::Implicit, _) => 3,
        },
        format: candidate.group.rank,
        memories: candidate.layouts.first.memory_sizes().len(),
        bytes: candidate.layouts.first.total_bytes(),
        source: &source.id,
    };
    if let Some(info) = info.filter(|_| copied) {
        let bytes = sweep.problem.request.unpadded_bytes(info);
        rank.copied = (info.is_grey(), bytes);
    }
    rank
}
