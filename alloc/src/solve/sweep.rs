//! All sources and formats for one choice among the participants' alternatives.

use std::ops::ControlFlow;

use super::bits::Bits;
use super::candidate::{Arrangement, Candidate};
use super::failure::{Refused, Stopped};
use super::known::{Known, places};
use super::problem::{Choice, Group, Problem, View};
use crate::constraint::{CpuUse, Field};
use crate::model::{FormatModifier, Modifier};

/// What all members ask together, and where it is looked for.
pub(super) struct Sweep<'p, 'a, 'v> {
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
    /// What is known of merged demands, as far as it was needed.
    pub(super) known: Known,
}

/// What hears of a sweep.
pub(super) trait Listener<'a> {
    /// Hears of a candidate, and says whether there is more to hear.
    fn candidate(&mut self, sweep: &Sweep<'_, 'a, '_>, found: Candidate<'a>) -> ControlFlow<()>;

    /// Hears that a source serves nobody.
    fn refused(&mut self, _: usize, _: impl FnOnce() -> Refused) {}

    /// Hears that a format of a source does not serve; the words are costly.
    fn stopped(&mut self, _: usize, _: &Stopped, _: impl FnOnce() -> String) {}
}

impl<'p, 'a, 'v> Sweep<'p, 'a, 'v> {
    pub(super) fn new(problem: &'p Problem<'a>, view: View<'v>, combination: &'v [usize]) -> Self {
        let mut sweep = Self {
            problem,
            view,
            combination,
            formats: Bits::all(problem.universe.len()),
            cpu: if view.copies {
                CpuUse::Often
            } else {
                CpuUse::None
            },
            count: 0,
            known: Known::default(),
        };
        let mut held = 0_u32;
        let mut any = true;
        for (place, choice) in sweep.members() {
            let kept = view.keeps(place);
            if kept.contains(Field::Formats) && any {
                if let Some(own) = &choice.formats {
                    any = sweep.formats.keep(own);
                }
            }
            if kept.contains(Field::Held) {
                held = held.saturating_add(choice.constraints.buffers_held);
            }
            if kept.contains(Field::Cpu) {
                sweep.cpu = sweep.cpu.max(choice.constraints.memory.cpu);
            }
        }
        sweep.count = problem.request.count.max(held).max(1);
        sweep
    }

