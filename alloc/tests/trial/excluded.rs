//! What is refused is never planned, by whichever alternative; and nothing else is lost.

use std::collections::BTreeSet;
use std::path::Path;

use covalent_alloc::constraint::{Source, SourceId};
use covalent_alloc::machine::Machine;
use covalent_alloc::model::{FormatModifier, Modifier};
use covalent_alloc::solve::{solve, ways};
use covalent_alloc::trial::{Effect, ParticipantSelector};
use proptest::prelude::*;
use proptest::sample::select;

use super::common::generate;
use super::*;

/// Makes a fact of a refusal by everybody whom `whose` names.
fn fact(whose: ParticipantSelector, source: &str, scope: Scope) -> TrialResult {
    TrialResult {
        effect: Effect::Refuses {
            source: source.to_owned(),
            scope,
            refusal: Refusal::of_errno(&whose.driver, "PRIME_FD_TO_HANDLE", 22, "no"),
        },
        participant: whose,
        conditions: Conditions::default(),
        origin: Origin::Learnt { at: NOW, times: 2 },
        expires: None,
    }
}

fn whose(driver: &str, role: Option<Role>) -> ParticipantSelector {
    ParticipantSelector {
        driver: driver.to_owned(),
        location: None,
        role,
        interface: None,
    }
}

/// Returns whether any fact is about this source in this format, for anybody of the request and any of its sizes.
fn is_named(
    request: &Request,
    facts: &[TrialResult],
    source: &SourceId,
    format: FormatModifier,
) -> bool {
    facts.iter().any(|fact| {
        let Effect::Refuses {
            scope,
            source: name,
            ..
        } = &fact.effect
        else {
            return false;
        };
        let is_source = match name.strip_suffix('*') {
            Some(start) => source.as_str().starts_with(start),
            None => source.as_str() == name,
        };
        is_source
            && request.extents().any(|extent| scope.covers(format, extent))
            && request
                .participants
                .iter()
                .any(|participant| fact.participant.is(participant))
    })
}

/// Holds a request against its limited self: what is named is gone, and everything else is as it was.
fn check(request: &Request, facts: &[TrialResult]) -> Result<(), String> {
    let mut book = book();
    facts.iter().for_each(|fact| book.add(fact.clone()));
    let limited = book.inform(request).request;
    let mut expected: Vec<_> = ways(request).into_iter().collect();
    expected.retain(|(source, format, _)| !is_named(request, facts, source, *format));
    let found = ways(&limited);
    if found != expected {
        let lost: Vec<_> = expected.iter().filter(|way| !found.contains(way)).collect();
        let taken: Vec<_> = found.iter().filter(|way| !expected.contains(way)).collect();
        return Err(format!(
            "lost {} ways, first {:?}; taken although refused {}, first {:?}",
            lost.len(),
            lost.first(),
            taken.len(),
            taken.first()
        ));
    }
    if let Solution::Share(plan) = solve(&limited) {
        for modifier in plan.modifiers() {
            let format = FormatModifier::new(plan.layout().format().fourcc, *modifier);
            if is_named(request, facts, plan.source(), format) {
                return Err(format!("{} is planned in {format}", plan.source()));
            }
        }
    }
    Ok(())
}

fn scopes() -> impl Strategy<Value = Scope> {
    let fourcc = select(vec![
        Fourcc::XRGB8888,
        Fourcc::R8,
        Fourcc::YUYV,
        Fourcc::NV12,
        Fourcc::YUV420,
        Fourcc::ARGB8888,
    ]);
    let modifier = select(vec![
        Modifier::LINEAR,
        Modifier::LINEAR,
        Modifier(0x0100_0000_0000_0002),
        Modifier::INVALID,
    ]);
    (
        prop::option::weighted(0.8, fourcc),
        prop::option::weighted(0.7, modifier),
    )
        .prop_map(|(fourcc, modifier)| Scope {
            fourcc,
            modifier,
            extent: None,
        })
}

