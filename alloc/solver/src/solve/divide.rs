//! The division of participants into groups that share a buffer.

use std::collections::BTreeMap;

use super::feasibility;
use super::necessary::{CombinedConditions, NecessaryCondition};
use super::prepared_participant::PreparedParticipant;
use super::problem::{Problem, View};
use super::search;
use crate::constraint::{Field, Role};
use crate::model::ColourLoss;

/// The maximum number of participants for which the division with the lowest [`Cost`] is found. With more participants, groups
/// are filled one after another.
pub(super) const BEST_DIVISION_UP_TO: usize = 8;

/// A group: the indices of the participants that share a buffer, and whether their frames are copied from the producer's buffers.
pub(super) type GroupMembers = (Vec<usize>, bool);

/// Returns whether frames can be copied out of the producer's buffers. If not, the split has no copies, and the participants are
/// only divided into groups that can share a buffer.
pub(super) fn has_copies(problem: &Problem<'_>) -> bool {
    !problem.participants.is_empty() && is_served(problem, problem.producer(), true) == Some(true)
}

/// Returns whether any source serves a participant; `None` if the budget was spent before that is known.
fn is_served(problem: &Problem<'_>, index: usize, cpu_copies: bool) -> Option<bool> {
    let view = View {
        members: &[index],
        kept: None,
        cpu_copies,
    };
    feasibility::is_feasible(problem, view)
}

/// The cost of a division; lower is better. In this order: the loss of colours, the bytes copied, the displays that do not show
/// the producer's buffers, the groups, the caveats, and the participants that do not share the producer's buffers.
type Cost = (ColourLoss, u64, usize, usize, usize, usize);

fn sum(one: Cost, two: Cost) -> Cost {
    (
        one.0.plus(two.0),
        one.1.saturating_add(two.1),
        one.2.saturating_add(two.2),
        one.3.saturating_add(two.3),
        one.4.saturating_add(two.4),
        one.5.saturating_add(two.5),
    )
}

/// Returns the division with the lowest [`Cost`]; `None` if the budget was spent before it is found.
pub(super) fn best_division(problem: &Problem<'_>, copies: bool) -> Option<Vec<GroupMembers>> {
    let first = problem.producer();
    let mut costs: BTreeMap<u32, Option<Cost>> = BTreeMap::new();
    let everyone = problem.all_participants();
    let is_served = |index: &usize| is_served(problem, *index, copies) == Some(true);
    let (served, unserved): (Vec<usize>, Vec<usize>) = everyone.into_iter().partition(is_served);
    let all = served.iter().fold(0_u32, |mask, index| mask | bit(*index));
    let mut best: BTreeMap<u32, (Cost, u32)> =
        BTreeMap::from([(0, ((ColourLoss::default(), 0, 0, 0, 0, 0), 0))]);
    for mask in 1..=all {
        if mask & !all != 0 {
            continue;
        }
        let lowest = mask & mask.wrapping_neg();
        let mut part = mask;
        let mut found: Option<(Cost, u32)> = None;
        while part != 0 {
            problem.work.charge(1);
            if part & lowest != 0 {
                if problem.work.is_spent() {
                    return None;
                }
                let copied = copies && part & bit(first) == 0;
                let own = cost(problem, part, (copies, copied), &mut costs);
                let rest = best.get(&(mask & !part)).map(|(cost, _)| *cost);
                if let (Some(own), Some(rest)) = (own, rest) {
                    let total = sum(own, rest);
                    // Of divisions with the same cost, the last one is kept. `part` counts down, so the last division has the
                    // smallest mask: the group of its first participant has no later participants than necessary.
                    if found.is_none_or(|(cost, _)| total <= cost) {
                        found = Some((total, part));
                    }
                }
            }
            part = part.wrapping_sub(1) & mask;
        }
        if let Some(found) = found {
            best.insert(mask, found);
        }
    }
    let mut groups: Vec<GroupMembers> = Vec::new();
    let mut left = all;
    while let Some((_, part)) = best.get(&left).filter(|_| left != 0) {
        let places = served
            .iter()
            .copied()
            .filter(|index| part & bit(*index) != 0)
            .collect();
        groups.push((places, copies && part & bit(first) == 0));
        left &= !part;
    }
    groups.extend(unserved.into_iter().map(|index| (vec![index], false)));
    (!problem.work.is_spent()).then(|| producer_first(groups, first))
}

/// Returns whether a participant is a display.
pub(super) fn is_display(problem: &Problem<'_>, index: usize) -> bool {
    problem.participant(index).participant.role == Role::Display
}

fn bit(index: usize) -> u32 {
    debug_assert!(index < BEST_DIVISION_UP_TO);
    1 << (index & 31)
}

/// Returns the cost of a group whose members are the bits of `mask`; `None` if no source has a buffer for the group. The costs of
/// all groups that were evaluated are stored in `known`.
fn cost(
    problem: &Problem<'_>,
    mask: u32,
    (cpu_copies, copied): (bool, bool),
    known: &mut BTreeMap<u32, Option<Cost>>,
) -> Option<Cost> {
    if let Some(cost) = known.get(&mask) {
        return *cost;
    }
    // If no source serves a subset of the members, none serves all of them.
    let fewer = (0..problem.participants.len())
        .map(|index| mask & !bit(index))
        .any(|fewer| fewer != mask && fewer != 0 && known.get(&fewer) == Some(&None));
    let members: Vec<usize> = (0..problem.participants.len())
        .filter(|index| mask & bit(*index) != 0)
        .collect();
    let view = View {
        members: &members,
        kept: None,
        cpu_copies,
    };
    let cost = if fewer {
        None
    } else {
        let displays = members
            .iter()
            .filter(|index| copied && is_display(problem, **index));
        let displays = displays.count();
        let apart = if copied { members.len() } else { 0 };
        search::cost(problem, view, copied)
            .map(|((lost, bytes), caveats)| (lost, bytes, displays, 1, caveats, apart))
    };
    known.insert(mask, cost);
    cost
}

