//! Necessary conditions of demands: conditions on formats and buffer counts that can be checked without looking at sources.

use super::bits::Bits;
use super::prepared_participant::PreparedParticipant;
use super::problem::Problem;
use super::request::Request;
use crate::constraint::Field;

/// The condition that a demand requires, whichever alternative its owner uses.
#[derive(Clone, Copy)]
pub(super) enum NecessaryCondition<'p> {
    /// There is no condition that can be checked without looking at sources.
    Nothing,
    /// A candidate has to have one of these pairs of format and modifier.
    Pairs(&'p Bits),
    /// A plan has to have this many buffers, in addition to those that other participants hold.
    Buffers(u32),
}

impl<'p> NecessaryCondition<'p> {
    /// Returns the necessary condition of a participant's demand on a field.
    pub(super) fn of(prepared: &'p PreparedParticipant<'_>, field: Field) -> Self {
        match field {
            Field::Formats => prepared.formats().map_or(Self::Nothing, Self::Pairs),
            Field::Held => Self::Buffers(prepared.least_held()),
            _ => Self::Nothing,
        }
    }
}

/// The combination of several necessary conditions.
#[derive(Clone)]
pub(super) struct CombinedConditions {
    pairs: Bits,
    held: u32,
}

impl CombinedConditions {
    /// Makes the combination of no conditions.
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        Self {
            pairs: Bits::all(problem.universe.len()),
            held: 0,
        }
    }

    /// Returns whether a condition is compatible with the conditions that were added. If it is not, no source meets all of the
    /// demands.
    pub(super) fn is_compatible_with(&self, condition: NecessaryCondition<'_>) -> bool {
        match condition {
            NecessaryCondition::Nothing => true,
            NecessaryCondition::Pairs(pairs) => self.pairs.intersects(pairs),
            NecessaryCondition::Buffers(held) => {
                self.held.saturating_add(held) <= Request::MAXIMUM_BUFFERS
            }
        }
    }

    /// Adds a condition to the combination.
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