/// Facts on those who may be in a request, and on some who are not; each for every size or for the one with this number.
fn facts() -> impl Strategy<Value = Vec<(TrialResult, Option<usize>)>> {
    let role = select(vec![
        Role::Capture,
        Role::Display,
        Role::Compositor,
        Role::CpuRead,
    ]);
    let one = (
        select(vec!["camera", "card", "codec", "elsewhere"]),
        prop::option::of(role),
        select(vec!["s0", "s1", "s*", "nowhere"]),
        scopes(),
        prop::option::of(0..3_usize),
    )
        .prop_map(|(driver, role, source, scope, size)| {
            (fact(whose(driver, role), source, scope), size)
        });
    prop::collection::vec(one, 1..6)
}

fn sized(request: &Request, facts: Vec<(TrialResult, Option<usize>)>) -> Vec<TrialResult> {
    // One more than a request has: the last is of another size.
    let other = Extent::new(999, 7).unwrap();
    facts
        .into_iter()
        .map(|(mut fact, size)| {
            if let Effect::Refuses { scope, .. } = &mut fact.effect {
                scope.extent = size.map(|size| request.extents().nth(size).unwrap_or(other));
            }
            fact
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn request_with_exclusions_loses_what_they_name_and_nothing_else(
        request in generate::request(),
        facts in facts(),
        is_named_alike in any::<bool>(),
    ) {
        let mut request = request;
        if is_named_alike {
            request.participants.iter_mut().for_each(|one| one.name = "alike".to_owned());
        }
        let facts = sized(&request, facts);
        prop_assert_eq!(check(&request, &facts), Ok(()));
    }
}

/// Everybody of a machine alone, and each camera with each display.
fn requests(machine: &Machine, size: Extent) -> Vec<Request> {
    let all: Vec<Participant> = machine
        .participants_at(size)
        .unwrap()
        .into_iter()
        .map(|recorded| recorded.to_participant())
        .collect();
    let mut sources: Vec<Source> = Vec::new();
    for recorded in machine.sources_at(size).unwrap() {
        if sources.iter().all(|known| known.id != recorded.source.id) {
            sources.push(recorded.to_source());
        }
    }
    let with = |participants: Vec<Participant>| Request {
        participants,
        sources: sources.clone(),
        ..Request::new(size)
    };
    let of = |role: Role| all.iter().filter(move |one| one.role == role);
    let pairs = of(Role::Capture).flat_map(|camera| {
        of(Role::Display).map(move |display| vec![camera.clone(), display.clone()])
    });
    all.iter()
        .filter(|one| !one.alternatives().is_empty())
        .map(|one| vec![one.clone()])
        .chain(pairs)
        .map(with)
        .collect()
}

#[test]
fn refusal_on_a_recorded_board_is_bypassed_by_no_alternative() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/machines");
    let (mut bypassing, mut checks) = (BTreeSet::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let machine = Machine::from_json(&std::fs::read(&path).unwrap()).unwrap();
        let size = machine
            .sizes()
            .next()
            .unwrap_or(Extent::new(1920, 1080).unwrap());
        for request in requests(&machine, size) {
            let known = ways(&request);
            // The first, one in the middle and the last say as much as thousands of modifiers.
            let some = [0, known.len() / 2, known.len().saturating_sub(1)];
            for (source, format, _) in some.iter().filter_map(|place| known.get(*place)) {
                for participant in &request.participants {
                    let scope = Scope::exactly(*format, size);
                    let one = fact(ParticipantSelector::of(participant), source.as_str(), scope);
                    let all = fact(
                        ParticipantSelector::of(participant),
                        source.as_str(),
                        Scope::default(),
                    );
                    for fact in [one, all] {
                        let name = path.display();
                        check(&request, &[fact])
                            .unwrap_or_else(|why| panic!("{name}: {}: {why}", participant.name));
                        checks += 1;
                    }
                    if !participant.alternatives().is_empty() {
                        bypassing.insert((path.clone(), participant.name.clone()));
                    }
                }
            }
        }
    }
    // All that have alternatives: seven displays, an overlay and a camera on seven boards.
    assert_eq!(bypassing.len(), 9, "{bypassing:?}");
    assert!(checks > 500, "{checks} checks");
}

#[test]
fn refusal_of_a_format_that_nobody_lists_removes_no_other() {
    // Neither source nor participants list formats: any that has rows may be planned.
    let mut request = request();
    for participant in &mut request.participants {
        participant.for_each_choice(|own| own.formats = None);
    }
    let scope = Scope {
        fourcc: Some(Fourcc::ABGR16161616F),
        modifier: None,
        extent: None,
    };
    let refused = fact(whose("bochs-drm", None), "heap:a", scope);
    check(&request, &[refused]).unwrap();
}

#[test]
fn arrangement_that_is_refused_is_not_among_those_from_which_a_source_may_choose() {
    let modifiers = [1, 2, 3].map(|number| Modifier(0x0100_0000_0000_0000 | number));
    let pairs: Vec<_> = modifiers
        .iter()
        .map(|modifier| FormatModifier::new(Fourcc::XRGB8888, *modifier))
        .collect();
    let mut request = request();
    request.participants.remove(0);
    request.participants[0].for_each_choice(|own| own.formats = Some(pairs.clone().into()));
    request.sources[0].constraints.formats = Some(pairs.clone().into());
    let scope = Scope::exactly(pairs[1], vga());
    let refused = fact(whose("bochs-drm", None), "heap:a", scope);
    let mut book = book();
    book.add(refused);
    let Solution::Share(plan) = solve(&book.inform(&request).request) else {
        panic!("two arrangements are left")
    };
    assert_eq!(plan.modifiers(), [modifiers[0], modifiers[2]]);
}

#[test]
fn refusal_of_one_size_holds_for_buffers_that_hold_it_beside_others() {
    let mut request = request();
    request.more_extents = vec![Extent::new(480, 640).unwrap()];
    let format = FormatModifier::linear(Fourcc::XRGB8888);
    let scope = Scope::exactly(format, request.more_extents[0]);
    check(&request, &[fact(whose("bochs-drm", None), "heap:a", scope)]).unwrap();
}

/// Two displays of one name on two devices: the second refuses heap a.
#[test]
fn refusal_by_one_of_two_of_a_name_is_learnt_of_that_one() {
    let mut request = request();
    let mut second = display("vkms");
    second.name = request.participants[1].name.clone();
    request.participants.push(second);
    let mut fake = Fake::new(|participant, planned: TrialPlan<'_>| {
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.device.driver == "vkms" && is_a {
            refused(EINVAL)
        } else {
            Outcome::Proved
        }
    });
    let mut facts = book();
    let proven = solve_with_trials(&request, &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(source_of(&proven.solution), "heap:b");
    let drivers: Vec<_> = facts
        .facts()
        .iter()
        .map(|fact| &fact.participant.driver)
        .collect();
    assert_eq!(drivers, ["vkms"]);
}

/// A display whose second choice takes what the first does not: both are tried, and neither is planned after a refusal.
#[test]
fn refusal_of_a_plan_by_an_alternative_is_learnt_for_the_alternative() {
    let mut request = request();
    let own = &mut request.participants[1];
    own.push_alternative(own.constraints().clone());
    let formats = [&[Fourcc::RGB565][..], &[Fourcc::XRGB8888, Fourcc::YUYV]];
    for (choice, formats) in own.choices_mut().zip(formats) {
        choice.formats = Some(linear(formats));
    }
    let mut facts = book();
    let mut fake = Fake::new(no_display_from_heap_a(EINVAL));
    let proven = solve_with_trials(&request, &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(
        (proven.end, source_of(&proven.solution)),
        (TrialEnd::Accepted, "heap:b")
    );
    assert_eq!(proven.refused_plans.len(), 1, "{:?}", proven.refused_plans);
    assert_eq!(proven.learnt_results.len(), 1);
}
