//! Searches all candidates, and builds a plan from the best one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::bits::Bits;
use super::candidate_search::CandidateSearch;
use super::candidates::Candidate;
use super::combinations::COMBINATIONS;
use super::layout_candidate::{LayoutCandidate, modifiers};
use super::outcome::{ChosenCandidate, SearchLimit, SearchRejections};
use super::plan::{Plan, Verdict};
use super::plan_builder::PlanBuilder;
use super::problem::{Problem, View};
use super::rank::rank;
use super::rejection::{LayoutRejection, SourceRejection};
use super::source_evaluation::SourceEvaluation;
use super::visit::Visitor;
use super::work::{LeftOut, MORE_WORK, Part, Phase};
use crate::model::ColourLoss;

/// A visitor that keeps the best candidate.
struct BestCandidate<'p, 'a> {
    problem: &'p Problem<'a>,
    /// Whether the members' frames are copied from the producer's buffers.
    copied: bool,
    best: Option<ChosenCandidate<'a>>,
    /// A lower bound for the cost of copying. The search stops at the first candidate that has no caveat and reaches this cost.
    /// If it is `None`, the search never stops early.
    enough: Option<(ColourLoss, u64)>,
    found: usize,
    served: Bits,
    /// The rejection of each source by the latest check; `None` if rejections are not needed.
    rejections: Option<Vec<Option<(u8, String)>>>,
    /// The sources that would serve the members if they had more memory.
    lacking: BTreeSet<usize>,
    ending: Option<SearchLimit>,
}

