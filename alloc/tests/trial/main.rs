//! The loop of solving, proving and learning, with trials that the test implements itself, and what facts do to requests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
#[path = "../../solver/tests/common/mod.rs"]
mod common;
mod excluded;
mod identity;
mod properties;
#[path = "../../solver/tests/common/sys.rs"]
mod sys;

use std::cell::RefCell;
use std::collections::BTreeMap;

use common::{camera, device, display, linear, ram, source};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Contiguity, Guarantees, Participant, Role};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_alloc::trial::{
    Allocation, Conditions, Environment, Limits, Origin, Outcome, Refusal, RefusalKind, Scope,
    Trial, TrialEnd, TrialPlan, TrialResult, TrialResults, solve_with_trials,
};

const NOW: u64 = 1_800_000_000;

fn here() -> Environment {
    Environment {
        kernel: "7.3.4".to_owned(),
        memory_mebibytes: 2048,
        ..Environment::default()
    }
}

fn book() -> TrialResults {
    TrialResults::empty(here(), NOW)
}

fn vga() -> Extent {
    Extent::new(640, 480).unwrap()
}

/// Scattered camera and a card of another driver; two heaps, of which the solver takes `heap:a` first.
fn request() -> Request {
    let guarantees = Guarantees {
        address: ram(2),
        ..Guarantees::default()
    };
    Request {
        participants: vec![camera(Contiguity::Scattered), display("bochs-drm")],
        sources: vec![
            source("heap:a", "heap a", guarantees.clone()),
            source("heap:b", "heap b", guarantees),
        ],
        ..Request::new(vga())
    }
}

fn refused(errno: i32) -> Outcome {
    Outcome::Refused(Refusal::of_errno(
        "bochs-drm",
        "PRIME_FD_TO_HANDLE",
        errno,
        "no",
    ))
}

const EINVAL: i32 = 22;
const EBUSY: i32 = 16;
const EACCES: i32 = 13;

/// The display takes nothing from heap a, and says why; all else is taken.
fn no_display_from_heap_a(errno: i32) -> impl FnMut(&Participant, TrialPlan<'_>) -> Outcome {
    move |participant, planned| {
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.role == Role::Display && is_a {
            refused(errno)
        } else {
            Outcome::Proved
        }
    }
}

/// An application's trial: answers by a function of participant and plan, and counts.
struct Fake<F> {
    answer: F,
    allocations: u32,
    attempts: BTreeMap<String, u32>,
    releases: u32,
}

impl<F: FnMut(&Participant, TrialPlan<'_>) -> Outcome> Fake<F> {
    fn new(answer: F) -> Self {
        Self {
            answer,
            allocations: 0,
            attempts: BTreeMap::new(),
            releases: 0,
        }
    }
}

impl<F: FnMut(&Participant, TrialPlan<'_>) -> Outcome> Trial for Fake<F> {
    fn allocate(&mut self, _planned: TrialPlan<'_>) -> Option<Allocation> {
        self.allocations += 1;
        Some(Allocation {
            outcome: Outcome::Proved,
            buffer: None,
        })
    }

    fn release(&mut self) {
        self.releases += 1;
    }

    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        _buffer: Option<&Buffer>,
    ) -> Option<Outcome> {
        *self.attempts.entry(participant.name.clone()).or_default() += 1;
        Some((self.answer)(participant, planned))
    }
}

fn source_of(solution: &Solution) -> &str {
    match solution {
        Solution::Share(plan) => plan.source().as_str(),
        _ => "none",
    }
}

#[test]
fn plan_that_all_take_is_proved_and_its_verdict_stays() {
    let mut request = request();
    request.participants[0] = camera(Contiguity::Contiguous);
    let mut fake = Fake::new(|_, _| Outcome::Proved);
    let mut facts = book();
    let proven = solve_with_trials(&request, &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(proven.end, TrialEnd::Accepted);
    assert_eq!(proven.participant_trials.len(), 3);
    assert_eq!(fake.releases, 1);
    // It lay well this time. That is no promise.
    let Solution::Share(plan) = &proven.solution else {
        panic!()
    };
    assert_eq!(plan.verdict(), Verdict::Possible);
    assert_eq!(facts.facts(), []);
}

#[test]
fn structural_refusal_that_repeats_is_learnt_and_the_next_plan_taken() {
    let mut facts = book();
    let mut fake = Fake::new(no_display_from_heap_a(EINVAL));
    let proven = solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(proven.end, TrialEnd::Accepted);
    assert_eq!(source_of(&proven.solution), "heap:b");
    assert_eq!(proven.refused_plans.len(), 1);
    assert_eq!(proven.learnt_results, facts.facts());
    let [fact] = facts.facts() else {
        panic!("{:?}", facts.facts())
    };
    assert!(fact.to_string().starts_with(
        "bochs-drm at bus-bochs-drm (display) refuses memory of heap:a in XR24 LINEAR at every size"
    ));
    assert_eq!(fact.conditions, Conditions::exactly(&here()));
    assert_eq!(fact.expires, Some(NOW + TrialResults::BELIEVED_SECONDS));

    // Known from now on: nothing is tried from heap a, and the reason is told.
    let mut again = Fake::new(|_, planned: TrialPlan<'_>| {
        assert_eq!(planned.plan.source().as_str(), "heap:b");
        Outcome::Proved
    });
    let second = solve_with_trials(&request(), &mut [&mut again], &mut facts, Limits::default());
    assert_eq!(second.end, TrialEnd::Accepted);
    assert_eq!(second.applied_results, proven.learnt_results);
    assert!(second.solution.explain().contains("not heap a"));
}

