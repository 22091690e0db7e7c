//! The demands of a request as numbers, and the algorithms that search for conflicts and relaxations.

use super::bits::Bits;
use super::bounded_text::{self, SENTENCE_BYTES};
use super::feasibility::{self, FeasibilityCache};
use super::fields::FieldSet;
use super::hitting_set::HittingSets;
use super::necessary::{CombinedConditions, NecessaryCondition};
use super::problem::{Problem, View};
use crate::constraint::{Demand, Field};

/// The number of demands up to which a reported conflict is a smallest one. A conflict with more demands is irreducible, but a
/// smaller conflict may exist.
const SMALLEST_UP_TO: usize = 3;

/// The number of steps of the budget that are charged for sorting one pair of demands.
const PAIR_STEPS: usize = 16;

/// The maximum number of demands that are given up one after another. If these are not enough, a maximal set of demands that can
/// be kept is searched for instead.
const GIVEN_UP_SINGLY: usize = 32;

/// All demands of a request. A demand's number is its position in the order of demands: the cheapest to give up first, and then
/// by the participant's name.
pub(super) struct Demands<'p, 'a, 'v> {
    problem: &'p Problem<'a>,
    pub(super) feasibility: FeasibilityCache<'p, 'a, 'v>,
    /// The index of the participant and the field, for each demand.
    list: Vec<(usize, Field)>,
}

impl<'p, 'a, 'v> Demands<'p, 'a, 'v> {
    pub(super) fn new(problem: &'p Problem<'a>, feasibility: FeasibilityCache<'p, 'a, 'v>) -> Self {
        let mut list: Vec<(usize, Field)> = Vec::new();
        for (index, prepared) in problem.participants.iter().enumerate() {
            for choice in &prepared.choices {
                let by_format = choice.constraints.per_fourcc.len();
                problem
                    .work
                    .charge(by_format.saturating_add(4).saturating_mul(16));
            }
            let fields = Field::ALL.into_iter();
            list.extend(
                fields
                    .filter(|field| match field {
                        Field::Crop => problem.pads && prepared.participant.limits_crop(),
                        _ => prepared.participant.demands_field(*field),
                    })
                    .map(|field| (index, field)),
            );
        }
        list.sort_by_key(|(index, field)| {
            let name = problem.participant(*index).participant.name.as_str();
            (*field, name, *index)
        });
        Self {
            problem,
            feasibility,
            list,
        }
    }

