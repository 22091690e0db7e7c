//! Tests that the solver's steps are bounded for every request, and that a solution states nothing that the solver has not
//! determined.

use std::collections::BTreeSet;

use covalent_solver::constraint::{Field, Participant, Role, Source, SourceId};
use covalent_solver::model::Extent;
use covalent_solver::solve::{
    BUDGET, EXPLANATION_BYTES, EXPLANATION_LINES, Part, Request, Solution, Split, Verdict,
    candidates, solve, solve_within,
};
use proptest::prelude::*;

use crate::shapes;
use covalent_solver_tests::common::demands::{Feasibility, among};
use covalent_solver_tests::common::{generate, request, system_heap};

/// Checks properties that every solution has.
fn check(name: &str, request: &Request, solution: &Solution, spent: u64, budget: u64) {
    assert!(spent <= budget, "{name}: {spent} steps of {budget}");
    let text = solution.explain();
    assert!(
        text.len() <= EXPLANATION_BYTES,
        "{name}: {} bytes",
        text.len()
    );
    assert!(text.lines().count() <= EXPLANATION_LINES, "{name}");
    let names: BTreeSet<&str> = request
        .participants
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    match solution {
        Solution::Share(plan) => {
            assert_eq!(plan.steps().len(), request.participants.len(), "{name}");
            assert!(plan.count() >= request.count.max(1), "{name}");
        }
        Solution::Split(split) => {
            let placed = split.groups().iter().flat_map(|group| &group.participants);
            let placed: Vec<&str> = placed.map(String::as_str).collect();
            assert_eq!(
                placed.len(),
                names.len(),
                "{name}: each participant is in exactly one group"
            );
            assert_eq!(placed.into_iter().collect::<BTreeSet<_>>(), names, "{name}");
            if split.is_undecided() {
                assert_eq!(solution.verdict(), Verdict::Undecided, "{name}");
                assert!(!split.left_out().is_empty(), "{name}");
                assert!(!text.contains("no single buffer"), "{name}: {text}");
            } else {
                assert_eq!(solution.verdict(), Verdict::Impossible, "{name}");
            }
            for group in split.groups() {
                assert!(group.plan.is_none() || !group.is_undecided, "{name}");
            }
        }
    }
    for left_out in solution.left_out() {
        assert!(
            text.contains(&left_out.words),
            "the explanation of {name} lacks: {left_out}\n{text}"
        );
    }
}

fn split(name: &str) -> Split {
    let (_, shape) = shapes::ALL
        .iter()
        .find(|(shape, _)| *shape == name)
        .unwrap();
    match solve(&shape()) {
        Solution::Split(split) => split,
        other => panic!("{name}: {}", other.explain()),
    }
}

#[test]
fn every_shape_is_solved_within_the_budget() {
    for (name, shape) in shapes::ALL {
        let request = shape();
        let (solution, spent) = solve_within(&request, BUDGET);
        check(name, &request, &solution, spent, BUDGET);
    }
}

#[test]
fn thousand_participants_of_two_formats_are_two_groups() {
    for (name, sizes) in [
        ("alternating_1000", vec![500; 2]),
        ("alternating_2000", vec![1000; 2]),
        // Each participant holds a buffer, and a plan has at most 1024 buffers.
        ("alternating_4096", vec![1024; 4]),
    ] {
        let split = split(name);
        assert!(!split.is_undecided(), "{name}");
        let owners: Vec<_> = split
            .conflict()
            .iter()
            .map(|demand| (demand.owner.as_str(), demand.field))
            .collect();
        assert_eq!(
            owners,
            [("device 0", Field::Formats), ("device 1", Field::Formats)],
            "{name}"
        );
        let found: Vec<_> = split
            .groups()
            .iter()
            .map(|group| group.participants.len())
            .collect();
        assert_eq!(found, sizes, "{name}");
        assert!(split.groups().iter().all(|group| group.plan.is_some()));
        assert_eq!(split.left_out(), [], "{name}");
        // The relaxation gives up the demands on every format except one, and the buffers beyond the limit.
        let count: usize = sizes.iter().sum();
        let given_up = |field| {
            let relaxed = split.relaxed().iter();
            relaxed.filter(|demand| demand.field == field).count()
        };
        assert_eq!(given_up(Field::Formats), count / 2, "{name}");
        assert_eq!(given_up(Field::Held), count.saturating_sub(1024), "{name}");
    }
}