#[test]
fn transient_refusal_is_never_learnt() {
    for errno in [EBUSY, 12, 24, EACCES] {
        let mut facts = book();
        let mut fake = Fake::new(no_display_from_heap_a(errno));
        let proven = solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
        assert_eq!(facts.facts(), [], "{errno}");
        // It is no reason to fail either: another plan serves this time.
        assert_eq!(source_of(&proven.solution), "heap:b", "{errno}");
        assert_eq!(proven.end, TrialEnd::Accepted, "{errno}");
    }
}

#[test]
fn refusal_that_does_not_come_again_is_a_proof_of_nothing() {
    let mut facts = book();
    let mut first = true;
    let mut fake = Fake::new(|participant, _| {
        if participant.role == Role::Display && std::mem::take(&mut first) {
            refused(EINVAL)
        } else {
            Outcome::Proved
        }
    });
    let proven = solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(proven.end, TrialEnd::Accepted);
    assert_eq!(source_of(&proven.solution), "heap:a");
    assert_eq!(facts.facts(), []);
}

#[test]
fn refusal_of_what_was_only_possible_is_bad_luck_and_not_learnt() {
    let mut request = request();
    request.participants[0] = camera(Contiguity::Contiguous);
    let mut facts = book();
    let mut fake = Fake::new(|participant, _| {
        if participant.role == Role::Capture {
            refused(14)
        } else {
            Outcome::Proved
        }
    });
    let proven = solve_with_trials(&request, &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(proven.end, TrialEnd::NoPlan);
    assert_eq!(proven.refused_plans.len(), 2);
    assert_eq!(facts.facts(), []);
}

#[test]
fn size_that_is_taken_keeps_the_fact_to_the_size_that_was_refused() {
    let mut facts = book();
    let mut fake = Fake::new(|participant, planned| {
        let large = planned.request.extent.width() >= 640;
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.role == Role::Display && large && is_a {
            refused(EINVAL)
        } else {
            Outcome::Proved
        }
    });
    let proven = solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
    assert_eq!(proven.end, TrialEnd::Accepted);
    let text = facts.facts()[0].to_string();
    assert!(text.contains("in XR24 LINEAR at 640x480"), "{text}");
    let smaller = Request {
        extent: Extent::new(320, 240).unwrap(),
        ..request()
    };
    assert_eq!(facts.inform(&smaller).request, smaller);
}

#[test]
fn pair_that_refuses_every_format_is_excluded_with_its_reason() {
    let mut request = request();
    let all = linear(&[Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12]);
    request.participants[1].for_each_choice(|own| own.formats = Some(all.clone()));
    let mut facts = book();
    let mut fake = Fake::new(no_display_from_heap_a(EINVAL));
    solve_with_trials(&request, &mut [&mut fake], &mut facts, Limits::default());
    let text = facts.facts()[0].to_string();
    assert!(
        text.contains("in every LINEAR format at every size"),
        "{text}"
    );
    let explained = solve(&facts.inform(&request).request).explain();
    assert!(
        explained.contains("not heap a: it is refused: bochs-drm primary plane imports only memory of heap:b, because it refused memory of heap:a (PRIME_FD_TO_HANDLE: Invalid argument (os error 22))"),
        "{explained}"
    );
}

#[test]
fn trials_are_capped() {
    for trials in 0..12 {
        let mut facts = book();
        let count = RefCell::new(0);
        let mut fake = Fake::new(|_, _| {
            *count.borrow_mut() += 1;
            refused(EINVAL)
        });
        let limits = Limits {
            trials,
            ..Limits::default()
        };
        let proven = solve_with_trials(&request(), &mut [&mut fake], &mut facts, limits);
        let made = fake.allocations + *count.borrow();
        assert!(made <= trials, "{made} of {trials}");
        assert_eq!(proven.trial_count, made);
    }
}

#[test]
fn plans_are_capped() {
    let mut request = request();
    for number in 0..20 {
        let id = format!("heap:more{number:02}");
        request
            .sources
            .push(source(&id, &id, request.sources[0].guarantees.clone()));
    }
    let mut fake = Fake::new(|participant, _| {
        if participant.role == Role::Display {
            refused(EBUSY)
        } else {
            Outcome::Proved
        }
    });
    let limits = Limits {
        plans: 3,
        trials: 10_000,
        repeats: 2,
    };
    let proven = solve_with_trials(&request, &mut [&mut fake], &mut book(), limits);
    assert_eq!(proven.end, TrialEnd::LimitReached);
    assert_eq!(proven.refused_plans.len(), 3);
}

#[test]
fn participant_that_cannot_be_tried_is_untested_and_not_proved() {
    let mut fake = Fake::new(|participant, _| {
        if participant.role == Role::Display {
            Outcome::Untestable("another process is DRM master".to_owned())
        } else {
            Outcome::Proved
        }
    });
    let proven = solve_with_trials(&request(), &mut [&mut fake], &mut book(), Limits::default());
    assert_eq!(proven.end, TrialEnd::Untested);
    assert!(
        matches!(&proven.participant_trials[2].outcome, Outcome::Untestable(why) if why.contains("master"))
    );
}

#[test]
fn trial_that_is_for_nobody_leaves_everybody_untested() {
    struct Nobody;
    impl Trial for Nobody {
        fn attempt(
            &mut self,
            _: TrialPlan<'_>,
            _: &Participant,
            _: Option<&Buffer>,
        ) -> Option<Outcome> {
            None
        }
    }
    let proven = solve_with_trials(
        &request(),
        &mut [&mut Nobody],
        &mut book(),
        Limits::default(),
    );
    assert_eq!(proven.end, TrialEnd::Untested);
}

#[test]
fn applications_trial_goes_before_the_others() {
    struct Compositor(u32);
    impl Trial for Compositor {
        fn attempt(
            &mut self,
            _: TrialPlan<'_>,
            participant: &Participant,
            _: Option<&Buffer>,
        ) -> Option<Outcome> {
            (participant.role == Role::Compositor).then(|| {
                self.0 += 1;
                Outcome::Refused(Refusal::structural(
                    "compositor",
                    "zwp_linux_buffer_params_v1.create",
                    "it answered `failed`",
                ))
            })
        }
    }
    let mut request = request();
    request.participants[1] = Participant::new("wayland-1", device("compositor"), Role::Compositor);
    let mut compositor = Compositor(0);
    let mut fake = Fake::new(|_, _| Outcome::Proved);
    let mut facts = book();
    let proven = solve_with_trials(
        &request,
        &mut [&mut compositor, &mut fake],
        &mut facts,
        Limits::default(),
    );
    assert_eq!(proven.end, TrialEnd::NoPlan);
    assert!(compositor.0 >= 2);
    assert!(!fake.attempts.contains_key("wayland-1"));
    assert!(
        facts
            .facts()
            .iter()
            .all(|fact| fact.participant.role == Some(Role::Compositor))
    );
}

#[test]
fn facts_expire_and_hold_on_their_machine_alone() {
    let mut facts = book();
    let mut fake = Fake::new(no_display_from_heap_a(EINVAL));
    solve_with_trials(&request(), &mut [&mut fake], &mut facts, Limits::default());
    let fact = facts.facts()[0].clone();
    let source_of = |request: &Request| match solve(request) {
        Solution::Share(plan) => plan.source().as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(source_of(&request()), "heap:a");
    assert_eq!(source_of(&facts.inform(&request()).request), "heap:b");

    let mut later = TrialResults::empty(here(), NOW + TrialResults::BELIEVED_SECONDS);
    later.add(fact.clone());
    assert_eq!(later.inform(&request()).request, request());
    let elsewhere = Environment {
        memory_mebibytes: 6144,
        ..here()
    };
    let mut other = TrialResults::empty(elsewhere, NOW);
    other.add(fact.clone());
    assert_eq!(other.inform(&request()).request, request());

    // Said twice it is one fact, seen more often; forgotten it is none.
    let mut again = TrialResults::empty(here(), NOW + 5);
    again.add(fact.clone());
    let mut renewed = fact;
    renewed.origin = Origin::Learnt {
        at: NOW + 5,
        times: 2,
    };
    again.add(renewed);
    assert!(matches!(
        again.facts(),
        [TrialResult {
            origin: Origin::Learnt { times: 3, .. },
            ..
        }]
    ));
    assert_eq!(again.forget(|_| true).len(), 1);
    assert_eq!(again.facts(), []);
}

#[test]
fn well_known_facts_change_only_what_they_name() {
    let facts = TrialResults::well_known(here(), NOW);
    assert_eq!(facts.inform(&request()).request, request());
    let mut amd = request();
    amd.participants[1] = display("amdgpu");
    let informed = facts.inform(&amd);
    assert_eq!(informed.facts.len(), 1);
    let alignment = informed.request.participants[1]
        .constraints()
        .image
        .stride
        .alignment;
    assert_eq!(alignment, 256);
}
