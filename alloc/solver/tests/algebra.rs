//! Tests of properties of merging and solving, with random requests. Plans are checked by `common/checker.rs`, and compared with
//! the exhaustive search in `common/exhaustive.rs`. Neither shares code with the solver.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;

use covalent_solver::constraint::{
    Demand, Field, MergedImage, MergedMemory, MergedUse, Participant, Role,
};
use covalent_solver::model::{FormatInfo, FormatModifier, Layout};
use covalent_solver::solve::{Copier, Group, Request, Solution, Verdict, candidates, solve};
use covalent_solver_tests::common::checker::{Taken, check_plan, unpadded_bytes};
use covalent_solver_tests::common::demands::{Feasibility, among, pads};
use covalent_solver_tests::common::generate::{
    constraints, copiers, divided, image, memory, participant, request, source,
};
use covalent_solver_tests::common::{colours, device, exhaustive};
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        ..ProptestConfig::default()
    }
}

fn all_demands(request: &Request) -> Vec<Demand> {
    let mut all: Vec<Demand> = request
        .participants
        .iter()
        .flat_map(Participant::demands)
        .collect();
    if pads(request) {
        let crop = |own: &Participant| own.demand(Field::Crop);
        all.extend(request.participants.iter().filter_map(crop));
    }
    all.sort();
    all
}

/// Returns all sets of `size` demands, in order.
fn subsets(all: &[Demand], size: usize) -> Vec<Vec<Demand>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    (0..all.len())
        .flat_map(|first| {
            subsets(&all[first + 1..], size - 1)
                .into_iter()
                .map(move |rest| [&[all[first].clone()], rest.as_slice()].concat())
        })
        .collect()
}

/// Returns the number of bytes in a frame without padding, for the largest size of the request.
fn frame_bytes(request: &Request, format: FormatModifier) -> u64 {
    let bytes = request.extents().map(|extent| {
        let layout = Layout::linear(extent, format.fourcc, 1, 0).unwrap();
        unpadded_bytes(format.fourcc.info().unwrap(), &layout)
    });
    bytes.max().unwrap()
}

