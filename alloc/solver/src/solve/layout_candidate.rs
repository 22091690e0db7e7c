//! A source that serves all in one format.

use std::rc::Rc;

use super::bits::Bits;
use super::caveat::Caveat;
use super::layout::Layouts;
use super::plan::Verdict;
use super::problem::{FormatGroup, Problem};
use crate::constraint::Source;
use crate::model::Modifier;

/// One source that serves all in one format.
pub(super) struct LayoutCandidate<'a> {
    /// The source's place among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// The place of its group among those of the problem.
    pub(super) place: usize,
    pub(super) group: FormatGroup,
    pub(super) tiling: Tiling,
    /// By size, in the request's order; all in the same memories.
    pub(super) layouts: Rc<Layouts>,
    pub(super) caveats: Vec<Caveat>,
}

/// Who arranges the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tiling {
    /// They lie in rows, as the solver lays them out.
    Linear,
    /// The source chooses among modifiers.
    DriverChosen,
    /// The source chooses, and does not tell.
    Implicit,
}

impl Tiling {
    pub(super) fn of(modifier: Modifier) -> Self {
        match modifier {
            Modifier::LINEAR => Self::Linear,
            Modifier::INVALID => Self::Implicit,
            _ => Self::DriverChosen,
        }
    }
}

pub(super) fn verdict(caveats: &[Caveat]) -> Verdict {
    if caveats.is_empty() {
        Verdict::Guaranteed
    } else {
        Verdict::Possible
    }
}

/// Returns the modifiers among which the source may choose, with the numbers of their pairs.
pub(super) fn modifiers(
    problem: &Problem<'_>,
    formats: &Bits,
    candidate: &LayoutCandidate<'_>,
) -> Vec<(usize, Modifier)> {
    let source_pairs = problem.source_pairs(candidate.number);
    let (first, end) = (candidate.group.first, candidate.group.end);
    problem.work.charge(end.saturating_sub(first));
    (first..end)
        .filter(|pair| formats.contains(*pair) && source_pairs.contains(*pair))
        .map(|pair| (pair, problem.pair(pair).modifier))
        .filter(|(_, modifier)| Tiling::of(*modifier) == candidate.tiling)
        .collect()
}
