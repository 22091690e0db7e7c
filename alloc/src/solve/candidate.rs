//! Takes the best candidate by the documented order, and makes a plan of it.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::bits::Bits;
use super::doubt::Doubt;
use super::draft::plan;
use super::failure::{Refused, Stopped};
use super::layout::Layouts;
use super::plan::{Plan, Rejection, Verdict};
use super::problem::{Group, Problem, View};
use super::rank::{Rank, rank};
use super::sweep::{Listener, Sweep};
use crate::constraint::{Source, SourceId};
use crate::model::{FormatModifier, Modifier};

/// One source that serves all in one format.
pub(super) struct Candidate<'a> {
    /// The source's place among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    pub(super) group: Group,
    pub(super) arrangement: Arrangement,
    /// By size, in the request's order; all in the same memories.
    pub(super) layouts: Rc<Layouts>,
    pub(super) doubts: Vec<Doubt>,
}

/// Who arranges the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrangement {
    /// They lie in rows, as the solver lays them out.
    Rows,
    /// The source chooses among modifiers.
    Sources,
    /// The source chooses, and does not tell.
    Untold,
}

impl Arrangement {
    pub(super) fn of(modifier: Modifier) -> Self {
        match modifier {
            Modifier::LINEAR => Self::Rows,
            Modifier::INVALID => Self::Untold,
            _ => Self::Sources,
        }
    }
}

/// What is best for some of a request's participants.
pub(super) struct Chosen<'a> {
    pub(super) rank: Rank<'a>,
    pub(super) combination: Vec<usize>,
    pub(super) count: u32,
    pub(super) formats: Bits,
    pub(super) candidate: Candidate<'a>,
}

/// Why each source falls out that serves nobody.
pub(super) struct Fallen(Vec<Option<(u8, String)>>);

impl Fallen {
    /// Returns it by source, in words.
    pub(super) fn rejections(self, problem: &Problem<'_>) -> Vec<Rejection> {
        problem
            .sources
            .iter()
            .zip(self.0)
            .filter_map(|(source, fallen)| {
                Some(Rejection {
                    source: source.id.clone(),
                    source_name: source.name.clone(),
                    words: fallen?.1,
                })
            })
            .collect()
    }
}

/// Hears everything and keeps the best.
struct Judge<'p, 'a> {
    problem: &'p Problem<'a>,
    /// Whether the members' pictures are copied from elsewhere.
    copied: bool,
    best: Option<Chosen<'a>>,
    /// What no candidate copies less than: the first without a doubt that copies no more is enough; none where all are heard.
    enough: Option<(bool, u64)>,
    found: usize,
    served: Bits,
    /// By source, the furthest that any format came; none where words are not asked for.
    fallen: Option<Vec<Option<(u8, String)>>>,
}