    /// Returns the members' places among the participants, and which alternative of each is meant.
    pub(super) fn members(
        &self,
    ) -> impl Iterator<Item = (usize, &'p Choice<'a>)> + use<'p, 'a, 'v> {
        let problem = self.problem;
        self.view
            .members
            .iter()
            .zip(self.combination)
            .filter_map(|(place, choice)| {
                let choice = problem.parties.get(*place)?.choices.get(*choice)?;
                Some((*place, choice))
            })
    }

    /// Tells the listener of each candidate and of what falls out, until it has heard enough.
    pub(super) fn run(&self, listener: &mut impl Listener<'a>) -> ControlFlow<()> {
        let problem = self.problem;
        for (number, source) in problem.sources.iter().enumerate() {
            let mut doubts = Vec::new();
            if let Err(why) = self.check_memory(number, source, &mut doubts) {
                listener.refused(number, || why);
                continue;
            }
            let mut cells = self.formats.clone();
            if let Some(gives) = problem.gives.get(number) {
                cells.keep(gives);
            }
            if cells.is_empty() {
                listener.refused(number, || {
                    // One alone has nobody to have none in common with.
                    let is_shared = self.view.members.len() > 1;
                    if is_shared && self.formats.is_empty() && !problem.universe.is_empty() {
                        Refused::NoFormat
                    } else {
                        Refused::OtherFormats
                    }
                });
                continue;
            }
            let mut next = cells.next(0);
            for (place, group) in problem.groups.iter().enumerate() {
                let Some(first) = next.filter(|first| *first < group.end) else {
                    continue;
                };
                next = cells.next(group.end);
                let terms = self.terms(place, number);
                for (arrangement, modifier) in self.arrangements(&cells, &cells, *group, first) {
                    match self.lay_out(number, place, modifier, &terms) {
                        Ok((layouts, own)) => {
                            let mut doubts = doubts.clone();
                            doubts.extend(own);
                            let found = Candidate {
                                number,
                                source,
                                group: *group,
                                arrangement,
                                layouts,
                                doubts,
                            };
                            listener.candidate(self, found)?;
                        }
                        Err(why) => listener.stopped(number, &why, || {
                            let format = FormatModifier::new(group.fourcc, modifier);
                            why.words(problem, source, format, &terms)
                        }),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns whether any source serves in any format.
    ///
    /// `all` is the same sweep with every demand: where that serves, so does this.
    pub(super) fn serves(&self, all: &Self) -> bool {
        if self.formats.is_empty() {
            return false;
        }
        let problem = self.problem;
        let mut uncertain = Vec::new();
        for (number, source) in problem.sources.iter().enumerate() {
            let Some(gives) = problem.gives.get(number) else {
                continue;
            };
            let first = self.formats.next_in_both(gives, 0);
            if first.is_none() || self.check_memory(number, source, &mut Vec::new()).is_err() {
                continue;
            }
            let mut next = first;
            for (place, group) in problem.groups.iter().enumerate() {
                let Some(first) = next.filter(|first| *first < group.end) else {
                    continue;
                };
                next = self.formats.next_in_both(gives, group.end);
                if all.serves_in(number, place) {
                    return true;
                }
                uncertain.push((number, place, first));
            }
        }
        uncertain.into_iter().any(|(number, place, first)| {
            let (Some(group), Some(gives)) = (problem.groups.get(place), problem.gives.get(number))
            else {
                return false;
            };
            let terms = self.terms(place, number);
            self.arrangements(&self.formats, gives, *group, first)
                .any(|(_, modifier)| self.lay_out(number, place, modifier, &terms).is_ok())
        })
    }

    /// Returns whether a source serves in every arrangement that it gives of a format, whoever takes which.
    fn serves_in(&self, number: usize, place: usize) -> bool {
        let problem = self.problem;
        let (groups, sources) = (problem.groups.len(), problem.sources.len());
        let cells = groups.saturating_mul(sources);
        let serves = self.known.serves.get_or_init(|| places(cells));
        let cell = number.saturating_mul(groups).saturating_add(place);
        let answer = || {
            let group = problem.groups.get(place)?;
            let gives = problem.gives.get(number)?;
            let terms = self.terms(place, number);
            let serves = self
                .arrangements(gives, gives, *group, group.first)
                .all(|(_, modifier)| self.lay_out(number, place, modifier, &terms).is_ok());
            Some(serves)
        };
        serves
            .get(cell)
            .is_some_and(|known| *known.get_or_init(|| answer().unwrap_or(false)))
    }

    /// Returns in which arrangements the pairs of a group come that are in both sets, each with the first modifier.
    ///
    /// `first` is the first pair of the group that is in both.
    fn arrangements(
        &self,
        taken: &Bits,
        given: &Bits,
        group: Group,
        first: usize,
    ) -> impl Iterator<Item = (Arrangement, Modifier)> + use<> {
        let modifier = |number: usize| {
            let pair = self.problem.universe.get(number).copied();
            pair.map(|pair| pair.modifier)
        };
        let is_rows = |number: &usize| modifier(*number) == Some(Modifier::LINEAR);
        let is_there = |number: &usize| taken.contains(*number) && given.contains(*number);
        let rows = Some(first).filter(is_rows).filter(is_there);
        let untold = group.untold.filter(is_there);
        let after = |number: usize| taken.next_in_both(given, number.saturating_add(1));
        let next = Some(first).filter(is_there).or_else(|| after(first));
        let sources = std::iter::successors(next, |number| after(*number))
            .take_while(|number| *number < group.end)
            .find(|number| Some(*number) != rows && Some(*number) != group.untold);
        [
            (Arrangement::Rows, rows),
            (Arrangement::Sources, sources),
            (Arrangement::Untold, untold),
        ]
        .map(|(arrangement, number)| Some((arrangement, modifier(number?)?)))
        .into_iter()
        .flatten()
    }
}