#[test]
fn same_request_has_the_same_solution_where_the_budget_is_spent() {
    for name in ["every_cap_64_infeasible", "strides_alternate_1000"] {
        let (_, shape) = shapes::ALL
            .iter()
            .find(|(shape, _)| *shape == name)
            .unwrap();
        let request = shape();
        let budget = BUDGET / 10;
        let (one, spent) = solve_within(&request, budget);
        assert!(!one.left_out().is_empty(), "{name}");
        assert_eq!((one, spent), solve_within(&request, budget), "{name}");
    }
}

#[test]
fn request_beyond_a_limit_is_not_solved_and_names_the_limit() {
    let many = |count: usize| -> Vec<Participant> {
        (0..count)
            .map(|number| Participant::processor(Role::CpuRead).named(number))
            .collect()
    };
    let heaps = |count: usize| -> Vec<Source> {
        (0..count)
            .map(|number| Source::new(SourceId::new(format!("heap:{number}")), "heap"))
            .collect()
    };
    let mut sizes = request(many(1), heaps(1));
    sizes.more_extents = vec![Extent::new(8, 8).unwrap(); Request::MAXIMUM_EXTENTS];
    for (request, what) in [
        (
            request(many(Request::MAXIMUM_PARTICIPANTS + 1), heaps(1)),
            "4097 participants",
        ),
        (
            request(many(1), heaps(Request::MAXIMUM_SOURCES + 1)),
            "1025 sources",
        ),
        (sizes, "65 sizes"),
    ] {
        let solution = solve(&request);
        assert_eq!(solution.verdict(), Verdict::Undecided, "{what}");
        let [left_out] = solution.left_out() else {
            panic!("{:?}", solution.left_out())
        };
        assert_eq!(left_out.part, Part::Request);
        assert!(left_out.words.contains(what), "{left_out}");
        assert!(solution.explain().contains(&left_out.words));
        let found = candidates(&request);
        assert!(found.is_empty());
        assert_eq!(found.left_out().map(|left| left.part), Some(Part::Request));
    }
}

/// A trait that gives a participant a name.
trait Named {
    fn named(self, number: usize) -> Self;
}

impl Named for Participant {
    fn named(mut self, number: usize) -> Self {
        self.name = format!("reader {number}");
        self
    }
}

#[test]
fn plan_within_the_limits_on_size_is_found() {
    let many = (0..Request::MAXIMUM_PARTICIPANTS)
        .map(|number| Participant::processor(Role::CpuRead).named(number));
    let solution = solve(&request(many.collect(), vec![system_heap(2)]));
    assert_eq!(solution.verdict(), Verdict::Guaranteed);
    assert_eq!(solution.left_out(), []);
}

#[test]
fn plan_of_an_incomplete_search_says_so() {
    let request = shapes::every_cap(16, 16, false);
    let (solution, _) = solve_within(&request, BUDGET / 20);
    let Solution::Share(plan) = &solution else {
        panic!("{}", solution.explain())
    };
    let [left_out] = plan.left_out() else {
        panic!("{:?}", plan.left_out())
    };
    assert_eq!(left_out.part, Part::Candidates);
    assert!(solution.explain().contains("best of the "));
}

