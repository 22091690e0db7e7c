//! Tests that trial results exclude exactly the refused combinations of participant, source and format: no alternative of the
//! participant plans them, and all other combinations stay.

use std::collections::BTreeSet;
use std::path::Path;

use covalent_alloc::constraint::{Source, SourceId};
use covalent_alloc::machine::Machine;
use covalent_alloc::model::{FormatModifier, Modifier};
use covalent_alloc::solve::{candidates, solve};
use covalent_alloc::trial::{Effect, ParticipantSelector};
use proptest::prelude::*;
use proptest::sample::select;

use super::common::generate;
use super::*;

/// Returns the trial result of a refusal by all participants that match `selector`.
fn refusal_by(selector: ParticipantSelector, source: &str, scope: Scope) -> TrialResult {
    TrialResult {
        effect: Effect::Refuses {
            source: source.to_owned(),
            scope,
            refusal: Refusal::of_errno(&selector.driver, "PRIME_FD_TO_HANDLE", 22, "no"),
        },
        participant: selector,
        conditions: Conditions::default(),
        origin: Origin::Learnt { at: NOW, times: 2 },
        expires: None,
    }
}

fn selector(driver: &str, role: Option<Role>) -> ParticipantSelector {
    ParticipantSelector {
        driver: driver.to_owned(),
        location: None,
        role,
        interface: None,
    }
}

/// Returns whether any result applies to this source and format, for a participant of the request and one of its sizes.
fn is_named(
    request: &Request,
    results: &[TrialResult],
    source: &SourceId,
    format: FormatModifier,
) -> bool {
    results.iter().any(|result| {
        let Effect::Refuses {
            scope,
            source: name,
            ..
        } = &result.effect
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
                .any(|participant| result.participant.matches(participant))
    })
}

