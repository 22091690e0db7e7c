//! The trial loop with trials that the test implements, and the effect of trial results on requests.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a failed test")]

mod bounds;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "other tests use the other functions of this module"
)]
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

fn no_results() -> TrialResults {
    TrialResults::empty(here(), NOW)
}

fn vga() -> Extent {
    Extent::new(640, 480).unwrap()
}

/// A request with a camera that accepts scattered memory, a display of a card with another driver, and two heaps, of which the
/// solver prefers `heap:a`.
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

/// Returns an outcome function: the display refuses buffers from `heap:a` with this errno, and every other trial is accepted.
fn display_refuses_heap_a(errno: i32) -> impl FnMut(&Participant, TrialPlan<'_>) -> Outcome {
    move |participant, planned| {
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.role == Role::Display && is_a {
            refused(errno)
        } else {
            Outcome::Accepted
        }
    }
}

/// A [`Trial`] like that of an application. The function `outcome` returns the outcome of each trial of a participant and a plan,
/// and every allocation succeeds. The calls are counted.
struct FakeTrial<F> {
    outcome: F,
    allocations: u32,
    attempts: BTreeMap<String, u32>,
    releases: u32,
}

impl<F: FnMut(&Participant, TrialPlan<'_>) -> Outcome> FakeTrial<F> {
    fn new(outcome: F) -> Self {
        Self {
            outcome,
            allocations: 0,
            attempts: BTreeMap::new(),
            releases: 0,
        }
    }
}

