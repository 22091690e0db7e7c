//! What facts may do to any request: take away, and nothing else.

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

fn facts() -> impl Strategy<Value = Vec<TrialResult>> {
    let who = prop::sample::select(vec!["vivid", "bochs-drm", "elsewhere"]);
    let whose = prop::sample::select(vec!["heap:a", "heap:b", "heap:*", "dumb:bochs-drm"]);
    let fact = (who, whose, scopes(), any::<bool>()).prop_map(|(who, source, scope, expired)| {
        TrialResult {
            participant: ParticipantSelector {
                driver: who.to_owned(),
                location: None,
                role: None,
                interface: None,
            },
            effect: Effect::Refuses {
                source: source.to_owned(),
                scope,
                refusal: Refusal::of_errno(who, "PRIME", 22, "no"),
            },
            conditions: Conditions::default(),
            origin: Origin::Learnt { at: NOW, times: 2 },
            expires: Some(if expired { NOW } else { NOW + 1 }),
        }
    });
    prop::collection::vec(fact, 0..6)
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

fn informed(request: &Request, facts: &[TrialResult]) -> Request {
    let mut book = book();
    facts.iter().for_each(|fact| book.add(fact.clone()));
    book.apply(request).request
}

/// Whether any fact in force is about a picture of this source for somebody in the request.
fn contradicts(
    request: &Request,
    facts: &[TrialResult],
    plan: &covalent_alloc::solve::Plan,
) -> bool {
    facts.iter().any(|fact| {
        let Effect::Refuses { source, scope, .. } = &fact.effect else {
            return false;
        };
        let about = match source.strip_suffix('*') {
            Some(start) => plan.source().as_str().starts_with(start),
            None => plan.source().as_str() == source,
        };
        fact.expires > Some(NOW)
            && about
            && scope.covers(plan.layout().format(), request.extent)
            && request
                .participants
                .iter()
                .any(|one| fact.participant.matches(one))
    })
}

proptest! {
    #[test]
    fn plan_never_contradicts_a_fact(request in requests(), facts in facts()) {
        if let Solution::Share(plan) = solve(&informed(&request, &facts)) {
            prop_assert!(!contradicts(&request, &facts, &plan), "{}", plan.explain());
        }
    }

    #[test]
    fn facts_never_add_a_plan(request in requests(), facts in facts()) {
        if let Solution::Share(_) = solve(&informed(&request, &facts)) {
            prop_assert!(matches!(solve(&request), Solution::Share(_)));
        }
    }

    #[test]
    fn facts_leave_every_plan_that_none_is_about(request in requests(), facts in facts()) {
        // Each source by itself in each format: what no fact is about stands as before.
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
                if !contradicts(&one, &facts, plan) {
                    let Solution::Share(after) = solve(&informed(&one, &facts)) else {
                        return Err(TestCaseError::fail(format!("lost: {}", before.explain())));
                    };
                    prop_assert_eq!(after.source(), plan.source());
                    prop_assert_eq!(after.verdict(), plan.verdict());
                }
            }
        }
    }

    #[test]
    fn order_of_facts_does_not_matter(request in requests(), facts in facts()) {
        let mut other = facts.clone();
        other.reverse();
        let (one, two) = (solve(&informed(&request, &facts)), solve(&informed(&request, &other)));
        prop_assert_eq!(source_of(&one), source_of(&two));
    }

    #[test]
    fn fact_survives_json(facts in facts()) {
        let text = serde_json::to_string(&facts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<TrialResult>>(&text).unwrap(), facts);
    }

    #[test]
    fn nothing_but_structural_refusals_is_learnt(errno in 1..134_i32) {
        let mut facts = book();
        let mut fake = Fake::new(|participant, _| if participant.role == Role::Display { refused(errno) } else { Outcome::Proved });
        solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
        let structural = RefusalKind::of_errno(errno) == RefusalKind::Structural;
        prop_assert_eq!(!facts.all().is_empty(), structural);
    }
}
