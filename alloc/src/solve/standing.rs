//! Whether some of the participants' demands can stand together, asked again and again.

use std::cell::{Cell, RefCell};

use super::problem::{Choice, FieldSet, Problem, View};
use super::sweep::Sweep;
use crate::constraint::Field;

/// The most sweeps over all sources in search of a conflict and of what to give up. It takes a few hundred, but where many
/// participants have alternatives each question is asked of every combination of them.
pub(super) const SWEEPS: usize = 8192;

/// Whether any source serves some of the participants in any format.
pub(super) fn stands(problem: &Problem<'_>, view: View<'_>) -> bool {
    problem
        .combinations(view.members)
        .iter()
        .map(|combination| Sweep::new(problem, view, combination))
        .any(|sweep| sweep.serves(&sweep))
}

/// Whom some of the participants' demands are asked of.
pub(super) struct Standing<'p, 'a, 'v> {
    problem: &'p Problem<'a>,
    members: &'v [usize],
    copies: bool,
    /// With every demand, by combination of alternatives.
    all: Vec<Sweep<'p, 'a, 'v>>,
    /// By member and then by two of its alternatives, the later first: in which demands they differ.
    differences: Vec<Vec<Vec<FieldSet>>>,
    /// How many sweeps are left.
    left: Cell<usize>,
    /// What is known to stand, and what not: fewer demands than the one stand, and more than the other do not.
    known: RefCell<Answers>,
}

/// Demands by participant.
type Kept = Vec<FieldSet>;

#[derive(Default)]
struct Answers {
    standing: Vec<Kept>,
    fallen: Vec<Kept>,
}

impl Answers {
    fn find(&self, kept: &[FieldSet]) -> Option<bool> {
        if self.fallen.iter().any(|fewer| is_within(fewer, kept)) {
            return Some(false);
        }
        let more = self.standing.iter().any(|more| is_within(kept, more));
        more.then_some(true)
    }

    /// Keeps an answer, and drops those that follow from it.
    fn add(&mut self, kept: &[FieldSet], stands: bool) {
        if stands {
            self.standing.retain(|fewer| !is_within(fewer, kept));
            self.standing.push(kept.to_vec());
        } else {
            self.fallen.retain(|more| !is_within(kept, more));
            self.fallen.push(kept.to_vec());
        }
    }
}

fn is_within(fewer: &[FieldSet], more: &[FieldSet]) -> bool {
    let mut both = fewer.iter().zip(more);
    both.all(|(fewer, more)| fewer.and(*more) == *fewer)
}

impl<'p, 'a, 'v> Standing<'p, 'a, 'v> {
    pub(super) fn new(
        problem: &'p Problem<'a>,
        view: View<'v>,
        combinations: &'v [Vec<usize>],
        sweeps: usize,
    ) -> Self {
        let all = combinations
            .iter()
            .map(|combination| Sweep::new(problem, view, combination))
            .collect();
        let parties = view.members.iter();
        let differences = parties
            .filter_map(|place| problem.parties.get(*place))
            .map(|party| {
                let later = party.choices.iter().enumerate();
                later
                    .map(|(number, later)| {
                        let earlier = party.choices.iter().take(number);
                        earlier.map(|earlier| differ(later, earlier)).collect()
                    })
                    .collect()
            })
            .collect();
        Self {
            problem,
            members: view.members,
            copies: view.copies,
            all,
            differences,
            left: Cell::new(sweeps),
            known: RefCell::default(),
        }
    }

    /// Returns whether any source meets these demands in any format; none where that is not found out, because the sweeps
    /// are spent.
    pub(super) fn stands(&self, kept: &[FieldSet]) -> Option<bool> {
        let known = self.known.borrow().find(kept);
        if known.is_some() {
            return known;
        }
        let stands = self.sweep(kept)?;
        self.known.borrow_mut().add(kept, stands);
        Some(stands)
    }

    fn sweep(&self, kept: &[FieldSet]) -> Option<bool> {
        let view = View {
            members: self.members,
            kept: Some(kept),
            copies: self.copies,
        };
        for all in self
            .all
            .iter()
            .filter(|all| self.is_first(all.combination, kept))
        {
            self.left.set(self.left.get().checked_sub(1)?);
            if Sweep::new(self.problem, view, all.combination).serves(all) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Returns whether there were not enough sweeps for a question.
    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// Returns whether no member could take an earlier alternative that differs in nothing that counts: that combination is
    /// earlier too, and answers for this one.
    fn is_first(&self, combination: &[usize], kept: &[FieldSet]) -> bool {
        let members = self.members.iter().zip(combination);
        members
            .zip(&self.differences)
            .all(|((place, choice), differences)| {
                let kept = kept.get(*place).copied().unwrap_or_default();
                let mut earlier = differences.get(*choice).into_iter().flatten();
                !earlier.any(|differ| differ.and(kept).is_empty())
            })
    }
}

/// Returns in which demands two alternatives may differ.
fn differ(one: &Choice<'_>, two: &Choice<'_>) -> FieldSet {
    let mut fields = FieldSet::default();
    let (a, b) = (one.constraints, two.constraints);
    let (of_a, of_b) = (&a.memory, &b.memory);
    for (field, is_same) in [
        (Field::Permitted, of_a.permitted == of_b.permitted),
        (Field::Held, a.buffers_held == b.buffers_held),
        (Field::Formats, one.formats == two.formats),
        (Field::Cpu, of_a.cpu == of_b.cpu),
        (Field::Coherency, of_a.coherency == of_b.coherency),
        (Field::Imports, of_a.imports == of_b.imports),
        (Field::Exports, of_a.exports == of_b.exports),
        (Field::Contiguity, of_a.contiguity == of_b.contiguity),
        (Field::Address, of_a.address == of_b.address),
        (Field::Protection, of_a.protection == of_b.protection),
        (
            Field::Unknown,
            !one.demands(Field::Unknown) && !two.demands(Field::Unknown),
        ),
    ] {
        if !is_same {
            fields.insert(field);
        }
    }
    if a.image != b.image || a.per_fourcc != b.per_fourcc {
        fields = fields.or(one.image_fields).or(two.image_fields);
    }
    fields
}
