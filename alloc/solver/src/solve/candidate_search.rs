//! What participants ask together by one choice among their alternatives.

use std::cell::OnceCell;

use super::bits::Bits;
use super::memo::MemoTable;
use super::memory_requirements::MemoryRequirements;
use super::prepared_participant::PreparedChoice;
use super::problem::{Problem, View};
use crate::constraint::{CpuUse, Field};

/// What all members ask together, and where it is looked for.
pub(super) struct CandidateSearch<'p, 'a, 'v> {
    pub(super) problem: &'p Problem<'a>,
    pub(super) view: View<'v>,
    /// By member, which of its alternatives is meant.
    pub(super) combination: &'v [usize],
    /// The pairs that all members take.
    pub(super) formats: Bits,
    /// How much the processor reads or writes.
    pub(super) cpu: CpuUse,
    /// Buffers that there are to be.
    pub(super) count: u32,
    /// Steps down the lists of alternatives in all.
    pub(super) alternatives: usize,
    /// Members that ask more of pictures in some formats.
    pub(super) with_per_format: Vec<(usize, &'p PreparedChoice<'a>)>,
    /// What is asked of memory, found out when it is needed.
    pub(super) needs: OnceCell<MemoryRequirements>,
    /// What is known of merged demands, as far as it was needed.
    pub(super) known: MemoTable,
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
            count: 0,
            alternatives: combination
                .iter()
                .fold(0, |sum, place| sum.saturating_add(*place)),
            with_per_format: Vec::new(),
            needs: OnceCell::new(),
            known: MemoTable::default(),
        };
        let mut held = 0_u32;
        let mut any = true;
        let mut cut = 1_usize;
        for (place, choice) in search.members() {
            if choice.asks_by_fourcc() {
                search.with_per_format.push((place, choice));
            }
            let kept = view.keeps(place);
            if kept.is_empty() {
                continue;
            }
            if kept.contains(Field::Formats) && any {
                if let Some(own) = &choice.formats {
                    any = search.formats.keep(own);
                    cut = cut.saturating_add(1);
                }
            }
            if kept.contains(Field::Held) {
                // No plan has so many buffers that the sum could be wrong.
                held = held.saturating_add(choice.constraints.buffers_held);
            }
            if kept.contains(Field::Cpu) {
                search.cpu = search.cpu.max(choice.constraints.memory.cpu);
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

    /// Returns the members' places among the participants, and which alternative of each is meant.
    pub(super) fn members(
        &self,
    ) -> impl Iterator<Item = (usize, &'p PreparedChoice<'a>)> + use<'p, 'a, 'v> {
        let problem = self.problem;
        self.view
            .members
            .iter()
            .zip(self.combination)
            .map(|(place, choice)| {
                let choice = &problem.participant(*place).choices[*choice];
                (*place, choice)
            })
    }

    /// Returns whether a source is on a participant's own device, which can use what it gives itself.
    pub(super) fn is_own(&self, place: usize, number: usize) -> bool {
        self.problem.participant(place).own.contains(number)
    }
}