    /// Charges the steps of a feasibility check of this many demands.
    fn charge(&self, demands: usize) {
        let places = self.problem.participants.len() >> 1;
        self.problem.work.charge(demands.saturating_add(places));
    }

    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.list.len()).collect()
    }

    pub(super) fn describe(&self, numbers: &[usize]) -> Vec<Demand> {
        numbers
            .iter()
            .map(|number| {
                let (index, field) = self.list[*number];
                let Some(demand) = self.problem.participant(index).participant.demand(field) else {
                    unreachable!("each entry of the list is a demand of its participant: {field:?}")
                };
                self.problem.work.charge(demand.words.len() >> 1);
                Demand {
                    words: bounded_text::cut_to(demand.words, SENTENCE_BYTES),
                    ..demand
                }
            })
            .collect()
    }

    /// Returns these demands as a set of fields for each participant.
    pub(super) fn kept(&self, numbers: &[usize]) -> Vec<FieldSet> {
        let mut kept = vec![FieldSet::default(); self.problem.participants.len()];
        for number in numbers {
            let (index, field) = self.list[*number];
            kept[index].insert(field);
        }
        kept
    }

    /// Returns whether some source meets these demands. If the budget is spent, the result is true.
    ///
    /// A conflict that is reduced with such results is still a conflict, but it may not be irreducible.
    pub(super) fn is_feasible(&self, numbers: &[usize]) -> bool {
        if self.problem.work.is_spent() {
            self.feasibility.record_skipped();
            return true;
        }
        self.charge(numbers.len());
        self.feasibility
            .is_feasible(&self.kept(numbers))
            .unwrap_or(true)
    }

    /// Returns whether it is certain that some source meets all demands except `given_up`.
    fn is_feasible_without(&self, given_up: &[usize]) -> bool {
        if self.problem.work.is_spent() {
            self.feasibility.record_skipped();
            return false;
        }
        self.charge(self.list.len());
        let kept = self.kept(&without(&self.all(), given_up));
        self.feasibility.is_feasible(&kept) == Some(true)
    }

    /// Returns whether it is certain that no source meets these demands, because every combination of their owners' alternatives
    /// was tried.
    pub(super) fn is_proven(&self, conflict: &[usize]) -> bool {
        let mut owners: Vec<usize> = conflict.iter().map(|number| self.list[*number].0).collect();
        owners.sort_unstable();
        owners.dedup();
        let kept = self.kept(conflict);
        let view = View {
            members: &owners,
            kept: Some(&kept),
            cpu_copies: false,
        };
        !self.problem.is_capped(&owners)
            && feasibility::is_feasible(self.problem, view) == Some(false)
    }

    /// Returns the first of the smallest conflicts, in the order of demands, if it has at most `up_to` and at most
    /// [`SMALLEST_UP_TO`] demands.
    ///
    /// Every conflict intersects the complement of every feasible set, so it is a hitting set of these complements. The smallest
    /// hitting set either is a conflict, or it is feasible and grows to a feasible set with a new complement.
    pub(super) fn smallest(&self, up_to: usize) -> Option<Vec<usize>> {
        let mut given_up = HittingSets::new(self.list.len());
        let mut seen = Bits::none(self.list.len());
        for size in 1..=SMALLEST_UP_TO.min(up_to) {
            while let Some(hitting_set) = given_up.first_hitting_set(size, &self.problem.work) {
                if !self.is_feasible(&hitting_set) {
                    return Some(hitting_set);
                }
                let feasible = match self.problem.has_many_participants() {
                    true => self.grow_new(hitting_set, &mut seen),
                    false => self.grow(hitting_set, false),
                };
                if self.feasibility.is_spent() || self.problem.work.is_spent() {
                    // A smaller conflict may exist. The solution has to state that it was not searched for.
                    self.feasibility.record_skipped();
                    return None;
                }
                given_up.add(&without(&self.all(), &feasible));
            }
        }
        if self.problem.work.is_spent() {
            // The next hitting set may not have been found because the budget of steps is spent.
            self.feasibility.record_skipped();
        }
        None
    }

    /// Adds demands to a feasible set as long as the set stays feasible. The cheapest or the most expensive demand is added
    /// first.
    fn grow(&self, mut feasible: Vec<usize>, dearest_first: bool) -> Vec<usize> {
        let mut rest = without(&self.all(), &feasible);
        if dearest_first {
            rest.reverse();
        }
        self.grow_by(&mut feasible, &rest);
        feasible.sort_unstable();
        feasible
    }

    /// Grows a feasible set like [`Self::grow`], but first adds the demands that are not in `seen`. These are the demands that no
    /// earlier call has returned. So few calls are needed until the returned sets together contain every demand that can be met.
    fn grow_new(&self, mut feasible: Vec<usize>, seen: &mut Bits) -> Vec<usize> {
        let mut rest = without(&self.all(), &feasible);
        rest.sort_by_key(|number| seen.contains(*number));
        self.grow_by(&mut feasible, &rest);
        feasible.sort_unstable();
        feasible.iter().for_each(|number| seen.insert(*number));
        feasible
    }

    fn grow_by(&self, feasible: &mut Vec<usize>, candidates: &[usize]) {
        let (possible, compatible) = self.compatible(feasible, candidates);
        if compatible.is_empty() || self.feasibility.is_spent() {
            return;
        }
        let before = feasible.len();
        feasible.extend_from_slice(&compatible);
        if self.is_feasible(feasible) {
            // Each skipped demand has a necessary condition that contradicts the necessary conditions of the set.
            return;
        }
        feasible.truncate(before);
        if possible.len() > 1 {
            let (one, two) = possible.split_at(possible.len() >> 1);
            self.grow_by(feasible, one);
            self.grow_by(feasible, two);
        }
    }

    /// Returns the demands of `candidates` that do not certainly contradict `feasible`. Also returns a subset of them that do not
    /// certainly contradict each other.
    fn compatible(&self, feasible: &[usize], candidates: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let problem = self.problem;
        let words = (problem.universe.len() >> 7).saturating_add(4);
        let checked = feasible.len().saturating_add(candidates.len());
        problem.work.charge(checked.saturating_mul(words));
        let mut common = CombinedConditions::new(problem);
        for number in feasible {
            common.add(self.condition(*number));
        }
        let mut growing = common.clone();
        let (mut possible, mut compatible) = (Vec::new(), Vec::new());
        for number in candidates {
            let condition = self.condition(*number);
            if !common.is_compatible_with(condition) {
                continue;
            }
            possible.push(*number);
            if growing.is_compatible_with(condition) {
                growing.add(condition);
                compatible.push(*number);
            }
        }
        (possible, compatible)
    }

    /// Returns the necessary condition of a demand.
    fn condition(&self, number: usize) -> NecessaryCondition<'p> {
        let (index, field) = self.list[number];
        NecessaryCondition::of(self.problem.participant(index), field)
    }

    /// Returns an irreducible conflict among these demands.
    ///
    /// # References
    ///
    /// Junker, "QuickXplain: Preferred Explanations and Relaxations for Over-Constrained Problems" (2004).
    pub(super) fn irreducible(&self, of: &[usize]) -> Vec<usize> {
        // With many participants, a conflict that concerns only formats or only buffer counts is found without a search over the
        // sources.
        if self.problem.has_many_participants() {
            if let Some(few) = self.without_a_pair(of) {
                return self.needed(&[], false, &few);
            }
            if let Some((many, least)) = self.buffer_count_conflict(of) {
                if self.is_feasible(&without(&many, &[least])) {
                    return many;
                }
            }
        }
        self.needed(&[], false, of)
    }

    /// Returns an irreducible conflict of demands on formats that have no pair in common; `None` if there is none.
    fn without_a_pair(&self, of: &[usize]) -> Option<Vec<usize>> {
        let condition = of.iter().map(|number| (*number, self.condition(*number)));
        let mut on_formats: Vec<_> = condition
            .filter(|(_, condition)| matches!(condition, NecessaryCondition::Pairs(_)))
            .collect();
        self.problem.work.charge(of.len().saturating_mul(3));
        let words = (self.problem.universe.len() >> 7).saturating_add(2);
        let mut found: Vec<usize> = Vec::new();
        let mut common = CombinedConditions::new(self.problem);
        loop {
            self.problem
                .work
                .charge(on_formats.len().saturating_mul(words));
            if self.problem.work.is_spent() {
                return None;
            }
            // The first demand that leaves no common pair is in every conflict of the demands up to it.
            let mut growing = common.clone();
            let end = on_formats.iter().position(|(_, condition)| {
                let is_compatible = growing.is_compatible_with(*condition);
                growing.add(*condition);
                !is_compatible
            })?;
            let (next, condition) = on_formats[end];
            on_formats.truncate(end);
            found.push(next);
            if !common.is_compatible_with(condition) {
                found.sort_unstable();
                return Some(found);
            }
            common.add(condition);
        }
    }

    /// Returns the smallest set of these demands that together hold more buffers than a plan may have, sorted by number. Also
    /// returns the demand in the set that holds the fewest buffers.
    fn buffer_count_conflict(&self, of: &[usize]) -> Option<(Vec<usize>, usize)> {
        let condition = of.iter().map(|number| (*number, self.condition(*number)));
        let mut held: Vec<(u32, usize)> = condition
            .filter_map(|(number, condition)| match condition {
                NecessaryCondition::Buffers(held) => Some((held, number)),
                _ => None,
            })
            .collect();
        self.problem.work.charge(of.len().saturating_mul(4));
        held.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        let mut common = CombinedConditions::new(self.problem);
        let last = held.iter().position(|(held, _)| {
            let condition = NecessaryCondition::Buffers(*held);
            let is_compatible = common.is_compatible_with(condition);
            common.add(condition);
            !is_compatible
        })?;
        let (_, least) = held[last];
        let many = held.iter().take(last.saturating_add(1));
        let mut many: Vec<usize> = many.map(|(_, number)| *number).collect();
        many.sort_unstable();
        Some((many, least))
    }

    /// Returns the demands of `candidates` that are needed for a conflict together with `fixed`. `grown` states whether `fixed`
    /// has grown since the last check.
    fn needed(&self, fixed: &[usize], grown: bool, candidates: &[usize]) -> Vec<usize> {
        if grown && !self.is_feasible(fixed) {
            return Vec::new();
        }
        // After the budget is spent, no demand is known to be unnecessary.
        if candidates.len() <= 1 || self.problem.work.is_spent() {
            return candidates.to_vec();
        }
        let (one, two) = candidates.split_at(candidates.len() >> 1);
        let with = |extra: &[usize]| [fixed, extra].concat();
        let of_two = self.needed(&with(one), true, two);
        let of_one = self.needed(&with(&of_two), !of_two.is_empty(), one);
        [of_one, of_two].concat()
    }

    /// Returns the demands to give up. If one or two are sufficient, one or two are returned, and the more expensive of the two
    /// is as cheap as possible. Otherwise the set is minimal: no demand in it can be kept.
    pub(super) fn cheapest_relaxation(&self, conflict: &[usize]) -> Vec<usize> {
        let all = self.all();
        if conflict.is_empty() || self.feasibility.is_spent() {
            return Vec::new();
        }
        // At least one demand of the conflict has to be given up. If a conflict remains after that, a second demand has to be
        // given up that is part of the remaining conflict.
        if let Some(one) = conflict
            .iter()
            .find(|one| self.is_feasible_without(&[**one]))
        {
            return vec![*one];
        }
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for one in conflict {
            let left = self.irreducible(&without(&all, &[*one]));
            self.problem.work.charge(
                all.len()
                    .saturating_add(left.len().saturating_mul(PAIR_STEPS)),
            );
            if self.problem.work.is_spent() {
                self.feasibility.record_skipped();
                return Vec::new();
            }
            let others = left.into_iter();
            pairs.extend(others.map(|other| (other.max(*one), other.min(*one))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        if let Some((dear, cheap)) = pairs
            .into_iter()
            .find(|(dear, cheap)| self.is_feasible_without(&[*cheap, *dear]))
        {
            return vec![cheap, dear];
        }
        // As long as a conflict remains, its cheapest demand is given up. Then each demand that did not have to be given up is
        // kept again, the most expensive first.
        let mut given_up: Vec<usize> = conflict.iter().min().copied().into_iter().collect();
        while !self.is_feasible_without(&given_up) {
            let rest = without(&all, &given_up);
            if given_up.len() >= GIVEN_UP_SINGLY {
                // The complement of a maximal feasible set is also minimal: no demand in it can be kept.
                let given_up = without(&all, &self.grow(Vec::new(), true));
                return match self.is_feasible_without(&given_up) {
                    true => given_up,
                    false => Vec::new(),
                };
            }
            if self.feasibility.is_spent() {
                return Vec::new();
            }
            match self.irreducible(&rest).into_iter().min() {
                Some(cheapest) => given_up.push(cheapest),
                None => return Vec::new(),
            }
        }
        given_up.sort_unstable();
        for demand in given_up.clone().into_iter().rev() {
            let fewer = without(&given_up, &[demand]);
            if self.is_feasible_without(&fewer) {
                given_up = fewer;
            }
        }
        given_up
    }
}

/// Returns the numbers of `all` that are not in `some`.
pub(super) fn without(all: &[usize], some: &[usize]) -> Vec<usize> {
    let length = all.iter().max().map_or(0, |last| last.saturating_add(1));
    let mut left_out = Bits::none(length);
    some.iter().for_each(|number| left_out.insert(*number));
    all.iter()
        .copied()
        .filter(|number| !left_out.contains(*number))
        .collect()
}
