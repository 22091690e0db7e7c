//! Feasibility of subsets of the participants' demands. A subset of a feasible set is feasible, and results are cached on that
//! basis.

use std::cell::{Cell, OnceCell, RefCell};

use super::candidate_search::CandidateSearch;
use super::fields::FieldSet;
use super::prepared_participant::PreparedChoice;
use super::problem::{Problem, View};
use super::work::Work;
use crate::constraint::{Field, FieldTable};

/// The maximum number of searches over all sources for one conflict and its relaxation. A few hundred are enough, unless many
/// participants have alternatives. Each check then searches every combination of alternatives.
pub(super) const MAXIMUM_SEARCHES: usize = 8192;

/// Returns whether any source serves some of the participants in any format; `None` if the budget was spent before that is known.
pub(super) fn is_feasible(problem: &Problem<'_>, view: View<'_>) -> Option<bool> {
    for combination in problem.combinations(view.members) {
        if problem.work.is_spent() {
            return None;
        }
        let search = CandidateSearch::new(problem, view, &combination);
        match search.serves(&search) {
            Some(false) => {}
            known => return known,
        }
    }
    Some(false)
}

/// Checks whether subsets of the demands of some participants (the members) are feasible, and caches the results.
pub(super) struct FeasibilityCache<'p, 'a, 'v> {
    problem: &'p Problem<'a>,
    members: &'v [usize],
    cpu_copies: bool,
    combinations: &'v [Vec<usize>],
    /// For each combination of alternatives, the members that do not use their first alternative, with the index of the one that
    /// they use.
    later: Vec<Vec<(usize, usize)>>,
    /// For each combination, the search with all demands. It is made when it is first needed.
    all: Vec<OnceCell<CandidateSearch<'p, 'a, 'v>>>,
    /// For each member, the fields in which the demands of two alternatives differ, by the index of the later one and then of the
    /// earlier one.
    differences: Vec<Vec<Vec<FieldSet>>>,
    /// The number of searches that may still be made.
    left: Cell<usize>,
    /// Whether a check was skipped or not completed.
    is_spent: Cell<bool>,
    /// Known feasible and infeasible sets. A subset of a feasible set is feasible, and a superset of an infeasible set is
    /// infeasible.
    known: RefCell<FeasibilityResults>,
}

/// The fields on which each participant's demands are considered.
type KeptDemands = Vec<FieldSet>;

#[derive(Default)]
struct FeasibilityResults {
    feasible: Vec<KeptDemands>,
    infeasible: Vec<KeptDemands>,
}

impl FeasibilityResults {
    fn find(&self, kept: &[FieldSet], work: &Work) -> Option<bool> {
        let mut infeasible = self.infeasible.iter();
        if infeasible.any(|fewer| is_within(fewer, kept, work)) {
            return Some(false);
        }
        let mut feasible = self.feasible.iter();
        let is_feasible = feasible.any(|more| is_within(kept, more, work));
        is_feasible.then_some(true)
    }

    /// Adds a result, and removes the results that follow from it.
    fn add(&mut self, kept: &[FieldSet], is_feasible: bool, work: &Work) {
        work.charge(kept.len() >> 4);
        if is_feasible {
            self.feasible.retain(|fewer| !is_within(fewer, kept, work));
            self.feasible.push(kept.to_vec());
        } else {
            self.infeasible.retain(|more| !is_within(kept, more, work));
            self.infeasible.push(kept.to_vec());
        }
    }
}

/// Returns whether `fewer` is a subset of `more`.
fn is_within(fewer: &[FieldSet], more: &[FieldSet], work: &Work) -> bool {
    let mut both = fewer.iter().zip(more);
    let missing = both.position(|(fewer, more)| fewer.and(*more) != *fewer);
    work.charge((missing.unwrap_or(more.len()) >> 1).saturating_add(1));
    missing.is_none()
}

impl<'p, 'a, 'v> FeasibilityCache<'p, 'a, 'v> {
    pub(super) fn new(
        problem: &'p Problem<'a>,
        view: View<'v>,
        combinations: &'v [Vec<usize>],
        searches: usize,
    ) -> Self {
        let later = combinations
            .iter()
            .map(|combination| {
                problem.work.charge(combination.len() >> 2);
                let choices = combination.iter().copied().enumerate();
                choices.filter(|(_, choice)| *choice > 0).collect()
            })
            .collect();
        let participants = view.members.iter();
        let differences = participants
            .map(|index| {
                let prepared = problem.participant(*index);
                let alternatives = prepared.choices.len();
                problem
                    .work
                    .charge(alternatives.saturating_mul(alternatives).saturating_mul(8));
                let later = prepared.choices.iter().enumerate();
                later
                    .map(|(number, later)| {
                        let earlier = prepared.choices.iter().take(number);
                        earlier
                            .map(|earlier| differing_fields(later, earlier))
                            .collect()
                    })
                    .collect()
            })
            .collect();
        Self {
            problem,
            members: view.members,
            cpu_copies: view.cpu_copies,
            combinations,
            later,
            all: combinations.iter().map(|_| OnceCell::new()).collect(),
            differences,
            left: Cell::new(searches),
            is_spent: Cell::new(false),
            known: RefCell::default(),
        }
    }

