//! Tests that trial results only exclude plans from a request and never permit others.

use super::*;
use covalent_alloc::solve::solve;
use covalent_alloc::trial::{Effect, ParticipantSelector};
use proptest::prelude::*;

fn scopes() -> impl Strategy<Value = Scope> {
    let fourcc = prop::option::of(prop::sample::select(vec![
        Fourcc::XRGB8888,
        Fourcc::YUYV,
        Fourcc::NV12,
    ]));
    let extent = prop::option::of(prop::sample::select(vec![
        vga(),
        Extent::new(1280, 720).unwrap(),
    ]));
    (fourcc, extent).prop_map(|(fourcc, extent)| Scope {
        fourcc,
        modifier: None,
        extent,
    })
}

fn results() -> impl Strategy<Value = Vec<TrialResult>> {
    let driver = prop::sample::select(vec!["vivid", "bochs-drm", "elsewhere"]);
    let source = prop::sample::select(vec!["heap:a", "heap:b", "heap:*", "dumb:bochs-drm"]);
    let result =
        (driver, source, scopes(), any::<bool>()).prop_map(|(driver, source, scope, expired)| {
            TrialResult {
                participant: ParticipantSelector {
                    driver: driver.to_owned(),
                    location: None,
                    role: None,
                    interface: None,
                },
                effect: Effect::Refuses {
                    source: source.to_owned(),
                    scope,
                    refusal: Refusal::of_errno(driver, "PRIME", 22, "no"),
                },
                conditions: Conditions::default(),
                origin: Origin::Learnt { at: NOW, times: 2 },
                expires: Some(if expired { NOW } else { NOW + 1 }),
            }
        });
    prop::collection::vec(result, 0..6)
}

fn requests() -> impl Strategy<Value = Request> {
    let formats =
        || prop::sample::subsequence(vec![Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12], 1..=3);
    (formats(), formats()).prop_map(|(one, two)| {
        let mut request = request();
        request.participants[0].for_each_choice(|own| own.formats = Some(linear(&one)));
        request.participants[1].for_each_choice(|own| own.formats = Some(linear(&two)));
        let mut own = source("dumb:bochs-drm", "bochs dumb", Guarantees::default());
        own.device = Some(device("bochs-drm"));
        request.sources.push(own);
        request
    })
}

fn applied(request: &Request, results: &[TrialResult]) -> Request {
    let mut all = no_results();
    results.iter().for_each(|result| all.add(result.clone()));
    all.apply(request).request
}

/// Returns whether a result that is not expired applies to the source and format of the plan, for a participant of the request.
fn contradicts(
    request: &Request,
    results: &[TrialResult],
    plan: &covalent_alloc::solve::Plan,
) -> bool {
    results.iter().any(|result| {
        let Effect::Refuses { source, scope, .. } = &result.effect else {
            return false;
        };
        let about = match source.strip_suffix('*') {
            Some(start) => plan.source().as_str().starts_with(start),
            None => plan.source().as_str() == source,
        };
        result.expires > Some(NOW)
            && about
            && scope.covers(plan.layout().format(), request.extent)
            && request
                .participants
                .iter()
                .any(|one| result.participant.matches(one))
    })
}

proptest! {
    #[test]
    fn plan_never_contradicts_a_result(request in requests(), results in results()) {
        if let Solution::Share(plan) = solve(&applied(&request, &results)) {
            prop_assert!(!contradicts(&request, &results, &plan), "{}", plan.explain());
        }
    }

    #[test]
    fn results_never_add_a_plan(request in requests(), results in results()) {
        if let Solution::Share(_) = solve(&applied(&request, &results)) {
            prop_assert!(matches!(solve(&request), Solution::Share(_)));
        }
    }

    #[test]
    fn plan_that_no_result_is_about_stays(request in requests(), results in results()) {
        // Each source is solved by itself in each format. If no result applies to a plan, the plan must not change.
        for source in &request.sources {
            for fourcc in [Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12] {
                let mut one = request.clone();
                one.sources = vec![source.clone()];
                for participant in &mut one.participants {
                    let kept = participant.constraints().formats.as_ref()
                        .is_none_or(|formats| formats.contains_fourcc(fourcc));
                    participant.for_each_choice(|own| own.formats = Some(if kept { linear(&[fourcc]) } else { linear(&[]) }));
                }
                let before = solve(&one);
                let Solution::Share(plan) = &before else { continue };
                if !contradicts(&one, &results, plan) {
                    let Solution::Share(after) = solve(&applied(&one, &results)) else {
                        return Err(TestCaseError::fail(format!("lost: {}", before.explain())));
                    };
                    prop_assert_eq!(after.source(), plan.source());
                    prop_assert_eq!(after.verdict(), plan.verdict());
                }
            }
        }
    }

    #[test]
    fn order_of_results_does_not_matter(request in requests(), results in results()) {
        let mut other = results.clone();
        other.reverse();
        let (one, two) = (solve(&applied(&request, &results)), solve(&applied(&request, &other)));
        prop_assert_eq!(source_of(&one), source_of(&two));
    }

    #[test]
    fn result_survives_json(results in results()) {
        let text = serde_json::to_string(&results).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<TrialResult>>(&text).unwrap(), results);
    }

    #[test]
    fn only_structural_refusals_are_learnt(errno in 1..134_i32) {
        let mut results = no_results();
        let mut fake = FakeTrial::new(|participant, _| if participant.role == Role::Display { refused(errno) } else { Outcome::Accepted });
        solve_with_trials(&request(), &mut [&mut fake], &mut results, Limits::default());
        let structural = RefusalKind::of_errno(errno) == RefusalKind::Structural;
        prop_assert_eq!(!results.all().is_empty(), structural);
    }
}
