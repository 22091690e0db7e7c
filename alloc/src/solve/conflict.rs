//! The demands that cannot stand together, and the cheapest of them to give up.

use super::candidate;
use super::problem::{FieldSet, Problem, View};
use super::standing::{SWEEPS, Standing};
use crate::constraint::{Demand, Field};

/// Conflicts of up to this many demands are the smallest there is; larger ones are irreducible, but a smaller may exist.
pub(super) const SMALLEST_UP_TO: usize = 3;

/// Why no source serves all.
pub(super) struct Conflict {
    /// An irreducible set that nothing meets, in the order of demands.
    pub(super) demands: Vec<Demand>,
    /// Whether the search for a smaller one, or for what to give up, was ended before its end.
    pub(super) is_cut_short: bool,
    /// What to give up, so that something meets the rest, in the order of demands.
    pub(super) relaxed: Vec<Demand>,
    /// What would then serve all.
    pub(super) relaxed_plan: Option<super::Plan>,
}

/// Finds out why no source serves all participants. Both sets are empty where the sources serve nobody, whatever is demanded.
pub(super) fn conflict(problem: &Problem<'_>) -> Conflict {
    conflict_within(problem, SWEEPS)
}

fn conflict_within(problem: &Problem<'_>, sweeps: usize) -> Conflict {
    let everybody = problem.everybody();
    let combinations = problem.combinations(&everybody);
    let view = View {
        members: &everybody,
        kept: None,
        copies: false,
    };
    let demands = Demands::new(problem, Standing::new(problem, view, &combinations, sweeps));
    let conflict = if demands.stand(&[]) {
        // Any conflict first: it answers most of what the search for the smallest asks.
        let mut any = demands.irreducible(&[], &demands.all());
        any.sort_unstable();
        demands.smallest(any.len()).unwrap_or(any)
    } else {
        Vec::new()
    };
    let relaxed = demands.cheapest_relaxation(&conflict);
    let relaxed_plan = (!relaxed.is_empty()).then(|| {
        let kept = demands.kept(&without(&demands.all(), &relaxed));
        let view = View {
            kept: Some(&kept),
            ..view
        };
        candidate::best(problem, view, false).ok()
    });
    Conflict {
        demands: demands.in_words(&conflict),
        is_cut_short: demands.standing.is_spent(),
        relaxed: demands.in_words(&relaxed),
        relaxed_plan: relaxed_plan.flatten(),
    }
}

/// All demands of a request, numbered in their order: the cheapest to give up first, then by name.
struct Demands<'p, 'a> {
    problem: &'p Problem<'a>,
    standing: Standing<'p, 'a, 'p>,
    /// Participant and field.
    list: Vec<(usize, Field)>,
}

impl<'p, 'a> Demands<'p, 'a> {
    fn new(problem: &'p Problem<'a>, standing: Standing<'p, 'a, 'p>) -> Self {
        let mut list: Vec<(usize, Field)> = Vec::new();
        for (place, party) in problem.parties.iter().enumerate() {
            let fields = Field::ALL.into_iter();
            list.extend(
                fields
                    .filter(|field| party.participant.demands_field(*field))
                    .map(|field| (place, field)),
            );
        }
        list.sort_by_key(|(place, field)| {
            let name = problem
                .parties
                .get(*place)
                .map(|party| party.participant.name.as_str());
            (*field, name, *place)
        });
        Self {
            problem,
            standing,
            list,
        }
    }

    fn all(&self) -> Vec<usize> {
        (0..self.list.len()).collect()
    }

    fn in_words(&self, numbers: &[usize]) -> Vec<Demand> {
        numbers
            .iter()
            .filter_map(|number| {
                let (place, field) = self.list.get(*number)?;
                self.problem.parties.get(*place)?.participant.demand(*field)
            })
            .collect()
    }

    /// Returns what counts, by participant, when only these demands do.
    fn kept(&self, numbers: &[usize]) -> Vec<FieldSet> {
        let mut kept = vec![FieldSet::default(); self.problem.parties.len()];
        for number in numbers {
            if let Some((place, field)) = self.list.get(*number) {
                if let Some(kept) = kept.get_mut(*place) {
                    kept.insert(*field);
                }
            }
        }
        kept
    }