/// Fills groups one after another. The producer is added first, then displays, then the others in the request's order. Returns
/// the groups, and the participants that are in no group because the budget was spent.
pub(super) fn fill_groups(
    problem: &Problem<'_>,
    has_copies: bool,
) -> (Vec<GroupMembers>, Vec<usize>) {
    let first = problem.producer();
    let mut left = problem.all_participants();
    left.sort_by_key(|index| (*index != first, !is_display(problem, *index)));
    let mut groups: Vec<GroupMembers> = Vec::new();
    let mut copies = has_copies;
    while let Some((seed, others)) = left.split_first() {
        let mut filled = GroupBuilder::new(problem, has_copies);
        let fits = filled.add(&[*seed]);
        if fits.is_none() {
            break;
        }
        if filled.members.is_empty() {
            // No source serves the first participant of this group, even alone.
            copies &= *seed != first;
            groups.push((vec![*seed], false));
            left.remove(0);
            continue;
        }
        let ended = filled.add(others).is_none();
        let GroupBuilder {
            mut members,
            mut misfits,
            ..
        } = filled;
        let copied = copies && !members.contains(&first);
        members.sort_unstable();
        misfits.sort_unstable();
        groups.push((members, copied));
        left = misfits;
        if ended {
            break;
        }
    }
    left.sort_unstable();
    (producer_first(groups, first), left)
}

/// Returns the necessary conditions of a participant's demands on formats and buffer counts.
fn necessary_conditions<'p>(prepared: &'p PreparedParticipant<'_>) -> [NecessaryCondition<'p>; 2] {
    [Field::Formats, Field::Held].map(|field| NecessaryCondition::of(prepared, field))
}

/// A group that is being filled.
struct GroupBuilder<'p, 'a> {
    problem: &'p Problem<'a>,
    cpu_copies: bool,
    members: Vec<usize>,
    /// The combined necessary conditions of the members, whichever alternatives they use.
    common: CombinedConditions,
    /// The participants that do not fit into the group, or for which this is not known.
    misfits: Vec<usize>,
}

impl<'p, 'a> GroupBuilder<'p, 'a> {
    fn new(problem: &'p Problem<'a>, cpu_copies: bool) -> Self {
        Self {
            problem,
            cpu_copies,
            members: Vec::new(),
            common: CombinedConditions::new(problem),
            misfits: Vec::new(),
        }
    }

    /// Adds each participant that fits into the group together with the members before it. `None` if the budget was spent before
    /// this is known for all participants.
    ///
    /// Every subset of a feasible set is feasible. So all participants are tried together first, and then each half of them.
    fn add(&mut self, candidates: &[usize]) -> Option<()> {
        let problem = self.problem;
        let words = (problem.universe.len() >> 8).saturating_add(2);
        problem.work.charge(candidates.len().saturating_mul(words));
        problem.work.charge(
            candidates
                .len()
                .saturating_add(self.members.len())
                .saturating_mul(3),
        );
        let are_compatible =
            |common: &CombinedConditions, conditions: [NecessaryCondition<'_>; 2]| {
                conditions
                    .into_iter()
                    .all(|condition| common.is_compatible_with(condition))
            };
        let mut common = self.common.clone();
        // Necessary conditions alone divide the participants into these lists. The participants in `possible` may fit into the
        // group. The participants in `compatible` may also fit together with each other. The participants in `excluded` are in
        // `possible`, and certainly do not fit together with those in `compatible`.
        let (mut possible, mut compatible, mut excluded) = (Vec::new(), Vec::new(), Vec::new());
        for index in candidates {
            let conditions = necessary_conditions(problem.participant(*index));
            if !are_compatible(&self.common, conditions) {
                self.misfits.push(*index);
                continue;
            }
            possible.push(*index);
            if are_compatible(&common, conditions) {
                conditions
                    .into_iter()
                    .for_each(|condition| common.add(condition));
                compatible.push(*index);
            } else {
                excluded.push(*index);
            }
        }
        if possible.is_empty() {
            return Some(());
        }
        let before = self.members.len();
        self.members.extend_from_slice(&compatible);
        let mut members = self.members.clone();
        members.sort_unstable();
        let view = View {
            members: &members,
            kept: None,
            cpu_copies: self.cpu_copies,
        };
        let fits = feasibility::is_feasible(problem, view);
        if fits == Some(true) {
            self.common = common;
            self.misfits.extend(excluded);
            return Some(());
        }
        self.members.truncate(before);
        match possible.split_at(possible.len() >> 1) {
            _ if fits.is_none() => {
                self.misfits.extend(possible);
                None
            }
            ([], one) => {
                self.misfits.extend_from_slice(one);
                Some(())
            }
            (one, two) => {
                if self.add(one).is_none() {
                    self.misfits.extend_from_slice(two);
                    return None;
                }
                self.add(two)
            }
        }
    }
}

/// Sorts the groups: first the group of the producer, then the others in the request's order.
fn producer_first(mut groups: Vec<GroupMembers>, first: usize) -> Vec<GroupMembers> {
    groups.sort_by_key(|(places, _)| (!places.contains(&first), places.first().copied()));
    groups
}