#[test]
fn conflict_without_all_combinations_is_only_reported_where_it_is_certain() {
    // Nine participants with two alternatives each have more combinations than are tried. One participant's demand conflicts by
    // itself.
    let mut participants = Vec::new();
    for number in 0..9 {
        let mut one = Participant::processor(Role::CpuRead).named(number);
        one.for_each_choice(|own| own.image.width.multiple_of = 2);
        one.push_alternative(one.constraints().clone());
        participants.push(one);
    }
    let all = &mut participants[4];
    for (own, minimum) in all.choices_mut().zip([10_000, 20_000]) {
        own.image.width.minimum = minimum;
    }
    let Solution::Split(split) = solve(&request(participants.clone(), vec![system_heap(2)])) else {
        panic!("no picture is so wide")
    };
    assert!(split.is_capped() && !split.is_undecided());
    // Only all nine participants together conflict, and there are too many combinations to be certain of it.
    let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23];
    for (one, prime) in participants.iter_mut().zip(primes) {
        one.for_each_choice(|own| {
            own.image.width.minimum = 1;
            own.image.width.multiple_of = 1;
            own.image.stride.alignment = prime;
            own.image.stride.maximum = 223_092_870 - 1;
        });
    }
    let solution = solve(&request(participants, vec![system_heap(2)]));
    assert_eq!(solution.verdict(), Verdict::Undecided);
    assert!(
        solution
            .explain()
            .starts_with("no buffer was found that all participants can share\n")
    );
}

#[test]
fn candidates_are_bounded_too() {
    let request = |name: &str| {
        let (_, shape) = shapes::ALL
            .iter()
            .find(|(shape, _)| *shape == name)
            .unwrap();
        shape()
    };
    let of = |name: &str| candidates(&request(name));
    // If nothing was left out, the list is complete and agrees with the solution.
    for (name, is_empty) in [
        ("sources_256_of_8_feasible", false),
        ("alternating_1000", true),
    ] {
        let whole = of(name);
        assert_eq!(whole.left_out(), None, "{name}");
        assert_eq!(whole.is_empty(), is_empty, "{name}");
        let verdict = solve(&request(name)).verdict();
        assert_eq!(is_empty, verdict == Verdict::Impossible, "{name}");
    }
    for name in [
        "every_cap_64_feasible",
        "formats_65536_of_4",
        "alternatives_of_1000",
    ] {
        let found = of(name);
        let left_out = found.left_out().map(|left_out| left_out.part);
        let known = [Some(Part::Candidates), Some(Part::Alternatives)];
        assert!(known.contains(&left_out), "{name}: {left_out:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// With any budget, the solution states nothing that a solution with a greater budget contradicts.
    #[test]
    fn solution_within_any_budget_agrees_with_the_complete_one(
        request in prop_oneof![generate::request(), generate::divided()],
        budget in 0..60_000_u64,
    ) {
        let (whole, needed) = solve_within(&request, BUDGET);
        prop_assert!(needed <= BUDGET);
        let (cut, spent) = solve_within(&request, budget);
        // A unit of work that was begun is completed. The largest unit tries 257 widths for each of two sizes, with four layout
        // choices.
        prop_assert!(spent <= budget + 20_000, "{} steps of {}", spent, budget);
        match (&whole, &cut) {
            (Solution::Share(_), Solution::Split(split)) => prop_assert!(split.is_undecided()),
            (Solution::Split(_), Solution::Share(_)) => prop_assert!(false, "a plan of nothing"),
            (Solution::Share(best), Solution::Share(found)) => {
                prop_assert!(found.left_out().len() <= 1);
                if found.left_out().is_empty() {
                    prop_assert_eq!(best, found);
                } else if best.source() != found.source() || best.layout() != found.layout() {
                    prop_assert!(found.left_out()[0].words.ends_with("there may be a better plan among the others"));
                }
            }
            (Solution::Split(_), Solution::Split(split)) => {
                if split.left_out().is_empty() {
                    prop_assert_eq!(&whole, &cut);
                }
                if !split.is_undecided() && !split.conflict().is_empty() {
                    let are_met = Feasibility::of(&request).shares(among(split.conflict()));
                    prop_assert!(!are_met, "{:?}", split.conflict());
                }
            }
        }
    }
}