    /// Returns whether some source meets these demands alone, or whether it does is not found out any more.
    ///
    /// A conflict that is made smaller by such answers is one whatever they should have been: it may only keep what it need
    /// not.
    fn stand(&self, numbers: &[usize]) -> bool {
        self.standing.stands(&self.kept(numbers)).unwrap_or(true)
    }

    /// Returns whether some source surely meets all demands but these.
    fn stand_without(&self, given_up: &[usize]) -> bool {
        let kept = self.kept(&without(&self.all(), given_up));
        self.standing.stands(&kept) == Some(true)
    }

    /// Returns the first of the smallest conflicts, in the order of demands, if it is of `up_to` and [`SMALLEST_UP_TO`] at the
    /// most.
    ///
    /// Every conflict has a demand in common with every set that must be given up; so the smallest set that has, if it is
    /// no conflict, tells one more set that must be given up, until it is one.
    fn smallest(&self, up_to: usize) -> Option<Vec<usize>> {
        let mut given_up: Vec<Vec<usize>> = Vec::new();
        for size in 1..=SMALLEST_UP_TO.min(up_to) {
            while let Some(meeting) = first_meeting(&given_up, size, self.list.len()) {
                if !self.stand(&meeting) {
                    return Some(meeting);
                }
                let standing = self.grow(meeting);
                if self.standing.is_spent() {
                    return None;
                }
                given_up.push(without(&self.all(), &standing));
            }
        }
        None
    }

    /// Adds demands to those that stand as long as they do.
    fn grow(&self, mut standing: Vec<usize>) -> Vec<usize> {
        let rest = without(&self.all(), &standing);
        self.grow_by(&mut standing, &rest);
        standing.sort_unstable();
        standing
    }

    fn grow_by(&self, standing: &mut Vec<usize>, more: &[usize]) {
        if more.is_empty() {
            return;
        }
        let before = standing.len();
        standing.extend_from_slice(more);
        if self.stand(standing) {
            return;
        }
        standing.truncate(before);
        if more.len() > 1 {
            let (one, two) = more.split_at(more.len() >> 1);
            self.grow_by(standing, one);
            self.grow_by(standing, two);
        }
    }

    /// Returns which of `more` are needed for a conflict beside `fixed`; none of them can be left out.
    ///
    /// # References
    ///
    /// Junker, "QuickXplain: Preferred Explanations and Relaxations for Over-Constrained Problems" (2004).
    fn irreducible(&self, fixed: &[usize], more: &[usize]) -> Vec<usize> {
        self.needed(fixed, false, more)
    }

    fn needed(&self, fixed: &[usize], grown: bool, more: &[usize]) -> Vec<usize> {
        if grown && !self.stand(fixed) {
            return Vec::new();
        }
        if more.len() <= 1 {
            return more.to_vec();
        }
        let (one, two) = more.split_at(more.len() >> 1);
        let with = |extra: &[usize]| [fixed, extra].concat();
        let of_two = self.needed(&with(one), true, two);
        let of_one = self.needed(&with(&of_two), !of_two.is_empty(), one);
        [of_one, of_two].concat()
    }

    /// Returns what to give up: one or two demands, the dearer of which is as cheap as can be; or else a set of which none
    /// can be kept.
    fn cheapest_relaxation(&self, conflict: &[usize]) -> Vec<usize> {
        let all = self.all();
        if conflict.is_empty() || self.standing.is_spent() {
            return Vec::new();
        }
        // One of the conflict must go, whatever else does; and with it one of any conflict that is left.
        if let Some(one) = conflict.iter().find(|one| self.stand_without(&[**one])) {
            return vec![*one];
        }
        let mut pairs: Vec<(usize, usize)> = conflict
            .iter()
            .flat_map(|one| {
                let left = self.irreducible(&[], &without(&all, &[*one]));
                let others = left.into_iter();
                others.map(move |other| (other.max(*one), other.min(*one)))
            })
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        if let Some((dear, cheap)) = pairs
            .into_iter()
            .find(|(dear, cheap)| self.stand_without(&[*cheap, *dear]))
        {
            return vec![cheap, dear];
        }
        // The cheapest of one conflict after another, and then back what was given up in vain, the dearest first.
        let mut given_up: Vec<usize> = conflict.iter().min().copied().into_iter().collect();
        while !self.stand_without(&given_up) {
            let rest = without(&all, &given_up);
            match self.irreducible(&[], &rest).into_iter().min() {
                Some(cheapest) => given_up.push(cheapest),
                None => return Vec::new(),
            }
        }
        given_up.sort_unstable();
        for demand in given_up.clone().into_iter().rev() {
            let fewer = without(&given_up, &[demand]);
            if self.stand_without(&fewer) {
                given_up = fewer;
            }
        }
        given_up
    }
}