/// Compares a request before and after the results are applied: the combinations that the results refuse must be excluded, and
/// all others must stay.
fn check(request: &Request, results: &[TrialResult]) -> Result<(), String> {
    let mut all = no_results();
    results.iter().for_each(|result| all.add(result.clone()));
    let limited = all.apply(request).request;
    let mut expected: Vec<_> = candidates(request).into_iter().collect();
    expected.retain(|(source, format, _)| !is_named(request, results, source, *format));
    let found = candidates(&limited);
    if found != expected {
        let excluded: Vec<_> = expected.iter().filter(|one| !found.contains(one)).collect();
        let planned: Vec<_> = found.iter().filter(|one| !expected.contains(one)).collect();
        return Err(format!(
            "{} combinations are excluded without a refusal, such as {:?}; {} refused combinations are planned, such as {:?}",
            excluded.len(),
            excluded.first(),
            planned.len(),
            planned.first()
        ));
    }
    if let Solution::Share(plan) = solve(&limited) {
        for modifier in plan.modifiers() {
            let format = FormatModifier::new(plan.layout().format().fourcc, *modifier);
            if is_named(request, results, plan.source(), format) {
                return Err(format!(
                    "a plan allocates from {} in {format}, although a result refuses this combination",
                    plan.source()
                ));
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

/// Random results for participants that may be in a request, and for some that are not. Each result is for every size, or for the
/// size with this index.
fn results() -> impl Strategy<Value = Vec<(TrialResult, Option<usize>)>> {
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
            (refusal_by(selector(driver, role), source, scope), size)
        });
    prop::collection::vec(one, 1..6)
}

fn sized(request: &Request, results: Vec<(TrialResult, Option<usize>)>) -> Vec<TrialResult> {
    // If the request has no size with this index, the result is for a size that is not in the request.
    let other = Extent::new(999, 7).unwrap();
    results
        .into_iter()
        .map(|(mut result, size)| {
            if let Effect::Refuses { scope, .. } = &mut result.effect {
                scope.extent = size.map(|size| request.extents().nth(size).unwrap_or(other));
            }
            result
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn request_with_exclusions_loses_only_the_combinations_that_they_name(
        request in generate::request(),
        results in results(),
        has_equal_names in any::<bool>(),
    ) {
        let mut request = request;
        if has_equal_names {
            request.participants.iter_mut().for_each(|one| one.name = "alike".to_owned());
        }
        let results = sized(&request, results);
        prop_assert_eq!(check(&request, &results), Ok(()));
    }
}

/// Requests with each participant of a machine alone, and with each pair of camera and display.
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
fn refusal_on_a_recorded_board_applies_to_all_alternatives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/machines");
    let (mut with_alternatives, mut checks) = (BTreeSet::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let machine = Machine::from_json(&std::fs::read(&path).unwrap()).unwrap();
        let size = machine
            .sizes()
            .next()
            .unwrap_or(Extent::new(1920, 1080).unwrap());
        for request in requests(&machine, size) {
            let possible = candidates(&request);
            // Only the first, a middle and the last combination are checked, because there are thousands of modifiers.
            let some = [0, possible.len() / 2, possible.len().saturating_sub(1)];
            for (source, format, _) in some.iter().filter_map(|index| possible.get(*index)) {
                for participant in &request.participants {
                    let scope = Scope::exactly(*format, size);
                    let one =
                        refusal_by(ParticipantSelector::of(participant), source.as_str(), scope);
                    let all = refusal_by(
                        ParticipantSelector::of(participant),
                        source.as_str(),
                        Scope::default(),
                    );
                    for result in [one, all] {
                        let name = path.display();
                        check(&request, &[result])
                            .unwrap_or_else(|why| panic!("{name}: {}: {why}", participant.name));
                        checks += 1;
                    }
                    if !participant.alternatives().is_empty() {
                        with_alternatives.insert((path.clone(), participant.name.clone()));
                    }
                }
            }
        }
    }
    // Seven displays, an overlay, three decoders, an encoder and a converter on ten boards have alternatives.
    assert_eq!(with_alternatives.len(), 13, "{with_alternatives:?}");
    assert!(checks > 500, "{checks} checks");
}

#[test]
fn refusal_of_a_format_that_no_participant_lists_removes_no_other() {
    // Neither the source nor the participants list formats, so any format with a linear layout may be planned.
    let mut request = request();
    for participant in &mut request.participants {
        participant.for_each_choice(|own| own.formats = None);
    }
    let scope = Scope {
        fourcc: Some(Fourcc::ABGR16161616F),
        modifier: None,
        extent: None,
    };
    let refused = refusal_by(selector("bochs-drm", None), "heap:a", scope);
    check(&request, &[refused]).unwrap();
}

#[test]
fn refused_modifier_is_not_among_those_that_the_source_may_choose() {
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
    let refused = refusal_by(selector("bochs-drm", None), "heap:a", scope);
    let mut results = no_results();
    results.add(refused);
    let Solution::Share(plan) = solve(&results.apply(&request).request) else {
        panic!("there is no plan with the two modifiers that are not refused")
    };
    assert_eq!(plan.modifiers(), [modifiers[0], modifiers[2]]);
}

#[test]
fn refusal_of_one_size_applies_to_buffers_with_several_sizes() {
    let mut request = request();
    request.more_extents = vec![Extent::new(480, 640).unwrap()];
    let format = FormatModifier::linear(Fourcc::XRGB8888);
    let scope = Scope::exactly(format, request.more_extents[0]);
    check(
        &request,
        &[refusal_by(selector("bochs-drm", None), "heap:a", scope)],
    )
    .unwrap();
}

/// Two displays with equal names are on two devices, and the second refuses heap a.
#[test]
fn refusal_by_one_of_two_participants_with_equal_names_is_learnt_of_that_one() {
    let mut request = request();
    let mut second = display("vkms");
    second.name = request.participants[1].name.clone();
    request.participants.push(second);
    let mut fake = FakeTrial::new(|participant, planned: TrialPlan<'_>| {
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.device.driver == "vkms" && is_a {
            refused(EINVAL)
        } else {
            Outcome::Accepted
        }
    });
    let mut results = no_results();
    let tried = solve_with_trials(&request, &mut [&mut fake], &mut results, Limits::default());
    assert_eq!(source_of(&tried.solution), "heap:b");
    let drivers: Vec<_> = results
        .all()
        .iter()
        .map(|result| &result.participant.driver)
        .collect();
    assert_eq!(drivers, ["vkms"]);
}

/// The second alternative of a display accepts buffers that the first does not accept. After a refusal, neither alternative may
/// be used for the refused combination.
#[test]
fn refusal_of_a_plan_by_an_alternative_is_learnt_for_the_alternative() {
    let mut request = request();
    let own = &mut request.participants[1];
    own.push_alternative(own.constraints().clone());
    let formats = [&[Fourcc::RGB565][..], &[Fourcc::XRGB8888, Fourcc::YUYV]];
    for (choice, formats) in own.choices_mut().zip(formats) {
        choice.formats = Some(linear(formats));
    }
    let mut results = no_results();
    let mut fake = FakeTrial::new(display_refuses_heap_a(EINVAL));
    let tried = solve_with_trials(&request, &mut [&mut fake], &mut results, Limits::default());
    assert_eq!(
        (tried.end, source_of(&tried.solution)),
        (TrialEnd::Accepted, "heap:b")
    );
    assert_eq!(tried.refused_plans.len(), 1, "{:?}", tried.refused_plans);
    assert_eq!(tried.learnt_results.len(), 1);
}
