//! The result of a search: the best candidate, or the reasons why there is none.

use std::collections::BTreeSet;

use super::bits::Bits;
use super::combinations::COMBINATIONS;
use super::layout_candidate::LayoutCandidate;
use super::plan::Rejection;
use super::problem::Problem;
use super::rank::Rank;
use super::work::{LeftOut, MORE_WORK, Part};

/// The best candidate that serves some of a request's participants.
pub(super) struct ChosenCandidate<'a> {
    pub(super) rank: Rank<'a>,
    pub(super) combination: Vec<usize>,
    pub(super) count: u32,
    pub(super) formats: Bits,
    pub(super) candidate: LayoutCandidate<'a>,
}

/// Why sources were rejected.
pub(super) struct SearchRejections {
    pub(super) by_source: Vec<Option<(u8, String)>>,
    /// The sources that would serve the participants if they had more memory.
    pub(super) lacking: BTreeSet<usize>,
    /// Where the search was cut short; `None` if it was complete.
    pub(super) ending: Option<SearchLimit>,
}

impl SearchRejections {
    /// Converts the rejections into public ones, by source.
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

/// Where a search was cut short.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchLimit {
    /// Whether the budget was spent. If false, there were more combinations of alternatives than are tried.
    pub(super) is_spent: bool,
    /// The number of combinations of alternatives that were searched completely.
    pub(super) combinations: usize,
    /// The minimum sum of alternative indices in the combinations that were not searched.
    pub(super) alternatives: usize,
}

impl SearchLimit {
    /// Describes what the limit means for the result of the search.
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
            Some(best) if self.may_have_better(best) => {
                "there may be a better plan among the others"
            }
            Some(_) => "none of the others is better than this plan",
        };
        LeftOut::new(part, format!("{tried}; {left}"))
    }

    /// Returns whether the combinations that were not searched may have a better plan.
    pub(super) fn may_have_better(self, best: &Rank<'_>) -> bool {
        best.caveats > 0 || best.alternatives >= self.alternatives
    }
}
