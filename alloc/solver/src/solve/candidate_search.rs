//! The search for candidates with one combination of the participants' alternatives.

use std::cell::OnceCell;

use super::bits::Bits;
use super::memo::MemoTable;
use super::memory_requirements::MemoryRequirements;
use super::prepared_participant::PreparedChoice;
use super::problem::{Problem, View};
use crate::constraint::{CpuUse, Field};

/// A search for candidates that serve some participants (the members), with one alternative of each. It holds the demands that do
/// not depend on a source.
pub(super) struct CandidateSearch<'p, 'a, 'v> {
    pub(super) problem: &'p Problem<'a>,
    pub(super) view: View<'v>,
    /// The index of the alternative that each member uses.
    pub(super) combination: &'v [usize],
    /// The numbers of the pairs that all members accept.
    pub(super) formats: Bits,
    /// How often the CPU accesses the buffers.
    pub(super) cpu: CpuUse,
    /// Whether a member accesses pixels with the CPU, which can only access linear rows.
    pub(super) needs_rows: bool,
    /// The number of buffers that a plan has to allocate.
    pub(super) count: u32,
    /// The sum of the indices of the members' alternatives. A lower sum is preferred.
    pub(super) alternatives: usize,
    /// The members that have constraints on single formats, each with its alternative.
    pub(super) with_per_format: Vec<(usize, &'p PreparedChoice<'a>)>,
    /// The members' demands on memory. They are computed when they are first needed.
    pub(super) needs: OnceCell<MemoryRequirements>,
    /// The memo table of merged constraints and layouts, each of which is computed when it is first needed.
    pub(super) memo: MemoTable,
}

impl<'p, 'a, 'v> CandidateSearch<'p, 'a, 'v> {
    pub(super) fn new(problem: &'p Problem<'a>, view: View<'v>, combination: &'v [usize]) -> Self {
        let mut search = Self {
            problem,
            view,
            combination,
            formats: Bits::all(problem.universe.len()),
            cpu: if view.cpu_copies {
                CpuUse::Often
            } else {
                CpuUse::None
            },
            needs_rows: false,
            count: 0,
            alternatives: combination
                .iter()
                .fold(0, |sum, alternative| sum.saturating_add(*alternative)),
            with_per_format: Vec::new(),
            needs: OnceCell::new(),
            memo: MemoTable::default(),
        };
        let mut held = 0_u32;
        let mut any = true;
        let mut cut = 1_usize;
        for (member, choice) in search.members() {
            if choice.has_per_fourcc() {
                search.with_per_format.push((member, choice));
            }
            let kept = view.keeps(member);
            if kept.is_empty() {
                continue;
            }
            if kept.contains(Field::Formats) && any {
                if let Some(own) = &choice.formats {
                    any = search.formats.keep(own);
                    cut = cut.saturating_add(1);
                }
            }
            if kept.contains(Field::Planes) && any {
                if let Some(own) = &choice.too_many_planes {
                    any = search.formats.remove(own);
                    cut = cut.saturating_add(1);
                }
            }
            if kept.contains(Field::Held) {
                // A plan has at most 1024 buffers, so a sum that saturates exceeds the limit in any case.
                held = held.saturating_add(choice.constraints.buffers_held);
            }
            if kept.contains(Field::Cpu) {
                search.cpu = search.cpu.max(choice.constraints.memory.cpu);
                search.needs_rows |= choice.constraints.memory.cpu != CpuUse::None;
            }
        }
        problem
            .work
            .charge(cut.saturating_mul((problem.universe.len() >> 8).saturating_add(1)));
        problem
            .work
            .charge(view.members.len().saturating_mul(10).saturating_add(64));
        search.count = problem.request.count.max(held).max(1);
        search
    }

    /// Iterates over the members. Each item is the index of the participant and the alternative that it uses.
    pub(super) fn members(
        &self,
    ) -> impl Iterator<Item = (usize, &'p PreparedChoice<'a>)> + use<'p, 'a, 'v> {
        let problem = self.problem;
        self.view
            .members
            .iter()
            .zip(self.combination)
            .map(|(member, choice)| {
                let choice = &problem.participant(*member).choices[*choice];
                (*member, choice)
            })
    }

    /// Returns whether a source is on the participant's own device. Such a participant does not have to import the source's
    /// memory.
    pub(super) fn is_own(&self, member: usize, number: usize) -> bool {
        self.problem.participant(member).own.contains(number)
    }
}