fn without(all: &[usize], some: &[usize]) -> Vec<usize> {
    all.iter()
        .copied()
        .filter(|number| !some.contains(number))
        .collect()
}

/// Returns the first set of `size` numbers below `length` that has one in common with each of `sets`, in order.
fn first_meeting(sets: &[Vec<usize>], size: usize, length: usize) -> Option<Vec<usize>> {
    let mut found: Option<Vec<usize>> = None;
    meet(sets, size, length, &mut Vec::new(), &mut found);
    found
}

fn meet(
    sets: &[Vec<usize>],
    size: usize,
    length: usize,
    begun: &mut Vec<usize>,
    found: &mut Option<Vec<usize>>,
) {
    let missed = sets
        .iter()
        .filter(|set| !set.iter().any(|number| begun.contains(number)))
        .min_by_key(|set| set.len());
    match missed {
        None => {
            // Filled up with the first numbers that are not in it yet.
            let mut set = begun.clone();
            set.extend(
                (0..length)
                    .filter(|number| !begun.contains(number))
                    .take(size.saturating_sub(begun.len())),
            );
            set.sort_unstable();
            if set.len() == size && found.as_ref().is_none_or(|found| set < *found) {
                *found = Some(set);
            }
        }
        Some(set) if begun.len() < size => {
            for number in set {
                begun.push(*number);
                meet(sets, size, length, begun, found);
                begun.pop();
            }
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::{Participant, Role, Source, SourceId};
    use crate::model::{DeviceIdentity, Extent};
    use crate::solve::{Request, Solution, solve};

    /// Three who never agree on a stride, each with an alternative, and one who does not care.
    fn request() -> Request {
        let mut request = Request::new(Extent::new(64, 4).unwrap());
        let heap = Source::new(SourceId::new("heap"), "heap");
        request.sources.push(heap);
        for (number, step) in [48, 80, 112, 1].into_iter().enumerate() {
            let device = DeviceIdentity {
                driver: "gpu".to_owned(),
                location: String::new(),
                node: String::new(),
            };
            let mut one = Participant::new(format!("device {number}"), device, Role::Import);
            one.constraints.image.stride.alignment = step;
            one.constraints.image.stride.maximum = 1024;
            one.constraints.buffers_held = 1;
            one.alternatives.push(one.constraints.clone());
            one.alternatives[0].image.stride.alignment = step * 2;
            request.participants.push(one);
        }
        request
    }

    #[test]
    fn conflict_that_is_cut_short_after_any_sweep_is_a_conflict_all_the_same() {
        let request = request();
        let problem = Problem::new(&request);
        let whole = conflict_within(&problem, SWEEPS);
        assert!(!whole.is_cut_short && whole.demands.len() == 3 && whole.relaxed.len() == 1);
        let mut cut_short = 0;
        for sweeps in 0..200 {
            let found = conflict_within(&problem, sweeps);
            cut_short += usize::from(found.is_cut_short);
            let mut told = request.clone();
            for participant in &mut told.participants {
                for field in Field::ALL {
                    let is_told =
                        |demand: &Demand| demand.owner == participant.name && demand.field == field;
                    if !found.demands.iter().any(is_told) {
                        participant.relax(field);
                    }
                }
            }
            assert!(
                matches!(solve(&told), Solution::Split(_)),
                "{sweeps} sweeps"
            );
            // Nothing is said to help that is not known to.
            assert_eq!(found.relaxed.is_empty(), found.relaxed_plan.is_none());
        }
        assert!(
            (10..200).contains(&cut_short),
            "{cut_short} searches were cut short"
        );
        let nothing = conflict_within(&problem, 0);
        assert!(nothing.is_cut_short && nothing.demands.len() == 8 && nothing.relaxed.is_empty());
    }
}
