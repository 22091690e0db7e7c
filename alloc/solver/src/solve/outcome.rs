//! What a search found, or why it found nothing.

use super::bits::Bits;
use super::combinations::COMBINATIONS;
use super::layout_candidate::LayoutCandidate;
use super::plan::Rejection;
use super::problem::Problem;
use super::rank::Rank;
use super::work::{LeftOut, MORE_WORK, Part};

/// What is best for some of a request's participants.
pub(super) struct Chosen<'a> {
    pub(super) rank: Rank<'a>,
    pub(super) combination: Vec<usize>,
    pub(super) count: u32,
    pub(super) formats: Bits,
    pub(super) candidate: LayoutCandidate<'a>,
}

/// Why each source falls out that serves nobody.
#[derive(Default)]
pub(super) struct SearchRejections {
    pub(super) by_source: Vec<Option<(u8, String)>>,
    /// How the search ended, where it did before its end.
    pub(super) ending: Option<SearchLimit>,
}

impl SearchRejections {
    /// Returns it by source, in words.
    pub(super) fn into_rejections(self, problem: &Problem<'_>) -> Vec<Rejection> {
        problem
            .sources
            .iter()
            .zip(self.by_source)
            .filter_map(|(source, rejections)| {
                problem.work.charge(16);
                Some(Rejection {
                    source: source.id.clone(),
                    source_name: source.name.clone(),
                    words: rejections?.1,
                })
            })
            .collect()
    }
}

/// What a search did not look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchLimit {
    /// Whether the work was spent; or else the combinations are too many.
    pub(super) is_spent: bool,
    /// How many combinations of alternatives were looked at whole.
    pub(super) combinations: usize,
    /// Of what is left, the fewest steps down the lists of alternatives.
    pub(super) alternatives: usize,
}

impl SearchLimit {
    /// Says what that means for what was found.
    pub(super) fn describe(self, best: Option<&Rank<'_>>) -> LeftOut {
        let (part, tried) = match (self.is_spent, self.combinations) {
            (true, 0) => (
                Part::Candidates,
                format!("{MORE_WORK}: not all sources and formats were tried"),
            ),
            (true, many) => (
                Part::Candidates,
                format!(
                    "{MORE_WORK}: all sources and formats were tried only for the {many} best combinations of the participants' alternatives"
                ),
            ),
            (false, _) => (
                Part::Alternatives,
                format!(
                    "only the {COMBINATIONS} best combinations of the participants' alternatives were tried"
                ),
            ),
        };
        let left = match best {
            None => "there may be a plan among the others",
            Some(best) if self.could_better(best) => "there may be a better plan among the others",
            Some(_) => "none of the others is better than this plan",
        };
        LeftOut::new(part, format!("{tried}; {left}"))
    }

    /// Returns whether there may be a better plan among what is left.
    pub(super) fn could_better(self, best: &Rank<'_>) -> bool {
        best.caveats > 0 || best.alternatives >= self.alternatives
    }
}