impl<'a> Visitor<'a> for BestCandidate<'_, 'a> {
    fn candidate(
        &mut self,
        search: &CandidateSearch<'_, 'a, '_>,
        evaluation: &SourceEvaluation<'a>,
        candidate: LayoutCandidate<'a>,
    ) -> ControlFlow<()> {
        self.found = self.found.saturating_add(1);
        self.served.insert(candidate.number);
        let rank = rank(search, evaluation, &candidate, self.copied);
        if self.best.as_ref().is_none_or(|best| rank < best.rank) {
            let members = search.combination.len();
            self.problem
                .work
                .charge(members.saturating_add(search.problem.universe.len() >> 6) >> 3);
            self.best = Some(ChosenCandidate {
                rank,
                combination: search.combination.to_vec(),
                count: search.count,
                formats: search.formats.clone(),
                candidate,
            });
        }
        let enough = self
            .enough
            .zip(self.best.as_ref())
            .is_some_and(|(enough, best)| best.rank.caveats == 0 && best.rank.copied <= enough);
        if enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn source_rejected(&mut self, number: usize, why: impl FnOnce() -> SourceRejection) {
        let problem = self.problem;
        if let Some(rejections) = &mut self.rejections {
            let words = || why().describe(problem, problem.source(number));
            rejections[number].get_or_insert_with(|| (0, words()));
        }
    }

    fn layout_rejected(
        &mut self,
        number: usize,
        why: &LayoutRejection,
        words: impl FnOnce() -> String,
    ) {
        if why.is_lack_of_memory() {
            self.lacking.insert(number);
        }
        if let Some(rejections) = &mut self.rejections {
            let rejections = &mut rejections[number];
            if rejections
                .as_ref()
                .is_none_or(|(stage, _)| why.stage() > *stage)
            {
                *rejections = Some((why.stage(), words()));
            }
        }
    }
}

/// Returns the best plan for some of the participants, or the reasons why no source serves them.
pub(super) fn best(
    problem: &Problem<'_>,
    view: View<'_>,
    copied: bool,
) -> Result<Plan, SearchRejections> {
    let best_candidate = best_candidate(problem, view, copied, None);
    let served = best_candidate.served;
    let Some(rejections) = best_candidate.rejections else {
        unreachable!("a visitor without a lower bound records the rejections")
    };
    let rejections = rejections.into_iter();
    let rejections = SearchRejections {
        by_source: rejections
            .enumerate()
            .map(|(number, rejections)| rejections.filter(|_| !served.contains(number)))
            .collect(),
        lacking: best_candidate.lacking,
        ending: best_candidate.ending,
    };
    match best_candidate.best {
        Some(chosen) => {
            let ending = best_candidate.ending;
            let left_out = ending
                .filter(|ending| ending.is_spent || ending.may_have_better(&chosen.rank))
                .map(|ending| ending.describe(Some(&chosen.rank)));
            let builder = PlanBuilder {
                problem,
                view,
                chosen,
                found: best_candidate.found,
                rejections,
                left_out,
            };
            Ok(builder.build())
        }
        None => Err(rejections),
    }
}

/// Returns the lowest cost of copying to some of the participants (the loss of colours, and bytes), and the number of caveats of
/// the plan; `None` if no source serves them.
pub(super) fn cost(
    problem: &Problem<'_>,
    view: View<'_>,
    copied: bool,
) -> Option<((ColourLoss, u64), usize)> {
    let enough = if copied {
        problem.least_copied(view.members)
    } else {
        (ColourLoss::default(), 0)
    };
    let best = best_candidate(problem, view, copied, Some(enough)).best?;
    Some((best.rank.copied, best.rank.caveats))
}

fn best_candidate<'p, 'a>(
    problem: &'p Problem<'a>,
    view: View<'_>,
    copied: bool,
    enough: Option<(ColourLoss, u64)>,
) -> BestCandidate<'p, 'a> {
    let mut best_candidate = BestCandidate {
        problem,
        copied,
        best: None,
        enough,
        found: 0,
        served: Bits::none(problem.sources.len()),
        rejections: enough.is_none().then(|| vec![None; problem.sources.len()]),
        lacking: BTreeSet::new(),
        ending: None,
    };
    let mut last = 0;
    for (tried, combination) in problem.combinations(view.members).enumerate() {
        let search = CandidateSearch::new(problem, view, &combination);
        last = search.alternatives;
        let flow = search.run(&mut best_candidate);
        if flow.is_break() {
            if problem.work.is_spent() {
                best_candidate.ending = Some(SearchLimit {
                    is_spent: true,
                    combinations: tried,
                    alternatives: last,
                });
            }
            return best_candidate;
        }
    }
    if problem.is_capped(view.members) {
        best_candidate.ending = Some(SearchLimit {
            is_spent: false,
            combinations: COMBINATIONS,
            alternatives: last,
        });
    }
    best_candidate
}

/// Returns each candidate once, sorted by source and format, and what the search left out. Each candidate has its best verdict
/// with any alternative.
pub(super) fn candidates(
    problem: &Problem<'_>,
    view: View<'_>,
) -> (Vec<Candidate>, Option<LeftOut>) {
    /// For each source, the pairs that are guaranteed, and the pairs that are possible.
    struct All(Vec<[Option<Bits>; 2]>);
    impl<'a> Visitor<'a> for All {
        fn candidate(
            &mut self,
            search: &CandidateSearch<'_, 'a, '_>,
            _: &SourceEvaluation<'a>,
            found: LayoutCandidate<'a>,
        ) -> ControlFlow<()> {
            let condition = usize::from(!found.caveats.is_empty());
            let problem = search.problem;
            let known = self.0[found.number][condition].get_or_insert_with(|| {
                problem.work.charge(problem.universe.len() >> 7);
                Bits::none(problem.universe.len())
            });
            for (pair, _) in modifiers(problem, &search.formats, &found) {
                known.insert(pair);
            }
            ControlFlow::Continue(())
        }
    }
    let mut all = All(vec![[None, None]; problem.sources.len()]);
    let mut left_out = None;
    for (tried, combination) in problem.combinations(view.members).enumerate() {
        let search = CandidateSearch::new(problem, view, &combination);
        if search.run(&mut all).is_break() {
            let ending = SearchLimit {
                is_spent: true,
                combinations: tried,
                alternatives: search.alternatives,
            };
            left_out = Some(ending.describe(None));
            break;
        }
    }
    if left_out.is_none() && problem.is_capped(view.members) {
        let ending = SearchLimit {
            is_spent: false,
            combinations: COMBINATIONS,
            alternatives: 0,
        };
        left_out = Some(ending.describe(None));
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    problem.work.begin(Phase::Plans);
    for (source, by_verdict) in problem.sources.iter().zip(all.0) {
        for (known, verdict) in by_verdict
            .into_iter()
            .zip([Verdict::Guaranteed, Verdict::Possible])
        {
            let mut next = known.as_ref().and_then(|known| known.next(0));
            while let (Some(pair), Some(known)) = (next, &known) {
                problem.work.charge(CANDIDATE_STEPS);
                if problem.work.is_spent() {
                    break;
                }
                candidates.push((source.id.clone(), problem.pair(pair), verdict));
                next = known.next(pair.saturating_add(1));
            }
        }
    }
    if problem.work.is_spent() {
        let words = format!(
            "{MORE_WORK}: only {} candidates are listed, and there are others",
            candidates.len()
        );
        left_out.get_or_insert(LeftOut::new(Part::Candidates, words));
    }
    candidates.sort();
    candidates.dedup_by(|two, one| (&one.0, one.1) == (&two.0, two.1));
    (candidates, left_out)
}

/// The number of steps of the budget that are charged for listing and sorting one candidate.
const CANDIDATE_STEPS: usize = 64;
