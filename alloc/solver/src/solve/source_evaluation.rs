//! The values that a search computes once for a source and all of its formats.

use std::cell::OnceCell;
use std::rc::Rc;

use super::caveat::Caveat;
use crate::constraint::{Contiguity, Source};

/// One source in a search, with the values that were computed for it.
pub(super) struct SourceEvaluation<'a> {
    /// The index of the source in the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// The caveats that do not depend on the format.
    pub(super) caveats: OnceCell<Vec<Caveat>>,
    /// The strongest demand on contiguity, and the members that have it.
    pub(super) contiguity: OnceCell<(Contiguity, Rc<[usize]>)>,
    /// The criteria of the source's rank that depend on the members.
    pub(super) criteria: OnceCell<ParticipantCriteria>,
}

impl<'a> SourceEvaluation<'a> {
    pub(super) fn new(number: usize, source: &'a Source) -> Self {
        Self {
            number,
            source,
            caveats: OnceCell::new(),
            contiguity: OnceCell::new(),
            criteria: OnceCell::new(),
        }
    }
}

/// The criteria of a source's rank that depend on the members of the search and not on the format: how many members prefer other
/// sources, how many import the source's memory, whether no member is on its device, and whether no display is on its device.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParticipantCriteria {
    pub(super) not_preferred_by: usize,
    pub(super) importers: usize,
    pub(super) is_third_party: bool,
    pub(super) is_not_on_display: bool,
}
