//! Visits each source, format and tiling of a search.

use std::ops::ControlFlow;

use super::bits::Bits;
use super::candidate_search::CandidateSearch;
use super::layout_candidate::{LayoutCandidate, Tiling};
use super::problem::FormatGroup;
use super::rejection::{LayoutRejection, SourceRejection};
use super::source_evaluation::SourceEvaluation;
use crate::model::{FormatModifier, Modifier};

/// A receiver of the results of a search.
pub(super) trait Visitor<'a> {
    /// Receives a candidate, and returns whether the search continues.
    fn candidate(
        &mut self,
        search: &CandidateSearch<'_, 'a, '_>,
        evaluation: &SourceEvaluation<'a>,
        found: LayoutCandidate<'a>,
    ) -> ControlFlow<()>;

    /// Receives a source that is rejected for every format.
    fn source_rejected(&mut self, _: usize, _: impl FnOnce() -> SourceRejection) {}

    /// Receives a layout that is rejected. The description of the rejection takes many steps, so it is computed only if the
    /// visitor needs it.
    fn layout_rejected(&mut self, _: usize, _: &LayoutRejection, _: impl FnOnce() -> String) {}
}

/// The number of steps of the budget that are charged for visiting a source, a format group, a tiling and a candidate. Further
/// steps are charged where they are taken.
const SOURCE_STEPS: usize = 16;
const GROUP_STEPS: usize = 16;
const TILING_STEPS: usize = 8;
const CANDIDATE_STEPS: usize = 48;

