//! The internal copies: a device that cannot use the layout of the shared buffers copies each frame into memory of its own.

use serde::Serialize;

use super::candidate_search::CandidateSearch;
use super::layout_candidate::{LayoutCandidate, modifiers};
use crate::constraint::InternalCopy;
use crate::model::FormatModifier;

/// A copy of each frame that a participant's device makes, from a buffer of the plan into memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceCopy {
    /// The name of the participant.
    pub participant: String,
    /// The format and modifier of the shared buffer, which the device reads.
    pub from: FormatModifier,
    /// The format and modifier of the copy.
    pub to: FormatModifier,
    /// The size of the copy in bytes, without padding.
    pub bytes_per_frame: u64,
    /// The reason for the copy, as a clause that follows "because".
    pub reason: String,
}

impl<'a> CandidateSearch<'_, 'a, '_> {
    /// Calls `each` for every internal copy that members make of the buffers of a candidate.
    ///
    /// If a source may choose among several tilings and a member copies one of them, the copy is included, because the source may
    /// choose that tiling.
    fn each_internal_copy(
        &self,
        candidate: &LayoutCandidate<'a>,
        mut each: impl FnMut(usize, FormatModifier, &'a InternalCopy),
    ) {
        if !self.problem.has_internal_copies {
            return;
        }
        let modifiers = modifiers(self.problem, &self.formats, candidate);
        let fourcc = candidate.group.fourcc;
        for (member, choice) in self.members() {
            if self.problem.participant(member).participant.role.writes() {
                continue;
            }
            let copies = &choice.constraints.internal_copies;
            let work = modifiers.len().saturating_mul(copies.len());
            self.problem.work.charge(work.saturating_add(1));
            let mut pairs = modifiers
                .iter()
                .map(|(_, modifier)| FormatModifier::new(fourcc, *modifier));
            let first = pairs.find_map(|pair| {
                let copy = copies.iter().find(|copy| copy.from.contains(pair))?;
                Some((pair, copy))
            });
            if let Some((pair, copy)) = first {
                each(member, pair, copy);
            }
        }
    }

    /// Returns the sum of the sizes of a frame's internal copies, in bytes.
    pub(super) fn internal_bytes(&self, candidate: &LayoutCandidate<'a>) -> u64 {
        let mut sum = 0_u64;
        self.each_internal_copy(candidate, |_, _, _| {
            sum = sum.saturating_add(copied(candidate));
        });
        sum
    }

    /// Returns the internal copies that members make of each frame.
    pub(super) fn internal_copies(&self, candidate: &LayoutCandidate<'a>) -> Vec<DeviceCopy> {
        let mut copies = Vec::new();
        self.each_internal_copy(candidate, |member, pair, copy| {
            copies.push(DeviceCopy {
                participant: self.problem.participant(member).participant.name.clone(),
                from: pair,
                to: FormatModifier::new(pair.fourcc, copy.to),
                bytes_per_frame: copied(candidate),
                reason: copy.reason.clone(),
            });
        });
        copies
    }
}

/// Returns the bytes of a copy of one frame; 0 if no linear layout of the format is known.
fn copied(candidate: &LayoutCandidate<'_>) -> u64 {
    candidate.group.info.map_or(0, |_| candidate.group.bytes)
}
