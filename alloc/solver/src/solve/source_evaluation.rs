//! What a sweep finds out of one source, once for all of its formats.

use std::cell::OnceCell;
use std::rc::Rc;

use super::caveat::Caveat;
use crate::constraint::{Contiguity, Source};

/// One source of a sweep.
pub(super) struct SourceEvaluation<'a> {
    /// The source's place among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    /// What keeps it from being guaranteed, whatever the format.
    pub(super) caveats: OnceCell<Vec<Caveat>>,
    /// Whether memory may have to come in one piece, and for whom.
    pub(super) contiguity: OnceCell<(Contiguity, Rc<[usize]>)>,
    /// Who imports it.
    pub(super) importers: OnceCell<ImporterCounts>,
}

impl<'a> SourceEvaluation<'a> {
    pub(super) fn new(number: usize, source: &'a Source) -> Self {
        Self {
            number,
            source,
            caveats: OnceCell::new(),
            contiguity: OnceCell::new(),
            importers: OnceCell::new(),
        }
    }
}

/// Who imports a source's memory, and who wishes for it: the same for all of its formats.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImporterCounts {
    pub(super) not_preferred_by: usize,
    pub(super) importers: usize,
    pub(super) is_third_party: bool,
    pub(super) is_not_on_display: bool,
}