impl<'p, 'a> CandidateSearch<'p, 'a, '_> {
    /// Passes each candidate and each rejection to the visitor, until the visitor stops the search or the budget is spent.
    pub(super) fn run(&self, visitor: &mut impl Visitor<'a>) -> ControlFlow<()> {
        let problem = self.problem;
        let work = &problem.work;
        for (number, source) in problem.sources.iter().enumerate() {
            work.charge(SOURCE_STEPS.saturating_add(problem.universe.len() >> 7));
            if work.is_spent() {
                return ControlFlow::Break(());
            }
            if !self.memory_serves(number, source) {
                visitor.source_rejected(number, || self.source_rejection(number, source));
                continue;
            }
            let mut cells = self.formats.clone();
            if !cells.keep(problem.proposed_pairs(number)) {
                visitor.source_rejected(number, || {
                    // The formats of a single participant are not formats in common. A source without them has other formats.
                    let is_shared = self.view.members.len() > 1;
                    if is_shared && self.formats.is_empty() && !problem.universe.is_empty() {
                        SourceRejection::NoFormat
                    } else if source.constraints.formats.is_none() && self.has_no_rows() {
                        SourceRejection::NoRows
                    } else {
                        SourceRejection::OtherFormats
                    }
                });
                continue;
            }
            let evaluation = SourceEvaluation::new(number, source);
            let mut next = cells.next(0);
            while let Some((first, group_index, group)) = self.group_of(next) {
                work.charge(GROUP_STEPS);
                if work.is_spent() {
                    return ControlFlow::Break(());
                }
                next = cells.next(group.end);
                let merged = self.merged_image(group_index, number);
                for (tiling, modifier) in self.tilings(&cells, &cells, *group, first) {
                    work.charge(TILING_STEPS);
                    match self.lay_out(number, group_index, modifier, &merged, Some(&evaluation)) {
                        Ok((layouts, own)) => {
                            work.charge(CANDIDATE_STEPS);
                            let mut caveats = self.caveats(&evaluation).to_vec();
                            caveats.extend(own);
                            let found = LayoutCandidate {
                                number,
                                source,
                                group_index,
                                group: *group,
                                tiling,
                                layouts,
                                caveats,
                            };
                            visitor.candidate(self, &evaluation, found)?;
                        }
                        Err(why) => visitor.layout_rejected(number, &why, || {
                            let format = FormatModifier::new(group.fourcc, modifier);
                            if problem.has_many_participants() {
                                let merged = self.merged_image_with_owners(group_index, number);
                                why.describe(problem, source, format, &merged)
                            } else {
                                why.describe(problem, source, format, &merged)
                            }
                        }),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns whether the members have formats in common, but no linear layout of any of these formats is known.
    fn has_no_rows(&self) -> bool {
        let formats = std::iter::successors(self.formats.next(0), |number| {
            self.formats.next(number.saturating_add(1))
        });
        let problem = self.problem;
        let mut formats = formats.take_while(|number| *number < problem.universe.len());
        let mut any = false;
        let none = formats.all(|number| {
            problem.work.charge(8);
            any = true;
            let pair = problem.pair(number);
            pair.v4l2_code().is_some() || pair.fourcc.info().is_none()
        });
        any && none
    }

    /// Returns the number of a pair, the index of its format group, and the group.
    fn group_of(&self, pair: Option<usize>) -> Option<(usize, usize, &'p FormatGroup)> {
        let pair = pair?;
        let group_index = self.problem.group_of[pair];
        Some((pair, group_index, self.problem.group(group_index)))
    }

    /// Returns whether any source serves the members in any format; `None` if the budget was spent before that is known.
    ///
    /// `all` is the same search with all demands. A source and format that serve `all` also serve this search.
    pub(super) fn serves(&self, all: &Self) -> Option<bool> {
        if self.formats.is_empty() {
            return Some(false);
        }
        let problem = self.problem;
        let work = &problem.work;
        let mut uncertain = Vec::new();
        for (number, source) in problem.sources.iter().enumerate() {
            work.charge(SOURCE_STEPS.saturating_add(problem.universe.len() >> 8));
            if work.is_spent() {
                return None;
            }
            let source_pairs = problem.proposed_pairs(number);
            let first = self.formats.next_in_both(source_pairs, 0);
            if first.is_none() || !self.memory_serves(number, source) {
                continue;
            }
            let mut next = first;
            while let Some((first, group_index, group)) = self.group_of(next) {
                work.charge(GROUP_STEPS);
                next = self.formats.next_in_both(source_pairs, group.end);
                match all.serves_in(number, group_index) {
                    Some(true) => return Some(true),
                    Some(false) => uncertain.push((number, group_index, first)),
                    None => return None,
                }
            }
        }
        for (number, group_index, first) in uncertain {
            work.charge(GROUP_STEPS);
            if work.is_spent() {
                return None;
            }
            let (group, source_pairs) =
                (problem.group(group_index), problem.proposed_pairs(number));
            let merged = self.merged_image(group_index, number);
            let serves = self
                .tilings(&self.formats, source_pairs, *group, first)
                .any(|(_, modifier)| {
                    self.lay_out(number, group_index, modifier, &merged, None)
                        .is_ok()
                });
            if serves {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Returns whether a source serves the members in all tilings of a format that it can allocate, so that the choice of the
    /// modifier does not matter; `None` if the budget was spent.
    fn serves_in(&self, number: usize, group_index: usize) -> Option<bool> {
        let problem = self.problem;
        self.memo.serves(problem, number, group_index, || {
            if problem.work.is_spent() {
                return None;
            }
            let (group, source_pairs) = (problem.group(group_index), problem.source_pairs(number));
            let merged = self.merged_image(group_index, number);
            let serves = self
                .tilings(source_pairs, source_pairs, *group, group.first)
                .all(|(_, modifier)| {
                    self.lay_out(number, group_index, modifier, &merged, None)
                        .is_ok()
                });
            Some(serves)
        })
    }

    /// Returns the tilings of those pairs of a format group that are in both sets, each with the first modifier that has this
    /// tiling.
    ///
    /// `first` is the first pair of the group that is in both sets.
    fn tilings(
        &self,
        taken: &Bits,
        given: &Bits,
        group: FormatGroup,
        first: usize,
    ) -> impl Iterator<Item = (Tiling, Modifier)> + use<> {
        let modifier = |number: usize| self.problem.pair(number).modifier;
        let is_rows = |number: &usize| modifier(*number) == Modifier::LINEAR;
        let is_there = |number: &usize| taken.contains(*number) && given.contains(*number);
        let rows = Some(first).filter(is_rows).filter(is_there);
        let implicit = group.implicit.filter(is_there);
        let after = |number: usize| taken.next_in_both(given, number.saturating_add(1));
        let next = Some(first).filter(is_there).or_else(|| after(first));
        let sources = std::iter::successors(next, |number| after(*number))
            .take_while(|number| *number < group.end)
            .find(|number| Some(*number) != rows && Some(*number) != group.implicit);
        [
            (Tiling::Linear, rows),
            (Tiling::DriverChosen, sources),
            (Tiling::Implicit, implicit),
        ]
        .map(|(tiling, number)| Some((tiling, modifier(number?))))
        .into_iter()
        .flatten()
    }
}