impl<'a> Listener<'a> for Judge<'_, 'a> {
    fn candidate(
        &mut self,
        sweep: &Sweep<'_, 'a, '_>,
        candidate: Candidate<'a>,
    ) -> ControlFlow<()> {
        self.found = self.found.saturating_add(1);
        self.served.insert(candidate.number);
        let rank = rank(sweep, &candidate, self.copied);
        if self.best.as_ref().is_none_or(|best| rank < best.rank) {
            self.best = Some(Chosen {
                rank,
                combination: sweep.combination.to_vec(),
                count: sweep.count,
                formats: sweep.formats.clone(),
                candidate,
            });
        }
        let enough = self
            .enough
            .zip(self.best.as_ref())
            .is_some_and(|(enough, best)| best.rank.doubts == 0 && best.rank.copied <= enough);
        if enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn refused(&mut self, number: usize, why: impl FnOnce() -> Refused) {
        let (problem, source) = (self.problem, self.problem.sources.get(number));
        let fallen = self
            .fallen
            .as_mut()
            .and_then(|fallen| fallen.get_mut(number));
        if let (Some(fallen @ None), Some(source)) = (fallen, source) {
            *fallen = Some((0, why().words(problem, source)));
        }
    }

    fn stopped(&mut self, number: usize, why: &Stopped, words: impl FnOnce() -> String) {
        let fallen = self
            .fallen
            .as_mut()
            .and_then(|fallen| fallen.get_mut(number));
        if let Some(fallen) = fallen {
            if fallen
                .as_ref()
                .is_none_or(|(stage, _)| why.stage() > *stage)
            {
                *fallen = Some((why.stage(), words()));
            }
        }
    }
}

/// Returns the best plan for some of the participants, or why no source serves them.
pub(super) fn best(problem: &Problem<'_>, view: View<'_>, copied: bool) -> Result<Plan, Fallen> {
    let judge = judge(problem, view, copied, None);
    let served = judge.served;
    let fallen = judge.fallen.unwrap_or_default().into_iter();
    let fallen = Fallen(
        fallen
            .enumerate()
            .map(|(number, fallen)| fallen.filter(|_| !served.contains(number)))
            .collect(),
    );
    match judge.best {
        Some(chosen) => Ok(plan(problem, view, chosen, judge.found, fallen)),
        None => Err(fallen),
    }
}

/// Returns what copying for some of the participants costs at the least: whether colours are lost, and bytes; and how many
/// doubts the plan leaves. None where no source serves them.
pub(super) fn cost(
    problem: &Problem<'_>,
    view: View<'_>,
    copied: bool,
) -> Option<((bool, u64), usize)> {
    let enough = if copied {
        problem.least_copied(view.members)
    } else {
        (false, 0)
    };
    let best = judge(problem, view, copied, Some(enough)).best?;
    Some((best.rank.copied, best.rank.doubts))
}

fn judge<'p, 'a>(
    problem: &'p Problem<'a>,
    view: View<'_>,
    copied: bool,
    enough: Option<(bool, u64)>,
) -> Judge<'p, 'a> {
    let mut judge = Judge {
        problem,
        copied,
        best: None,
        enough,
        found: 0,
        served: Bits::none(problem.sources.len()),
        fallen: enough.is_none().then(|| vec![None; problem.sources.len()]),
    };
    let _ = problem
        .combinations(view.members)
        .iter()
        .try_for_each(|combination| Sweep::new(problem, view, combination).run(&mut judge));
    judge
}

/// One way to share: a source, a format, and how sure it is.
pub(super) type Way = (SourceId, FormatModifier, Verdict);

/// Returns every way to share, each once and as sure as any alternative makes it, in order.
pub(super) fn ways(problem: &Problem<'_>, view: View<'_>) -> Vec<Way> {
    struct All(Vec<Way>);
    impl<'a> Listener<'a> for All {
        fn candidate(
            &mut self,
            sweep: &Sweep<'_, 'a, '_>,
            found: Candidate<'a>,
        ) -> ControlFlow<()> {
            let verdict = verdict(&found.doubts);
            let modifiers = modifiers(sweep.problem, &sweep.formats, &found);
            self.0.extend(modifiers.into_iter().map(|modifier| {
                let format = FormatModifier::new(found.group.fourcc, modifier);
                (found.source.id.clone(), format, verdict)
            }));
            ControlFlow::Continue(())
        }
    }
    let mut all = All(Vec::new());
    for combination in problem.combinations(view.members) {
        let _ = Sweep::new(problem, view, &combination).run(&mut all);
    }
    let mut ways = all.0;
    ways.sort();
    ways.dedup_by(|two, one| (&one.0, one.1) == (&two.0, two.1));
    ways
}

pub(super) fn verdict(doubts: &[Doubt]) -> Verdict {
    if doubts.is_empty() {
        Verdict::Guaranteed
    } else {
        Verdict::Possible
    }
}

/// Returns the modifiers among which the source may choose.
pub(super) fn modifiers(
    problem: &Problem<'_>,
    formats: &Bits,
    candidate: &Candidate<'_>,
) -> Vec<Modifier> {
    let Some(gives) = problem.gives.get(candidate.number) else {
        return Vec::new();
    };
    (candidate.group.first..candidate.group.end)
        .filter(|pair| formats.contains(*pair) && gives.contains(*pair))
        .filter_map(|pair| problem.universe.get(pair))
        .map(|pair| pair.modifier)
        .filter(|modifier| Arrangement::of(*modifier) == candidate.arrangement)
        .collect()
}
