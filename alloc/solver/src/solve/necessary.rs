//! What can be said of demands together by sets and sums alone, without asking any source.

use super::bits::Bits;
use super::prepared_participant::PreparedParticipant;
use super::problem::Problem;
use super::request::Request;
use crate::constraint::Field;

/// What a demand asks for, whichever alternative its owner takes.
#[derive(Clone, Copy)]
pub(super) enum NecessaryCondition<'p> {
    /// Nothing that is known without asking a source.
    Nothing,
    /// A pair among these.
    Pairs(&'p Bits),
    /// So many buffers beside those that others hold.
    Buffers(u32),
}

impl<'p> NecessaryCondition<'p> {
    /// Returns what a participant's demand on a field asks for.
    pub(super) fn of(prepared: &'p PreparedParticipant<'_>, field: Field) -> Self {
        match field {
            Field::Formats => prepared.formats().map_or(Self::Nothing, Self::Pairs),
            Field::Held => Self::Buffers(prepared.least_held()),
            _ => Self::Nothing,
        }
    }
}

/// What some demands leave together.
#[derive(Clone)]
pub(super) struct CombinedConditions {
    pairs: Bits,
    held: u32,
}

impl CombinedConditions {
    /// Begins with no demand.
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        Self {
            pairs: Bits::all(problem.universe.len()),
            held: 0,
        }
    }

    /// Returns whether a demand may be met beside those that were added: where it says no, surely nothing meets them all.
    pub(super) fn takes(&self, condition: NecessaryCondition<'_>) -> bool {
        match condition {
            NecessaryCondition::Nothing => true,
            NecessaryCondition::Pairs(pairs) => self.pairs.meets(pairs),
            NecessaryCondition::Buffers(held) => {
                self.held.saturating_add(held) <= Request::MAXIMUM_BUFFERS
            }
        }
    }

    /// Adds a demand.
    pub(super) fn add(&mut self, condition: NecessaryCondition<'_>) {
        match condition {
            NecessaryCondition::Nothing => {}
            NecessaryCondition::Pairs(pairs) => {
                self.pairs.keep(pairs);
            }
            NecessaryCondition::Buffers(held) => self.held = self.held.saturating_add(held),
        }
    }
}
