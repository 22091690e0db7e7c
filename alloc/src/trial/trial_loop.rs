//! Solves a request, tries the plan, learns from refusals, and solves again.

use super::trial_trait::{Trial, TrialPlan};
use super::tried_solution::{Limits, ParticipantTrial, RefusedPlan, TrialEnd, TriedSolution};
use crate::buffer::Buffer;
use crate::constraint::{FormatSet, Participant, Source, SourceId};
use crate::model::{Extent, FormatModifier};
use crate::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_machine::trial_results::TrialResults;
use covalent_machine::trial_results::{CONFIRMATIONS, Probe, generalise};
use covalent_machine::trial_results::{Exclusion, exclude};
use covalent_machine::trial_results::{Outcome, Refusal, RefusalKind};
use covalent_machine::trial_results::{Scope, TrialResult};
use covalent_machine::trial_results::{narrowed, pair, plan_of};

/// Solves a request and tries the plan. If a driver refuses, the refused combination is excluded and the request is solved again,
/// until a plan is accepted, no plan is left, or a limit is reached.
///
/// Learnt refusals are added to `results`. A refusal is learnt only if it is structural, repeats, and contradicts a plan that the
/// solver guarantees for that participant and source alone. The refusal of a plan that is possible and not guaranteed does not
/// contradict the participant's declaration. A refusal that is not learnt is excluded for this call only.
pub fn solve_with_trials(
    request: &Request,
    trials: &mut [&mut dyn Trial],
    results: &mut TrialResults,
    limits: Limits,
) -> TriedSolution {
    let mut run = TrialRun {
        trials,
        limits,
        used: 0,
    };
    let tried = run_loop(request, &mut run, results);
    for trial in trials.iter_mut() {
        trial.release();
    }
    tried
}

fn run_loop(
    request: &Request,
    run: &mut TrialRun<'_, '_>,
    results: &mut TrialResults,
) -> TriedSolution {
    let mut exclusions: Vec<Exclusion> = Vec::new();
    let mut refused_plans = Vec::new();
    let mut learnt_results: Vec<TrialResult> = Vec::new();
    let mut plans = 0_u32;
    let mut participant_trials = Vec::new();
    loop {
        let applied = results.apply(request);
        let limited = exclude(&applied.request, &exclusions);
        let solution = solve(&limited);
        let applied_results = applied
            .results
            .into_iter()
            .filter(|result| !learnt_results.iter().any(|own| own.is_repeat_of(result)))
            .collect();
        let finish =
            |solution, end, participant_trials, refused_plans, learnt_results, trial_count| {
                TriedSolution {
                    solution,
                    end,
                    participant_trials,
                    refused_plans,
                    learnt_results,
                    applied_results,
                    trial_count,
                }
            };
        let Solution::Share(plan) = &solution else {
            return finish(
                solution,
                TrialEnd::NoPlan,
                Vec::new(),
                refused_plans,
                learnt_results,
                run.used,
            );
        };
        if plans >= run.limits.plans {
            return finish(
                solution,
                TrialEnd::LimitReached,
                participant_trials,
                refused_plans,
                learnt_results,
                run.used,
            );
        }
        plans = plans.saturating_add(1);
        let plan_trial = run.try_plan(&limited, plan);
        participant_trials = plan_trial.participant_trials;
        let Some(refused) = plan_trial.refused else {
            let end = if plan_trial.is_limit_reached {
                TrialEnd::LimitReached
            } else if participant_trials
                .iter()
                .all(|one| one.outcome == Outcome::Accepted)
            {
                TrialEnd::Accepted
            } else {
                TrialEnd::Untested
            };
            return finish(
                solution,
                end,
                participant_trials,
                refused_plans,
                learnt_results,
                run.used,
            );
        };
        let (source, format) = (plan.source().clone(), plan.layout().format());
        refused_plans.push(RefusedPlan {
            source_name: plan.source_name().to_owned(),
            format,
            refused_by: refused
                .participant
                .and_then(|index| limited.participants.get(index))
                .map_or_else(|| plan.source_name(), |one| one.name.as_str())
                .to_owned(),
            refusal: refused.refusal.clone(),
        });
        exclusions.push(Exclusion {
            source: source.clone(),
            participant: refused.participant,
            scope: Scope::exactly(format, request.extent),
            cause: refused.refusal.in_short(),
        });
        if let Some(result) = run.learn(&limited, &source, format, &refused, results) {
            learnt_results.retain(|earlier| !earlier.is_repeat_of(&result));
            learnt_results.push(result);
        }
    }
}

/// A refusal of the plan by a participant, or by the source at the allocation.
struct PlanRefusal {
    /// The index of the participant, because two participants can have the same name; `None` if the source refused to allocate.
    participant: Option<usize>,
    refusal: Refusal,
    /// How often the same refusal was returned.
    times: u32,
}

