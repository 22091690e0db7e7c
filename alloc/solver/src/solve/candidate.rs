//! A source that serves all in one format.

use std::rc::Rc;

use super::bits::Bits;
use super::doubt::Doubt;
use super::layout::Layouts;
use super::plan::Verdict;
use super::problem::{Group, Problem};
use crate::constraint::Source;
use crate::model::Modifier;

/// One source that serves all in one format.
pub(super) struct Candidate<'a> {
    /// The source's place among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// The place of its group among those of the problem.
    pub(super) place: usize,
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

pub(super) fn verdict(doubts: &[Doubt]) -> Verdict {
    if doubts.is_empty() {
        Verdict::Guaranteed
    } else {
        Verdict::Possible
    }
}

/// Returns the modifiers among which the source may choose, with the numbers of their pairs.
pub(super) fn modifiers(
    problem: &Problem<'_>,
    formats: &Bits,
    candidate: &Candidate<'_>,
) -> Vec<(usize, Modifier)> {
    let gives = problem.gives(candidate.number);
    let (first, end) = (candidate.group.first, candidate.group.end);
    problem.work.charge(end.saturating_sub(first));
    (first..end)
        .filter(|pair| formats.contains(*pair) && gives.contains(*pair))
        .map(|pair| (pair, problem.pair(pair).modifier))
        .filter(|(_, modifier)| Arrangement::of(*modifier) == candidate.arrangement)
        .collect()
}
