//! Visits all sources and formats of a sweep.

use std::ops::ControlFlow;

use super::bits::Bits;
use super::candidate_search::CandidateSearch;
use super::failure::{Refused, Stopped};
use super::layout_candidate::{LayoutCandidate, Tiling};
use super::offer::Offer;
use super::problem::Group;
use crate::model::{FormatModifier, Modifier};

/// What hears of a sweep.
pub(super) trait Visitor<'a> {
    /// Hears of a candidate, and says whether there is more to hear.
    fn candidate(
        &mut self,
        sweep: &CandidateSearch<'_, 'a, '_>,
        offer: &Offer<'a>,
        found: LayoutCandidate<'a>,
    ) -> ControlFlow<()>;

    /// Hears that a source serves nobody.
    fn refused(&mut self, _: usize, _: impl FnOnce() -> Refused) {}

    /// Hears that a format of a source does not serve; the words are costly.
    fn stopped(&mut self, _: usize, _: &Stopped, _: impl FnOnce() -> String) {}
}

/// The steps that it takes to look at a source, at a group of pairs, and at a candidate, beside what is counted of its own.
const SOURCE: usize = 16;
const GROUP: usize = 16;
const ARRANGEMENT: usize = 8;
const CANDIDATE: usize = 48;

impl<'p, 'a> CandidateSearch<'p, 'a, '_> {
    /// Tells the listener of each candidate and of what falls out, until it has heard enough or the work must end.
    pub(super) fn run(&self, listener: &mut impl Visitor<'a>) -> ControlFlow<()> {
        let problem = self.problem;
        let work = &problem.work;
        for (number, source) in problem.sources.iter().enumerate() {
            work.charge(SOURCE.saturating_add(problem.universe.len() >> 7));
            if work.is_spent() {
                return ControlFlow::Break(());
            }
            if !self.memory_serves(number, source) {
                listener.refused(number, || self.refusal(number, source));
                continue;
            }
            let mut cells = self.formats.clone();
            if !cells.keep(problem.gives(number)) {
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
            let offer = Offer::new(number, source);
            let mut next = cells.next(0);
            while let Some((first, place, group)) = self.group_of(next) {
                work.charge(GROUP);
                if work.is_spent() {
                    return ControlFlow::Break(());
                }
                next = cells.next(group.end);
                let merged = self.merged_image(place, number);
                for (arrangement, modifier) in self.arrangements(&cells, &cells, *group, first) {
                    work.charge(ARRANGEMENT);
                    match self.lay_out(number, place, modifier, &merged, Some(&offer)) {
                        Ok((layouts, own)) => {
                            work.charge(CANDIDATE);
                            let mut caveats = self.caveats(&offer).to_vec();
                            caveats.extend(own);
                            let found = LayoutCandidate {
                                number,
                                source,
                                place,
                                group: *group,
                                arrangement,
                                layouts,
                                caveats,
                            };
                            listener.candidate(self, &offer, found)?;
                        }
                        Err(why) => listener.stopped(number, &why, || {
                            let format = FormatModifier::new(group.fourcc, modifier);
                            if problem.is_crowd() {
                                let merged = self.merged_image_with_owners(place, number);
                                why.words(problem, source, format, &merged)
                            } else {
                                why.words(problem, source, format, &merged)
                            }
                        }),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns a pair, and the group that it is in by its place.
    fn group_of(&self, pair: Option<usize>) -> Option<(usize, usize, &'p Group)> {
        let pair = pair?;
        let place = self.problem.group_of[pair];
        Some((pair, place, self.problem.group(place)))
    }

    /// Returns whether any source serves in any format; none where the work must end before that is known.
    ///
    /// `all` is the same sweep with every demand: where that serves, so does this.
    pub(super) fn serves(&self, all: &Self) -> Option<bool> {
        if self.formats.is_empty() {
            return Some(false);
        }
        let problem = self.problem;
        let work = &problem.work;
        let mut uncertain = Vec::new();
        for (number, source) in problem.sources.iter().enumerate() {
            work.charge(SOURCE.saturating_add(problem.universe.len() >> 8));
            if work.is_spent() {
                return None;
            }
            let gives = problem.gives(number);
            let first = self.formats.next_in_both(gives, 0);
            if first.is_none() || !self.memory_serves(number, source) {
                continue;
            }
            let mut next = first;
            while let Some((first, place, group)) = self.group_of(next) {
                work.charge(GROUP);
                next = self.formats.next_in_both(gives, group.end);
                match all.serves_in(number, place) {
                    Some(true) => return Some(true),
                    Some(false) => uncertain.push((number, place, first)),
                    None => return None,
                }
            }
        }
        for (number, place, first) in uncertain {
            work.charge(GROUP);
            if work.is_spent() {
                return None;
            }
            let (group, gives) = (problem.group(place), problem.gives(number));
            let merged = self.merged_image(place, number);
            let serves = self
                .arrangements(&self.formats, gives, *group, first)
                .any(|(_, modifier)| self.lay_out(number, place, modifier, &merged, None).is_ok());
            if serves {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Returns whether a source serves in every arrangement that it gives of a format, whoever takes which; none where the
    /// work must end.
    fn serves_in(&self, number: usize, place: usize) -> Option<bool> {
        let problem = self.problem;
        self.known.serves(problem, number, place, || {
            if problem.work.is_spent() {
                return None;
            }
            let (group, gives) = (problem.group(place), problem.gives(number));
            let merged = self.merged_image(place, number);
            let serves = self
                .arrangements(gives, gives, *group, group.first)
                .all(|(_, modifier)| self.lay_out(number, place, modifier, &merged, None).is_ok());
            Some(serves)
        })
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
    ) -> impl Iterator<Item = (Tiling, Modifier)> + use<> {
        let modifier = |number: usize| self.problem.pair(number).modifier;
        let is_rows = |number: &usize| modifier(*number) == Modifier::LINEAR;
        let is_there = |number: &usize| taken.contains(*number) && given.contains(*number);
        let rows = Some(first).filter(is_rows).filter(is_there);
        let untold = group.untold.filter(is_there);
        let after = |number: usize| taken.next_in_both(given, number.saturating_add(1));
        let next = Some(first).filter(is_there).or_else(|| after(first));
        let sources = std::iter::successors(next, |number| after(*number))
            .take_while(|number| *number < group.end)
            .find(|number| Some(*number) != rows && Some(*number) != group.untold);
        [
            (Tiling::Linear, rows),
            (Tiling::DriverChosen, sources),
            (Tiling::Implicit, untold),
        ]
        .map(|(arrangement, number)| Some((arrangement, modifier(number?))))
        .into_iter()
        .flatten()
    }
}