/// Returns the rank of a candidate in the order that `solve` documents, as far as it does not depend on the choice of a layout.
fn order(request: &Request, candidate: &exhaustive::Candidate) -> impl Ord + use<> {
    let source = &request.sources[candidate.source];
    let fourcc = candidate.format.fourcc;
    let members: Vec<_> = request
        .participants
        .iter()
        .zip(&candidate.combination)
        .map(|(participant, choice)| (participant, participant.choices().nth(*choice).unwrap()))
        .collect();
    let own = |participant: &Participant| source.is_of(&participant.device);
    let cpu = members.iter().map(|(_, own)| own.memory.cpu).max().unwrap();
    let often = cpu == covalent_solver::constraint::CpuUse::Often;
    let arrangement = match candidate.format.modifier.0 {
        0 => 1,
        0x00ff_ffff_ffff_ffff => 3,
        _ => 0,
    };
    let name = fourcc.info().unwrap().name;
    let mut roles = request.participants.iter().map(|own| own.role);
    let is_drawn = roles.all(|role| role != Role::Capture);
    let (lost, depth) = (colours::loss(request, name), colours::depth(name));
    (
        (
            candidate.caveats,
            candidate.combination.iter().sum::<usize>(),
            request.preferred_fourcc.is_some_and(|wish| wish != fourcc),
            members
                .iter()
                .filter(|(_, own)| {
                    let wish = &own.memory.preferred;
                    !wish.is_empty() && !wish.contains(&source.id)
                })
                .count(),
            often && source.guarantees.cached == Some(false),
            candidate.internal_copies * frame_bytes(request, candidate.format),
            members
                .iter()
                .filter(|(participant, _)| !own(participant) && participant.role.imports())
                .count(),
            !members.iter().any(|(participant, _)| own(participant)),
        ),
        (
            often && source.guarantees.cached != Some(true),
            source.guarantees.cost,
            source.guarantees.protected,
            !members
                .iter()
                .any(|(one, _)| own(one) && one.role == Role::Display),
            arrangement,
            (
                lost.0,
                if is_drawn {
                    colours::missing_chroma(name)
                } else {
                    lost.2
                },
            ),
            FormatInfo::all().position(|info| colours::depth(info.name) == depth),
            frame_bytes(request, candidate.format),
            fourcc.info().unwrap().rank(),
        ),
    )
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn merge_of_images_commutes_associates_and_has_an_identity(a in image(), b in image(), c in image()) {
        let (a, b, c) = (MergedImage::of(0, &a), MergedImage::of(1, &b), MergedImage::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedImage::default()), a);
    }

    #[test]
    fn merge_of_memory_commutes_associates_and_has_an_identity(a in memory(), b in memory(), c in memory()) {
        let (a, b, c) = (MergedMemory::of(0, &a), MergedMemory::of(1, &b), MergedMemory::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedMemory::default()), a);
    }

    #[test]
    fn merge_of_use_commutes_associates_and_has_an_identity(a in constraints(), b in constraints(), c in constraints()) {
        let (a, b, c) = (MergedUse::of(0, &a), MergedUse::of(1, &b), MergedUse::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedUse::default()), a);
    }

    #[test]
    fn declarations_survive_json(request in request()) {
        let text = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn plan_satisfies_every_constraint(request in request()) {
        match solve(&request) {
            Solution::Share(plan) => {
                let members: Vec<usize> = (0..request.participants.len()).collect();
                check_plan(&request, &members, &plan, false, &Taken::new());
            }
            Solution::Split(split) => {
                let copies = split.copies().next().is_some();
                let mut seen = Vec::new();
                let mut taken = Taken::new();
                for group in split.groups() {
                    let place = |name: &String| request.participants.iter().position(|own| own.name == *name).unwrap();
                    let members: Vec<usize> = group.participants.iter().map(place).collect();
                    seen.extend(members.iter().copied());
                    if let Some(plan) = &group.plan {
                        check_plan(&request, &members, plan, copies, &taken);
                        for own in plan.pools() {
                            *taken.entry(own.pool.clone()).or_default() += own.bytes;
                        }
                    }
                }
                seen.sort_unstable();
                prop_assert!(seen.into_iter().eq(0..request.participants.len()));
            }
        }
    }

    #[test]
    fn another_participant_never_adds_a_candidate(request in request(), more in participant(9)) {
        let mut stricter = request.clone();
        stricter.participants.push(more);
        let wide: BTreeSet<_> = candidates(&request).into_iter().map(|(source, format, _)| (source, format)).collect();
        for (source, format, _) in candidates(&stricter) {
            prop_assert!(wide.contains(&(source, format)));
        }
    }

    #[test]
    fn removing_a_demand_never_removes_a_candidate(request in request(), field in prop::sample::select(Field::ALL.to_vec())) {
        let mut wider = request.clone();
        wider.participants[0].relax(field);
        let wide: BTreeSet<_> = candidates(&wider).into_iter().map(|(source, format, _)| (source, format)).collect();
        for (source, format, _) in candidates(&request) {
            prop_assert!(wide.contains(&(source, format)), "{} without {:?}", format, field);
        }
    }

    #[test]
    fn order_of_participants_and_sources_never_matters(request in request()) {
        let mut turned = request.clone();
        turned.participants.reverse();
        turned.sources.reverse();
        match (solve(&request), solve(&turned)) {
            (Solution::Share(one), Solution::Share(two)) => {
                prop_assert_eq!(one.source(), two.source());
                prop_assert!(one.layouts().eq(two.layouts()));
                prop_assert_eq!(one.verdict(), two.verdict());
                prop_assert_eq!(one.caveats(), two.caveats());
            }
            (Solution::Split(one), Solution::Split(two)) => {
                prop_assert_eq!(one.conflict(), two.conflict());
                prop_assert_eq!(one.relaxation(), two.relaxation());
            }
            _ => prop_assert!(false, "all participants share a buffer in only one of the two orders"),
        }
    }
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn candidates_are_those_of_exhaustive_search(request in request()) {
        let members: Vec<usize> = (0..request.participants.len()).collect();
        let mut known: Vec<_> = exhaustive::candidates(&request, &members, false)
            .into_iter()
            .map(|candidate| {
                let verdict = if candidate.caveats == 0 { Verdict::Guaranteed } else { Verdict::Possible };
                (request.sources[candidate.source].id.clone(), candidate.format, verdict)
            })
            .collect();
        known.sort();
        known.dedup_by(|two, one| (&one.0, one.1) == (&two.0, two.1));
        prop_assert_eq!(candidates(&request), known);
    }

    #[test]
    fn plan_is_the_first_of_all_by_the_documented_order(request in request()) {
        let members: Vec<usize> = (0..request.participants.len()).collect();
        let all = exhaustive::candidates(&request, &members, false);
        let Solution::Share(plan) = solve(&request) else {
            prop_assert!(all.is_empty());
            return Ok(());
        };
        let chosen = all.iter().filter(|candidate| {
            request.sources[candidate.source].id == *plan.source()
                && candidate.format == plan.layout().format()
                && plan.steps().iter().map(|step| step.alternative).eq(candidate.combination.iter().copied())
        });
        let chosen = chosen.map(|candidate| order(&request, candidate)).min();
        prop_assert!(chosen.is_some());
        prop_assert!(chosen == all.iter().map(|candidate| order(&request, candidate)).min());
    }

    #[test]
    fn split_copies_as_little_as_exhaustive_search_finds(mut request in request()) {
        // The exhaustive search does not take into account that the groups of a split share the pools.
        request.pools.clear();
        if let Solution::Split(split) = solve(&request) {
            let Some((lost, bytes, displays)) = exhaustive::division::fewest_copies(&request) else {
                prop_assert_eq!(split.copies().count(), 0);
                return Ok(());
            };
            prop_assert_eq!(split.copied_bytes_per_frame(), bytes);
            let inside = split.groups().iter().filter_map(|group| group.plan.as_ref());
            let inside = inside.map(covalent_solver::solve::Plan::copied_bytes_per_frame);
            let inside = inside.sum::<u64>();
            prop_assert_eq!(split.copies().map(|copy| copy.bytes_per_frame).sum::<u64>() + inside, bytes);
            let copied = split.copies().flat_map(|copy| &copy.to.participants);
            let shown = copied.filter(|name| {
                let mut all = request.participants.iter();
                all.any(|own| own.name == **name && own.role == Role::Display)
            });
            prop_assert_eq!(shown.count(), displays);
            let losses = split.copies().map(|copy| {
                let plan = copy.to.plan.as_ref().unwrap();
                colours::loss(&request, plan.layout().format().fourcc.info().unwrap().name)
            });
            let sum = losses.fold((0, 0, 0), |sum, one| {
                (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)
            });
            prop_assert_eq!(sum, lost);
        }
    }

    #[test]
    fn copy_is_made_by_the_cheapest_device_that_reads_and_writes_its_formats(mut request in divided(), copiers in copiers()) {
        let without = solve(&request);
        request.copiers = copiers;
        if let (Solution::Split(split), Solution::Split(without)) = (solve(&request), without) {
            prop_assert_eq!(split.copies().count(), without.copies().count());
            prop_assert_eq!(split.copied_bytes_per_frame(), without.copied_bytes_per_frame());
            for copy in split.copies() {
                let pairs = |group: &Group| -> Vec<FormatModifier> {
                    let plan = group.plan.as_ref().unwrap();
                    let fourcc = plan.layout().format().fourcc;
                    plan.modifiers().iter().map(|modifier| FormatModifier::new(fourcc, *modifier)).collect()
                };
                let able = request.copiers.iter().filter(|copier| {
                    pairs(copy.from).iter().all(|pair| copier.reads.iter().any(|read| read == *pair))
                        && pairs(copy.to).iter().all(|pair| copier.writes.iter().any(|written| written == *pair))
                });
                // If a device and the CPU have the same cost, the device copies.
                let least = able.map(|copier| (copier.cost, copier.kind)).min().filter(|(cost, _)| *cost <= 100);
                let found = match copy.by {
                    Copier::Device(copier) => Some((copier.cost, copier.kind)),
                    _ => None,
                };
                prop_assert_eq!(found, least);
            }
        }
    }

    #[test]
    fn split_by_formats_alone_copies_as_little_as_exhaustive_search_finds(request in divided()) {
        if let Solution::Split(split) = solve(&request) {
            let (_, bytes, _) = exhaustive::division::fewest_copies(&request).unwrap();
            prop_assert!(split.copied_bytes_per_frame() == bytes);
            prop_assert!(split.groups().iter().all(|group| group.plan.is_some()));
        }
    }

    #[test]
    fn conflict_is_irreducible_and_the_first_of_the_smallest(request in request()) {
        if let Solution::Split(split) = solve(&request) {
            let conflict = split.conflict();
            let feasibility = Feasibility::of(&request);
            if conflict.is_empty() {
                prop_assert!(!feasibility.shares(|_, _| false));
                return Ok(());
            }
            prop_assert!(!feasibility.shares(among(conflict)));
            for demand in conflict {
                let rest: Vec<Demand> = conflict.iter().filter(|other| *other != demand).cloned().collect();
                prop_assert!(feasibility.shares(among(&rest)), "the conflict does not need {}: {:?}", demand, conflict);
            }
            // If a conflict with at most three demands exists, the solver finds a smallest one.
            let all = all_demands(&request);
            for size in 1..=conflict.len().min(3) {
                let first = subsets(&all, size).into_iter().find(|subset| !feasibility.shares(among(subset)));
                if size < conflict.len() {
                    prop_assert_eq!(first, None);
                } else {
                    prop_assert_eq!(first.as_deref(), Some(conflict));
                }
            }
        }
    }

    #[test]
    fn relaxation_is_enough_and_the_cheapest(request in request()) {
        if let Solution::Split(split) = solve(&request) {
            let relaxed = split.relaxed();
            if split.conflict().is_empty() {
                prop_assert!(relaxed.is_empty() && split.relaxation().is_none());
                return Ok(());
            }
            let feasibility = Feasibility::of(&request);
            let without = |given_up: &[Demand]| {
                let gone = among(given_up);
                feasibility.shares(|owner, field| !gone(owner, field))
            };
            prop_assert!(without(relaxed) && split.relaxation().is_some());
            let all = all_demands(&request);
            let first = all.iter().find(|demand| without(&[(*demand).clone()]));
            if let [one] = relaxed {
                prop_assert_eq!(first, Some(one));
            } else {
                prop_assert_eq!(first, None);
                for demand in relaxed {
                    let fewer: Vec<Demand> = relaxed.iter().filter(|other| *other != demand).cloned().collect();
                    prop_assert!(!without(&fewer), "{} need not go", demand);
                }
            }
            if let [_, _] = relaxed {
                let place = |demand: &Demand| all.iter().position(|other| other == demand);
                let pairs = subsets(&all, 2).into_iter().filter(|pair| without(pair));
                let first = pairs.min_by_key(|pair| (place(&pair[1]), place(&pair[0])));
                prop_assert_eq!(first.as_deref(), Some(relaxed));
            }
            if relaxed.len() > 2 {
                prop_assert!(!subsets(&all, 2).iter().any(|pair| without(pair)));
            }
        }
    }
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn participants_beyond_the_exact_division_are_each_in_one_group(
        (first, others, only) in (participant(0), prop::collection::vec(participant(1), 9), source(0))
    ) {
        let mut request = Request::new(covalent_solver::model::Extent::new(8, 8).unwrap());
        request.participants.push(first);
        for (number, mut other) in others.into_iter().enumerate() {
            other.name = format!("q{number}");
            other.device = device("card");
            request.participants.push(other);
        }
        request.sources.push(only);
        if let Solution::Split(split) = solve(&request) {
            let mut names: Vec<_> = split.groups().iter().flat_map(|group| group.participants.clone()).collect();
            names.sort();
            let mut all: Vec<_> = request.participants.iter().map(|own| own.name.clone()).collect();
            all.sort();
            prop_assert_eq!(names, all);
        }
    }
}