/// The result of trying one plan.
struct PlanTrial {
    participant_trials: Vec<ParticipantTrial>,
    refused: Option<PlanRefusal>,
    is_limit_reached: bool,
}

/// One call of [`solve_with_trials`], with the number of trials that it has used.
struct TrialRun<'run, 'trial> {
    trials: &'run mut [&'trial mut dyn Trial],
    limits: Limits,
    used: u32,
}

impl TrialRun<'_, '_> {
    /// Allocates a buffer according to a plan and tries it on each participant. A trial that is refused is repeated.
    fn try_plan(&mut self, request: &Request, plan: &Plan) -> PlanTrial {
        let narrow = narrowed(request, plan);
        let mut result = PlanTrial {
            participant_trials: Vec::new(),
            refused: None,
            is_limit_reached: false,
        };
        let Some(one) = plan_of(&narrow) else {
            // This does not occur, because the plan itself satisfies the narrowed request.
            result.is_limit_reached = true;
            return result;
        };
        let planned = TrialPlan {
            request: &narrow,
            plan: &one,
        };
        let mut buffer = None;
        let outcome = self.repeat_refusals(|run| run.allocate(planned, &mut buffer));
        match outcome {
            None => result.is_limit_reached = true,
            Some((Outcome::Refused(refusal), times)) => {
                result.participant_trials.push(ParticipantTrial {
                    participant: plan.source_name().to_owned(),
                    outcome: Outcome::Refused(refusal.clone()),
                });
                result.refused = Some(PlanRefusal {
                    participant: None,
                    refusal,
                    times,
                });
            }
            Some((outcome, _)) => result.participant_trials.push(ParticipantTrial {
                participant: plan.source_name().to_owned(),
                outcome,
            }),
        }
        if result.refused.is_some() || result.is_limit_reached {
            return result;
        }
        for (index, participant) in narrow.participants.iter().enumerate() {
            let is_first = std::cell::Cell::new(true);
            let outcome = self.repeat_refusals(|run| {
                // Each repetition allocates a new buffer. After a crash it also runs in a new helper process.
                if !is_first.replace(false) {
                    let allocated = run.allocate(planned, &mut buffer)?;
                    if allocated.refusal().is_some() {
                        return Some(allocated);
                    }
                }
                run.attempt(planned, participant, buffer.as_ref())
            });
            let Some((outcome, times)) = outcome else {
                result.is_limit_reached = true;
                return result;
            };
            result.participant_trials.push(ParticipantTrial {
                participant: participant.name.clone(),
                outcome: outcome.clone(),
            });
            if let Outcome::Refused(refusal) = outcome {
                result.refused = Some(PlanRefusal {
                    participant: Some(index),
                    refusal,
                    times,
                });
                return result;
            }
        }
        result
    }

    /// Repeats a trial until it is not refused, or until the same refusal was returned as often as [`Limits::repeats`] requires.
    /// Returns `None` if the limit of trials is reached before.
    fn repeat_refusals(
        &mut self,
        mut run_trial: impl FnMut(&mut Self) -> Option<Outcome>,
    ) -> Option<(Outcome, u32)> {
        let mut last: Option<(Refusal, u32)> = None;
        for _ in 0..self.limits.repeats.max(1) {
            match run_trial(self) {
                Some(Outcome::Refused(refusal)) => {
                    let times = match &last {
                        Some((before, times)) if before.repeats(&refusal) => {
                            times.saturating_add(1)
                        }
                        _ => 1,
                    };
                    // A refusal because of a missing permission is not repeated, since the result would be the same.
                    let is_final = refusal.kind == RefusalKind::Permission;
                    last = Some((refusal, times));
                    if is_final {
                        break;
                    }
                }
                Some(outcome) => return Some((outcome, 1)),
                None if last.is_some() => break,
                None => return None,
            }
        }
        last.map(|(refusal, times)| (Outcome::Refused(refusal), times))
    }

    /// Counts one trial; returns `None` if the limit of trials is reached.
    fn count(&mut self) -> Option<()> {
        if self.used >= self.limits.trials {
            return None;
        }
        self.used = self.used.saturating_add(1);
        Some(())
    }

    fn allocate(&mut self, planned: TrialPlan<'_>, buffer: &mut Option<Buffer>) -> Option<Outcome> {
        self.count()?;
        *buffer = None;
        for trial in self.trials.iter_mut() {
            if let Some(allocation) = trial.allocate(planned) {
                *buffer = allocation.buffer;
                return Some(allocation.outcome);
            }
        }
        Some(Outcome::Untestable(
            "no implementation of Trial can allocate the buffer of this plan".to_owned(),
        ))
    }

