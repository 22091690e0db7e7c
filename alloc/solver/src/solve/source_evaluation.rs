//! What a search computes once for one source and all of its formats.

use std::cell::OnceCell;
use std::rc::Rc;

use super::caveat::Caveat;
use crate::constraint::{Contiguity, Source};

/// One source in a search.
pub(super) struct SourceEvaluation<'a> {
    /// The source's index among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// The caveats that do not depend on the format.
    pub(super) caveats: OnceCell<Vec<Caveat>>,
    /// The strongest demand on contiguity, and its owners.
    pub(super) contiguity: OnceCell<(Contiguity, Rc<[usize]>)>,
    /// The parts of the source's rank that depend on the participants.
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

/// The parts of a source's rank that depend on the participants of the search and not on the format: how many of them prefer other
/// sources, how many import its memory, whether none is on its device, and whether no display is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParticipantCriteria {
    pub(super) not_preferred_by: usize,
    pub(super) importers: usize,
    pub(super) is_third_party: bool,
    pub(super) is_not_on_display: bool,
}
