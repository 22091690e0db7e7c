//! The order in which candidates are preferred.

use super::candidate_search::CandidateSearch;
use super::layout_candidate::{LayoutCandidate, Tiling};
use super::source_evaluation::{ImporterCounts, SourceEvaluation};
use crate::constraint::{CpuUse, MemoryCost, Role, SourceId};

/// A candidate's rank: the total order that the documentation of [`super`] lists. Lower is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    /// For frames that are copied: whether they lose their colours, and how many bytes are copied.
    pub(super) copied: (bool, u64),
    pub(super) caveats: usize,
    pub(super) alternatives: usize,
    is_other_format: bool,
    not_preferred_by: usize,
    pub(super) importers: usize,
    is_third_party: bool,
    is_slow_to_read: bool,
    cost: MemoryCost,
    is_protected: bool,
    is_not_on_display: bool,
    tiling: u8,
    format: usize,
    dmabufs: usize,
    bytes: u64,
    source: &'a SourceId,
}

impl ImporterCounts {
    fn of(search: &CandidateSearch<'_, '_, '_>, evaluation: &SourceEvaluation<'_>) -> Self {
        let mut found = Self {
            not_preferred_by: 0,
            importers: 0,
            is_third_party: true,
            is_not_on_display: true,
        };
        search
            .problem
            .work
            .charge(search.view.members.len().saturating_mul(3));
        for (place, choice) in search.members() {
            let prepared = search.problem.participant(place);
            let preferred = &choice.constraints.memory.preferred;
            if !preferred.is_empty() && !preferred.contains(&evaluation.source.id) {
                found.not_preferred_by = found.not_preferred_by.saturating_add(1);
            }
            let role = prepared.participant.role;
            if prepared.own.contains(evaluation.number) {
                found.is_third_party = false;
                found.is_not_on_display &= role != Role::Display;
            } else if role.imports() {
                found.importers = found.importers.saturating_add(1);
            }
        }
        found
    }
}

pub(super) fn rank<'a>(
    search: &CandidateSearch<'_, 'a, '_>,
    evaluation: &SourceEvaluation<'a>,
    candidate: &LayoutCandidate<'a>,
    copied: bool,
) -> Rank<'a> {
    let source = candidate.source;
    let fourcc = candidate.group.fourcc;
    let info = candidate.group.info;
    let importers = evaluation
        .importers
        .get_or_init(|| ImporterCounts::of(search, evaluation));
    let mut rank = Rank {
        copied: (false, 0),
        caveats: candidate.caveats.len(),
        alternatives: search.alternatives,
        is_other_format: search
            .problem
            .request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        not_preferred_by: importers.not_preferred_by,
        importers: importers.importers,
        is_third_party: importers.is_third_party,
        is_slow_to_read: search.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        cost: source.guarantees.cost,
        is_protected: source.guarantees.protected,
        is_not_on_display: importers.is_not_on_display,
        // Linear rows suit the CPU, and a driver's tiling suits devices.
        tiling: match (candidate.tiling, search.cpu) {
            (Tiling::DriverChosen, CpuUse::None) => 0,
            (Tiling::Linear, _) => 1,
            (Tiling::DriverChosen, _) => 2,
            (Tiling::Implicit, _) => 3,
        },
        format: candidate.group.rank,
        dmabufs: candidate.layouts.first.memory_sizes().len(),
        bytes: candidate.layouts.first.total_bytes(),
        source: &source.id,
    };
    if let Some(info) = info.filter(|_| copied) {
        let bytes = search.problem.request.unpadded_bytes(info);
        rank.copied = (info.loses_colours, bytes);
    }
    rank
}
