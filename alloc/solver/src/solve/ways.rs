//! All ways to share, and what was left out of the search for them.

use std::ops::Deref;

use super::plan::Verdict;
use super::work::LeftOut;
use crate::constraint::SourceId;
use crate::model::FormatModifier;

/// One way to share: a source, a format, and how sure it is.
pub type Way = (SourceId, FormatModifier, Verdict);

/// Every way to share, in order, as far as the search for them went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    ways: Vec<Way>,
    left_out: Option<LeftOut>,
}

impl Ways {
    pub(super) fn new(ways: Vec<Way>, left_out: Option<LeftOut>) -> Self {
        Self { ways, left_out }
    }

    /// Returns what was not tried: where there is anything, there may be more ways.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }
}

impl Deref for Ways {
    type Target = [Way];

    fn deref(&self) -> &[Way] {
        &self.ways
    }
}

impl IntoIterator for Ways {
    type Item = Way;
    type IntoIter = std::vec::IntoIter<Way>;

    fn into_iter(self) -> Self::IntoIter {
        self.ways.into_iter()
    }
}

impl PartialEq<Vec<Way>> for Ways {
    fn eq(&self, other: &Vec<Way>) -> bool {
        self.ways == *other
    }
}