    /// Tries a plan's buffer on a participant, with the first trial that can. Returns `None` if the limit of trials is reached.
    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        buffer: Option<&Buffer>,
    ) -> Option<Outcome> {
        self.count()?;
        for trial in self.trials.iter_mut() {
            if let Some(outcome) = trial.attempt(planned, participant, buffer) {
                return Some(outcome);
            }
        }
        Some(Outcome::Untestable(
            "no implementation of Trial can try this participant".to_owned(),
        ))
    }

    /// Adds a trial result for a refusal if the refusal is structural, was repeated, and contradicts a plan that was guaranteed.
    /// Trials with other sizes and formats (probes) determine the scope of the result.
    fn learn(
        &mut self,
        request: &Request,
        source: &SourceId,
        format: FormatModifier,
        refused: &PlanRefusal,
        results: &mut TrialResults,
    ) -> Option<TrialResult> {
        if refused.refusal.kind != RefusalKind::Structural
            || refused.times < self.limits.repeats.max(2)
        {
            return None;
        }
        let participant = request.participants.get(refused.participant?)?;
        let source = request.sources.iter().find(|own| own.id == *source)?;
        let alone = plan_of(&pair(participant, source, format, request.extent))?;
        if alone.verdict() != Verdict::Guaranteed {
            return None;
        }
        // The refused buffer also had to be usable for the other sizes of the request. A trial result is for one size, so a
        // buffer for only that size is tried first.
        if !request.more_extents.is_empty() {
            let alone = self.probe_one(participant, source, format, request.extent, refused)?;
            if !alone.refused {
                return None;
            }
        }
        let probes = self.probe(participant, source, format, request.extent, refused);
        let scope = generalise(format, request.extent, &probes);
        Some(results.learn(
            participant,
            &source.id,
            scope,
            &refused.refusal,
            refused.times,
        ))
    }

    /// Tries whether the participant also refuses buffers of the source with other sizes and formats.
    fn probe(
        &mut self,
        participant: &Participant,
        source: &Source,
        format: FormatModifier,
        extent: Extent,
        refused: &PlanRefusal,
    ) -> Vec<Probe> {
        let mut probes = Vec::new();
        for other in other_sizes(extent) {
            if let Some(probe) = self.probe_one(participant, source, format, other, refused) {
                probes.push(probe);
                if !probe.refused {
                    return probes;
                }
            }
        }
        let sizes = probes.len();
        if sizes < CONFIRMATIONS {
            return probes;
        }
        // Formats with another modifier are tried before formats with the same modifier.
        let listed: FormatSet = participant
            .choices()
            .filter_map(|choice| choice.formats.as_ref())
            .flat_map(FormatSet::iter)
            .collect();
        let mut others: Vec<FormatModifier> =
            listed.iter().filter(|other| *other != format).collect();
        others.sort_by_key(|other| (other.modifier == format.modifier, *other));
        for other in others {
            if probes.len() > sizes.saturating_add(CONFIRMATIONS) {
                break;
            }
            if let Some(probe) = self.probe_one(participant, source, other, extent, refused) {
                probes.push(probe);
                if !probe.refused {
                    break;
                }
            }
        }
        probes
    }

    /// Tries whether the participant also refuses a buffer of the source with one size and format. Returns `None` if the buffer
    /// was neither accepted nor refused in the same way, so that the outcome tells nothing about the refusal.
    fn probe_one(
        &mut self,
        participant: &Participant,
        source: &Source,
        format: FormatModifier,
        extent: Extent,
        refused: &PlanRefusal,
    ) -> Option<Probe> {
        let redeclared = self
            .trials
            .iter_mut()
            .find_map(|trial| trial.redeclare(participant, extent));
        let participant = redeclared.as_ref().unwrap_or(participant);
        let redeclared = self
            .trials
            .iter_mut()
            .find_map(|trial| trial.redeclare_source(source, extent));
        let source = redeclared.as_ref().unwrap_or(source);
        let request = pair(participant, source, format, extent);
        let plan = plan_of(&request)?;
        let planned = TrialPlan {
            request: &request,
            plan: &plan,
        };
        let mut buffer = None;
        if self.allocate(planned, &mut buffer)?.refusal().is_some() {
            return None;
        }
        let tried_participant = request.participants.first()?;
        let refused = match self.attempt(planned, tried_participant, buffer.as_ref())? {
            Outcome::Accepted => false,
            Outcome::Refused(refusal) if refusal.repeats(&refused.refusal) => true,
            _ => return None,
        };
        Some(Probe {
            format,
            extent,
            refused,
        })
    }
}

/// Returns sizes in pixels for further probes: a size whose buffer fits into a page, half and double the size, and two usual
/// sizes. A driver whose refusal depends on the size probably accepts one of them.
fn other_sizes(extent: Extent) -> impl Iterator<Item = Extent> {
    let (width, height) = (extent.width(), extent.height());
    [
        (32, 32),
        (width / 2, height / 2),
        (width.saturating_mul(2), height.saturating_mul(2)),
        (1280, 720),
        (640, 480),
    ]
    .into_iter()
    .filter_map(|(width, height)| Extent::new(width, height).ok())
    .filter(move |other| *other != extent)
}