    /// Returns whether any source meets these demands in any format; `None` if the searches or the budget were spent before that
    /// is known.
    pub(super) fn is_feasible(&self, kept: &[FieldSet]) -> Option<bool> {
        let known = self.known.borrow().find(kept, &self.problem.work);
        if known.is_some() {
            return known;
        }
        let is_feasible = self.search(kept)?;
        let mut known = self.known.borrow_mut();
        known.add(kept, is_feasible, &self.problem.work);
        Some(is_feasible)
    }

    /// Searches for a source and format that meet the demands in `kept`, and returns whether there is one. The result is `None`
    /// if the budget or the number of searches was spent.
    fn search(&self, kept: &[FieldSet]) -> Option<bool> {
        let view = View {
            members: self.members,
            kept: Some(kept),
            cpu_copies: self.cpu_copies,
        };
        let by_combination = self.combinations.iter().zip(&self.all);
        for ((combination, all), later) in by_combination.zip(&self.later) {
            if !self.is_first(later, kept) {
                continue;
            }
            if self.problem.work.is_spent() {
                self.is_spent.set(true);
                return None;
            }
            self.left.set(self.left.get().checked_sub(1).or_else(|| {
                self.is_spent.set(true);
                None
            })?);
            let whole = View {
                members: self.members,
                kept: None,
                cpu_copies: self.cpu_copies,
            };
            let all = all.get_or_init(|| CandidateSearch::new(self.problem, whole, combination));
            let Some(serves) = CandidateSearch::new(self.problem, view, combination).serves(all)
            else {
                self.is_spent.set(true);
                return None;
            };
            if serves {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Returns whether a check was not completed because the searches or the budget were spent.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get() || self.left.get() == 0
    }

    /// Returns the number of searches that may still be made.
    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    /// Records that a check was skipped because the budget was spent.
    pub(super) fn record_skipped(&self) {
        self.is_spent.set(true);
    }

    /// Allows further checks in the next phase of the work, if searches are left.
    pub(super) fn allow_checks(&self) {
        self.is_spent.set(self.left.get() == 0);
    }

    /// Returns whether a combination has to be searched. If a member could use an earlier alternative with the same considered
    /// demands, the combination with that alternative has the same result, and this combination is skipped.
    fn is_first(&self, later: &[(usize, usize)], kept: &[FieldSet]) -> bool {
        self.problem.work.charge(later.len().saturating_add(1));
        later.iter().all(|(member, choice)| {
            let mut kept = kept[self.members[*member]];
            if !self.problem.pads {
                // No larger coded extent is needed. The inability to crop then cannot be given up, so it is always considered.
                kept.insert(Field::Crop);
            }
            let mut earlier = self.differences[*member][*choice].iter();
            !earlier.any(|differ| differ.and(kept).is_empty())
        })
    }
}

/// Returns the fields in which the demands of two alternatives may differ.
fn differing_fields(one: &PreparedChoice<'_>, two: &PreparedChoice<'_>) -> FieldSet {
    let mut fields = FieldSet::default();
    let (a, b) = (one.constraints, two.constraints);
    for field in Field::ALL {
        let is_different = match field {
            Field::Held => a.buffers_held != b.buffers_held || a.own_memory != b.own_memory,
            Field::Formats => one.formats != two.formats,
            Field::Unknown => one.demands(field) || two.demands(field),
            _ => a.memory.differs(&b.memory, field),
        };
        if is_different {
            fields.insert(field);
        }
    }
    if a.image != b.image || a.per_fourcc != b.per_fourcc {
        fields = fields.or(one.image_fields).or(two.image_fields);
        if a.differs_in_crop(b) {
            fields.insert(Field::Crop);
        }
    }
    fields
}

/// Returns the text that states that the search for a conflict was cut short.
pub(super) fn cut_short() -> String {
    format!(
        "the search ended at its limit of {MAXIMUM_SEARCHES} passes over all sources: a smaller set of constraints may conflict too, and other constraints may be cheaper to remove"
    )
}
