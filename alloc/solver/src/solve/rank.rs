//! The order in which candidates are preferred.

use super::candidate_search::CandidateSearch;
use super::layout_candidate::{LayoutCandidate, Tiling};
use super::source_evaluation::{ParticipantCriteria, SourceEvaluation};
use crate::constraint::{CpuUse, MemoryCost, Role, SourceId};
use crate::model::{ColourLoss, Colours};

/// A candidate's rank: the total order that the documentation of [`super`] lists. Lower is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    /// In a split, the colours that copied frames lose, and the number of bytes that are copied, including the copies that
    /// devices make for themselves.
    pub(super) copied: (ColourLoss, u64),
    pub(super) caveats: usize,
    pub(super) alternatives: usize,
    is_other_format: bool,
    not_preferred_by: usize,
    is_uncached: bool,
    internal_bytes: u64,
    pub(super) importers: usize,
    is_third_party: bool,
    is_slow_to_read: bool,
    cost: MemoryCost,
    is_protected: bool,
    is_not_on_display: bool,
    tiling: u8,
    /// Whether the colours of the producer's formats are lost, and the number of lost chroma samples.
    lost: (u16, u16),
    depth: usize,
    frame_bytes: u64,
    format: usize,
    dmabufs: usize,
    bytes: u64,
    source: &'a SourceId,
}

impl ParticipantCriteria {
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
        for (member, choice) in search.members() {
            let prepared = search.problem.participant(member);
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

/// Returns the rank of a candidate. Candidates with lower ranks are preferred.
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
        .criteria
        .get_or_init(|| ParticipantCriteria::of(search, evaluation));
    let internal_bytes = search.internal_bytes(candidate);
    let lost = info.map_or_else(ColourLoss::default, |info| {
        search.problem.colours.lost_in(info.colours)
    });
    let copied = match info.filter(|_| copied) {
        Some(_) => (lost, candidate.group.bytes.saturating_add(internal_bytes)),
        None if search.view.cpu_copies => (ColourLoss::default(), internal_bytes),
        None => (ColourLoss::default(), 0),
    };
    Rank {
        copied,
        caveats: candidate.caveats.len(),
        alternatives: search.alternatives,
        is_other_format: search
            .problem
            .request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        not_preferred_by: importers.not_preferred_by,
        // A single read of uncached memory takes longer than an import.
        is_uncached: search.cpu == CpuUse::Often && source.guarantees.cached == Some(false),
        internal_bytes,
        importers: importers.importers,
        is_third_party: importers.is_third_party,
        is_slow_to_read: search.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        cost: source.guarantees.cost,
        is_protected: source.guarantees.protected,
        is_not_on_display: importers.is_not_on_display,
        // The CPU accesses linear rows faster, and devices access a tiling of their driver faster.
        tiling: match (candidate.tiling, search.cpu) {
            (Tiling::DriverChosen, CpuUse::None) => 0,
            (Tiling::Linear, _) => 1,
            (Tiling::DriverChosen, _) => 2,
            (Tiling::Implicit, _) => 3,
        },
        lost: (
            lost.colours,
            match info.filter(|_| search.problem.is_drawn) {
                Some(info) => Colours::USUAL.lost_in(info.colours).chroma,
                None => lost.chroma,
            },
        ),
        depth: candidate.group.depth,
        // In a split, `copied` has the number of copied bytes. The bytes of a frame are ignored, so that the producer's buffers
        // keep the colours that can be copied.
        frame_bytes: if search.view.cpu_copies {
            0
        } else {
            candidate.group.bytes
        },
        format: candidate.group.rank,
        dmabufs: candidate.layouts.first.memory_sizes().len(),
        bytes: candidate.layouts.first.total_bytes(),
        source: &source.id,
    }
}