impl<F: FnMut(&Participant, TrialPlan<'_>) -> Outcome> Trial for FakeTrial<F> {
    fn allocate(&mut self, _planned: TrialPlan<'_>) -> Option<Allocation> {
        self.allocations += 1;
        Some(Allocation {
            outcome: Outcome::Accepted,
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
        Some((self.outcome)(participant, planned))
    }
}

fn source_of(solution: &Solution) -> &str {
    match solution {
        Solution::Share(plan) => plan.source().as_str(),
        _ => "none",
    }
}

#[test]
fn plan_that_all_accept_keeps_its_verdict() {
    let mut request = request();
    request.participants[0] = camera(Contiguity::Contiguous);
    let mut fake = FakeTrial::new(|_, _| Outcome::Accepted);
    let mut results = no_results();
    let tried = solve_with_trials(&request, &mut [&mut fake], &mut results, Limits::default());
    assert_eq!(tried.end, TrialEnd::Accepted);
    assert_eq!(tried.participant_trials.len(), 3);
    assert_eq!(fake.releases, 1);
    // The successful trial does not make the plan guaranteed: the memory may be contiguous only this time.
    let Solution::Share(plan) = &tried.solution else {
        panic!()
    };
    assert_eq!(plan.verdict(), Verdict::Possible);
    assert_eq!(results.all(), []);
}

#[test]
fn structural_refusal_that_repeats_is_learnt_and_the_next_plan_is_tried() {
    let mut results = no_results();
    let mut fake = FakeTrial::new(display_refuses_heap_a(EINVAL));
    let tried = solve_with_trials(
        &request(),
        &mut [&mut fake],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::Accepted);
    assert_eq!(source_of(&tried.solution), "heap:b");
    assert_eq!(tried.refused_plans.len(), 1);
    assert_eq!(tried.learnt_results, results.all());
    let [fact] = results.all() else {
        panic!("{:?}", results.all())
    };
    assert!(fact.to_string().starts_with(
        "bochs-drm at bus-bochs-drm (display) refuses memory of heap:a in XR24 LINEAR at every size"
    ));
    assert_eq!(fact.conditions, Conditions::exactly(&here()));
    assert_eq!(fact.expires, Some(NOW + TrialResults::LIFETIME_SECONDS));

    // The learnt result is applied to the next request: no plan from heap a is tried, and the explanation has the reason.
    let mut again = FakeTrial::new(|_, planned: TrialPlan<'_>| {
        assert_eq!(planned.plan.source().as_str(), "heap:b");
        Outcome::Accepted
    });
    let second = solve_with_trials(
        &request(),
        &mut [&mut again],
        &mut results,
        Limits::default(),
    );
    assert_eq!(second.end, TrialEnd::Accepted);
    assert_eq!(second.applied_results, tried.learnt_results);
    assert!(second.solution.explain().contains("not heap a"));
}

#[test]
fn transient_refusal_is_never_learnt() {
    for errno in [EBUSY, 12, 24, EACCES] {
        let mut results = no_results();
        let mut fake = FakeTrial::new(display_refuses_heap_a(errno));
        let tried = solve_with_trials(
            &request(),
            &mut [&mut fake],
            &mut results,
            Limits::default(),
        );
        assert_eq!(results.all(), [], "{errno}");
        // The call does not fail either, since another plan is tried.
        assert_eq!(source_of(&tried.solution), "heap:b", "{errno}");
        assert_eq!(tried.end, TrialEnd::Accepted, "{errno}");
    }
}

#[test]
fn refusal_that_does_not_repeat_is_ignored() {
    let mut results = no_results();
    let mut first = true;
    let mut fake = FakeTrial::new(|participant, _| {
        if participant.role == Role::Display && std::mem::take(&mut first) {
            refused(EINVAL)
        } else {
            Outcome::Accepted
        }
    });
    let tried = solve_with_trials(
        &request(),
        &mut [&mut fake],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::Accepted);
    assert_eq!(source_of(&tried.solution), "heap:a");
    assert_eq!(results.all(), []);
}

#[test]
fn refusal_of_a_plan_that_was_only_possible_is_not_learnt() {
    let mut request = request();
    request.participants[0] = camera(Contiguity::Contiguous);
    let mut results = no_results();
    let mut fake = FakeTrial::new(|participant, _| {
        if participant.role == Role::Capture {
            refused(14)
        } else {
            Outcome::Accepted
        }
    });
    let tried = solve_with_trials(&request, &mut [&mut fake], &mut results, Limits::default());
    assert_eq!(tried.end, TrialEnd::NoPlan);
    assert_eq!(tried.refused_plans.len(), 2);
    assert_eq!(results.all(), []);
}

#[test]
fn accepted_size_limits_the_result_to_the_refused_size() {
    let mut results = no_results();
    let mut fake = FakeTrial::new(|participant, planned| {
        let large = planned.request.extent.width() >= 640;
        let is_a = planned.plan.source().as_str() == "heap:a";
        if participant.role == Role::Display && large && is_a {
            refused(EINVAL)
        } else {
            Outcome::Accepted
        }
    });
    let tried = solve_with_trials(
        &request(),
        &mut [&mut fake],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::Accepted);
    let text = results.all()[0].to_string();
    assert!(text.contains("in XR24 LINEAR at 640x480"), "{text}");
    let smaller = Request {
        extent: Extent::new(320, 240).unwrap(),
        ..request()
    };
    assert_eq!(results.apply(&smaller).request, smaller);
}

#[test]
fn pair_that_refuses_every_format_is_excluded_with_its_reason() {
    let mut request = request();
    let all = linear(&[Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12]);
    request.participants[1].for_each_choice(|own| own.formats = Some(all.clone()));
    let mut results = no_results();
    let mut fake = FakeTrial::new(display_refuses_heap_a(EINVAL));
    solve_with_trials(&request, &mut [&mut fake], &mut results, Limits::default());
    let text = results.all()[0].to_string();
    assert!(
        text.contains("in every LINEAR format at every size"),
        "{text}"
    );
    let explained = solve(&results.apply(&request).request).explain();
    assert!(
        explained.contains("not heap a: it does not meet a constraint: bochs-drm primary plane imports only memory of heap:b, because it refused memory of heap:a (PRIME_FD_TO_HANDLE: Invalid argument (os error 22))"),
        "{explained}"
    );
}

#[test]
fn number_of_trials_is_limited() {
    for trials in 0..12 {
        let mut results = no_results();
        let count = RefCell::new(0);
        let mut fake = FakeTrial::new(|_, _| {
            *count.borrow_mut() += 1;
            refused(EINVAL)
        });
        let limits = Limits {
            trials,
            ..Limits::default()
        };
        let tried = solve_with_trials(&request(), &mut [&mut fake], &mut results, limits);
        let made = fake.allocations + *count.borrow();
        assert!(made <= trials, "{made} of {trials}");
        assert_eq!(tried.trial_count, made);
    }
}

#[test]
fn number_of_plans_is_limited() {
    let mut request = request();
    for number in 0..20 {
        let id = format!("heap:more{number:02}");
        request
            .sources
            .push(source(&id, &id, request.sources[0].guarantees.clone()));
    }
    let mut fake = FakeTrial::new(|participant, _| {
        if participant.role == Role::Display {
            refused(EBUSY)
        } else {
            Outcome::Accepted
        }
    });
    let limits = Limits {
        plans: 3,
        trials: 10_000,
        repeats: 2,
    };
    let tried = solve_with_trials(&request, &mut [&mut fake], &mut no_results(), limits);
    assert_eq!(tried.end, TrialEnd::LimitReached);
    assert_eq!(tried.refused_plans.len(), 3);
}

#[test]
fn participant_that_cannot_be_tried_leaves_the_plan_untested() {
    let mut fake = FakeTrial::new(|participant, _| {
        if participant.role == Role::Display {
            Outcome::Untestable("another process is DRM master".to_owned())
        } else {
            Outcome::Accepted
        }
    });
    let tried = solve_with_trials(
        &request(),
        &mut [&mut fake],
        &mut no_results(),
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::Untested);
    assert!(
        matches!(&tried.participant_trials[2].outcome, Outcome::Untestable(why) if why.contains("master"))
    );
}

#[test]
fn trial_without_a_participant_leaves_the_plan_untested() {
    struct TriesNone;
    impl Trial for TriesNone {
        fn attempt(
            &mut self,
            _: TrialPlan<'_>,
            _: &Participant,
            _: Option<&Buffer>,
        ) -> Option<Outcome> {
            None
        }
    }
    let tried = solve_with_trials(
        &request(),
        &mut [&mut TriesNone],
        &mut no_results(),
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::Untested);
}

#[test]
fn first_trial_decides_before_the_later_ones() {
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
    let mut fake = FakeTrial::new(|_, _| Outcome::Accepted);
    let mut results = no_results();
    let tried = solve_with_trials(
        &request,
        &mut [&mut compositor, &mut fake],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::NoPlan);
    assert!(compositor.0 >= 2);
    assert!(!fake.attempts.contains_key("wayland-1"));
    assert!(
        results
            .all()
            .iter()
            .all(|fact| fact.participant.role == Some(Role::Compositor))
    );
}

#[test]
fn results_expire_and_apply_only_to_their_machine() {
    let mut results = no_results();
    let mut fake = FakeTrial::new(display_refuses_heap_a(EINVAL));
    solve_with_trials(
        &request(),
        &mut [&mut fake],
        &mut results,
        Limits::default(),
    );
    let fact = results.all()[0].clone();
    let source_of = |request: &Request| match solve(request) {
        Solution::Share(plan) => plan.source().as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(source_of(&request()), "heap:a");
    assert_eq!(source_of(&results.apply(&request()).request), "heap:b");

    let mut later = TrialResults::empty(here(), NOW + TrialResults::LIFETIME_SECONDS);
    later.add(fact.clone());
    assert_eq!(later.apply(&request()).request, request());
    let elsewhere = Environment {
        memory_mebibytes: 6144,
        ..here()
    };
    let mut other = TrialResults::empty(elsewhere, NOW);
    other.add(fact.clone());
    assert_eq!(other.apply(&request()).request, request());

    // An equal result that is added again raises the count of the first.
    let mut again = TrialResults::empty(here(), NOW + 5);
    again.add(fact.clone());
    let mut renewed = fact;
    renewed.origin = Origin::Learnt {
        at: NOW + 5,
        times: 2,
    };
    again.add(renewed);
    assert!(matches!(
        again.all(),
        [TrialResult {
            origin: Origin::Learnt { times: 3, .. },
            ..
        }]
    ));
    assert_eq!(again.forget(|_| true).len(), 1);
    assert_eq!(again.all(), []);
}

#[test]
fn shipped_results_change_only_what_they_name() {
    let results = TrialResults::with_quirks(here(), NOW);
    assert_eq!(results.apply(&request()).request, request());
    let mut amd = request();
    amd.participants[1] = display("amdgpu");
    let applied = results.apply(&amd);
    assert_eq!(applied.results.len(), 1);
    let alignment = applied.request.participants[1]
        .constraints()
        .image
        .stride
        .alignment;
    assert_eq!(alignment, 256);
}
