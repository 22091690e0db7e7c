//! A source with the layouts that it would allocate for one format and tiling.

use std::rc::Rc;

use super::bits::Bits;
use super::caveat::Caveat;
use super::layout::Layouts;
use super::plan::Verdict;
use super::problem::{FormatGroup, Problem};
use crate::constraint::Source;
use crate::model::Modifier;

/// A source, a format and a tiling that serve all members.
pub(super) struct LayoutCandidate<'a> {
    /// The index of the source in the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// The index of the format group.
    pub(super) group_index: usize,
    pub(super) group: FormatGroup,
    pub(super) tiling: Tiling,
    /// The layouts for the sizes of the request, in the request's order. All of them have the same dma-bufs.
    pub(super) layouts: Rc<Layouts>,
    pub(super) caveats: Vec<Caveat>,
}

/// The component that chooses the tiling of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tiling {
    /// The image has linear rows, which the solver lays out.
    Linear,
    /// The driver chooses a tiling among explicit modifiers, or the image has the layout of a format that only V4L2 defines.
    DriverChosen,
    /// The modifier is implicit. The driver chooses the tiling and does not report it.
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

/// Returns the verdict on a candidate with these caveats.
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
