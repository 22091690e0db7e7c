//! The names of the participants and sources that have demands.

use super::bounded_text::{NAME_BYTES, NAMES_SHOWN, joined_up_to};
use super::pools::Pools;
use super::problem::Problem;
use crate::constraint::Source;

/// Looks up the names of owners. An owner is a participant, or the source that is evaluated.
#[derive(Clone, Copy)]
pub(super) struct Names<'p, 'a> {
    problem: &'p Problem<'a>,
    source: &'a Source,
}

impl<'p, 'a> Names<'p, 'a> {
    pub(super) fn new(problem: &'p Problem<'a>, source: &'a Source) -> Self {
        Self { problem, source }
    }

    /// Returns the pools of the request.
    pub(super) fn pools(&self) -> &'p Pools<'a> {
        &self.problem.pools
    }

    fn get(&self, owner: usize) -> &'a str {
        // The number that follows the numbers of the participants is the source's.
        self.problem
            .participants
            .get(owner)
            .map_or(self.source.name.as_str(), |prepared| {
                prepared.participant.name.as_str()
            })
    }

    /// Joins the names of owners in alphabetical order. Only the first names are included; further names are counted.
    pub(super) fn joined(&self, owners: impl Iterator<Item = usize>) -> String {
        let mut names: Vec<&str> = owners.map(|owner| self.get(owner)).collect();
        let bytes = names
            .iter()
            .fold(0_usize, |sum, name| sum.saturating_add(name.len()));
        self.problem.work.charge(
            names
                .len()
                .saturating_mul(32)
                .saturating_add(bytes)
                .saturating_add(NAMES_SHOWN.saturating_mul(NAME_BYTES.min(bytes) >> 2)),
        );
        // The names are sorted so that the text does not depend on the order of the request's participants. Only the names that
        // are shown have to be sorted.
        let shown = if names.len() > NAMES_SHOWN {
            names.select_nth_unstable(NAMES_SHOWN).0
        } else {
            names.as_mut_slice()
        };
        shown.sort_unstable();
        joined_up_to(names.into_iter(), NAMES_SHOWN, " and ")
    }
}
