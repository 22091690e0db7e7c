//! The list of all candidates, for callers that need more than the best plan.

use std::ops::Deref;

use super::plan::Verdict;
use super::work::LeftOut;
use crate::constraint::SourceId;
use crate::model::FormatModifier;

/// A source and a format with which one buffer serves all participants, and whether the source guarantees this.
pub type Candidate = (SourceId, FormatModifier, Verdict);

/// The candidates that the search found, sorted by source and format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    candidates: Vec<Candidate>,
    left_out: Option<LeftOut>,
}

impl Candidates {
    pub(super) fn new(candidates: Vec<Candidate>, left_out: Option<LeftOut>) -> Self {
        Self {
            candidates,
            left_out,
        }
    }

    /// Returns what the search did not try; `None` if it tried everything. If the result is not `None`, there may be further
    /// candidates.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }
}

impl Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        &self.candidates
    }
}

impl IntoIterator for Candidates {
    type Item = Candidate;
    type IntoIter = std::vec::IntoIter<Candidate>;

    fn into_iter(self) -> Self::IntoIter {
        self.candidates.into_iter()
    }
}

impl PartialEq<Vec<Candidate>> for Candidates {
    fn eq(&self, other: &Vec<Candidate>) -> bool {
        self.candidates == *other
    }
}
