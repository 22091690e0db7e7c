//! Solve, prove, learn, and solve again.

use serde::Serialize;

use super::contract::{Planned, Trial};
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

/// How much may be tried. [`Default`] is enough for every case that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Plans, each the best that is left.
    pub plans: u32,
    /// Allocations and attempts in all, the further probes of what was refused included.
    pub trials: u32,
    /// How often the same refusal must come back before it is believed.
    pub repeats: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plans: 8,
            trials: 128,
            repeats: 2,
        }
    }
}

/// A solution, and what trying it showed.
#[derive(Clone, Debug, Serialize)]
pub struct TriedSolution {
    /// The last solution. Its verdict is the solver's: that a trial went well makes no guarantee of a possibility.
    pub solution: Solution,
    /// Why it is the last.
    pub ending: TrialEnd,
    /// How each participant took the last plan.
    pub tried: Vec<ParticipantTrial>,
    /// Plans that were given up, in order.
    pub given_up: Vec<RefusedPlan>,
    /// Facts that were learnt on the way.
    pub learnt: Vec<TrialResult>,
    /// Facts that were known before and changed the last request.
    pub known: Vec<TrialResult>,
    /// Allocations and attempts that were made.
    pub trials: u32,
}

/// Why there was no further plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrialEnd {
    /// Every participant took the buffer.
    Proved,
    /// Nobody refused it, and somebody could not be tried.
    Untested,
    /// No buffer serves all, after what was refused.
    NoPlan,
    /// [`Limits`] were reached: the last plan was refused, or not tried to its end.
    Capped,
}

/// How one participant took a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParticipantTrial {
    /// Who; the source's name for the allocation.
    pub who: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// A plan that somebody refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedPlan {
    /// The source that it was for.
    pub source_name: String,
    /// Its format.
    pub format: FormatModifier,
    /// Who refused: the source itself, or a participant.
    pub who: String,
    /// The refusal.
    pub refusal: Refusal,
}

/// Solves a request, tries the plan, and solves again with what was refused, until a plan is proved or limits are reached.
///
/// What is learnt goes into `facts`. Only a structural refusal that repeats, of a plan that was guaranteed for that
/// participant alone, becomes a fact: where a plan was only possible a refusal is bad luck and the declaration true.
/// Everything else that is refused is set aside for this call alone.
pub fn solve_with_trials(
    request: &Request,
    trials: &mut [&mut dyn Trial],
    facts: &mut TrialResults,
    limits: Limits,
) -> TriedSolution {
    let proven = go_round(
        request,
        &mut Run {
            trials,
            limits,
            used: 0,
        },
        facts,
    );
    for trial in trials.iter_mut() {
        trial.release();
    }
    proven
}

fn go_round(request: &Request, run: &mut Run<'_, '_>, facts: &mut TrialResults) -> TriedSolution {
    let mut aside: Vec<Exclusion> = Vec::new();
    let mut given_up = Vec::new();
    let mut learnt: Vec<TrialResult> = Vec::new();
    let mut plans = 0_u32;
    let mut tried = Vec::new();
    loop {
        let informed = facts.apply(request);
        let limited = exclude(&informed.request, &aside);
        let solution = solve(&limited);
        let known = informed
            .results
            .into_iter()
            .filter(|fact| !learnt.iter().any(|own| own.is_repeat_of(fact)))
            .collect();
        let end = |solution, ending, tried, given_up, learnt, trials| TriedSolution {
            solution,
            ending,
            tried,
            given_up,
            learnt,
            known,
            trials,
        };
        let Solution::Share(plan) = &solution else {
            return end(
                solution,
                TrialEnd::NoPlan,
                Vec::new(),
                given_up,
                learnt,
                run.used,
            );
        };
        if plans >= run.limits.plans {
            return end(
                solution,
                TrialEnd::Capped,
                tried,
                given_up,
                learnt,
                run.used,
            );
        }
        plans = plans.saturating_add(1);
        let judged = run.judge(&limited, plan);
        tried = judged.tried;
        let Some(refused) = judged.refused else {
            let ending = if judged.is_capped {
                TrialEnd::Capped
            } else if tried.iter().all(|one| one.outcome == Outcome::Proved) {
                TrialEnd::Proved
            } else {
                TrialEnd::Untested
            };
            return end(solution, ending, tried, given_up, learnt, run.used);
        };
        let (source, format) = (plan.source().clone(), plan.layout().format());
        given_up.push(RefusedPlan {
            source_name: plan.source_name().to_owned(),
            format,
            who: refused
                .participant
                .and_then(|place| limited.participants.get(place))
                .map_or_else(|| plan.source_name(), |one| one.name.as_str())
                .to_owned(),
            refusal: refused.refusal.clone(),
        });
        aside.push(Exclusion {
            source: source.clone(),
            participant: refused.participant,
            scope: Scope::exactly(format, request.extent),
            cause: refused.refusal.in_short(),
        });
        if let Some(fact) = run.learn(&limited, &source, format, &refused, facts) {
            learnt.retain(|known| !known.is_repeat_of(&fact));
            learnt.push(fact);
        }
    }
}

/// Somebody who refused a plan.
struct Refused {
    /// Its place among the participants, whose names may be equal; none where the source did not even allocate.
    participant: Option<usize>,
    refusal: Refusal,
    /// How often it came back the same.
    times: u32,
}

/// How a plan was taken.
struct Judged {
    tried: Vec<ParticipantTrial>,
    refused: Option<Refused>,
    is_capped: bool,
}

struct Run<'run, 'trial> {
    trials: &'run mut [&'trial mut dyn Trial],
    limits: Limits,
    used: u32,
}

impl Run<'_, '_> {
    /// Tries a plan on all of its participants, and what refuses again.
    fn judge(&mut self, request: &Request, plan: &Plan) -> Judged {
        let narrow = narrowed(request, plan);
        let mut judged = Judged {
            tried: Vec::new(),
            refused: None,
            is_capped: false,
        };
        let Some(one) = plan_of(&narrow) else {
            // Never so: the plan itself meets the narrowed request.
            judged.is_capped = true;
            return judged;
        };
        let planned = Planned {
            request: &narrow,
            plan: &one,
        };
        let mut buffer = None;
        let outcome = self.repeated(|run| run.allocate(planned, &mut buffer));
        match outcome {
            None => judged.is_capped = true,
            Some((Outcome::Refused(refusal), times)) => {
                judged.tried.push(ParticipantTrial {
                    who: plan.source_name().to_owned(),
                    outcome: Outcome::Refused(refusal.clone()),
                });
                judged.refused = Some(Refused {
                    participant: None,
                    refusal,
                    times,
                });
            }
            Some((outcome, _)) => judged.tried.push(ParticipantTrial {
                who: plan.source_name().to_owned(),
                outcome,
            }),
        }
        if judged.refused.is_some() || judged.is_capped {
            return judged;
        }
        for (place, participant) in narrow.participants.iter().enumerate() {
            let first = std::cell::Cell::new(true);
            let outcome = self.repeated(|run| {
                // Again means from the start: another buffer, and after a death another process.
                if !first.replace(false) {
                    let allocated = run.allocate(planned, &mut buffer)?;
                    if allocated.refusal().is_some() {
                        return Some(allocated);
                    }
                }
                run.attempt(planned, participant, buffer.as_ref())
            });
            let Some((outcome, times)) = outcome else {
                judged.is_capped = true;
                return judged;
            };
            judged.tried.push(ParticipantTrial {
                who: participant.name.clone(),
                outcome: outcome.clone(),
            });
            if let Outcome::Refused(refusal) = outcome {
                judged.refused = Some(Refused {
                    participant: Some(place),
                    refusal,
                    times,
                });
                return judged;
            }
        }
        judged
    }

    /// Asks until something else than a refusal comes, or the same refusal came often enough. `None`: limits were reached.
    fn repeated(
        &mut self,
        mut ask: impl FnMut(&mut Self) -> Option<Outcome>,
    ) -> Option<(Outcome, u32)> {
        let mut last: Option<(Refusal, u32)> = None;
        for _ in 0..self.limits.repeats.max(1) {
            match ask(self) {
                Some(Outcome::Refused(refusal)) => {
                    let times = match &last {
                        Some((before, times)) if before.repeats(&refusal) => {
                            times.saturating_add(1)
                        }
                        _ => 1,
                    };
                    // Asking again does not help where a right is missing.
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

    fn count(&mut self) -> Option<()> {
        if self.used >= self.limits.trials {
            return None;
        }
        self.used = self.used.saturating_add(1);
        Some(())
    }

    fn allocate(&mut self, planned: Planned<'_>, buffer: &mut Option<Buffer>) -> Option<Outcome> {
        self.count()?;
        *buffer = None;
        for trial in self.trials.iter_mut() {
            if let Some(allocation) = trial.allocate(planned) {
                *buffer = allocation.buffer;
                return Some(allocation.outcome);
            }
        }
        Some(Outcome::Untestable("no trial allocates".to_owned()))
    }

    fn attempt(
        &mut self,
        planned: Planned<'_>,
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
            "no trial is for this participant".to_owned(),
        ))
    }

    /// Makes a fact of a refusal that deserves it.
    fn learn(
        &mut self,
        request: &Request,
        source: &SourceId,
        format: FormatModifier,
        refused: &Refused,
        facts: &mut TrialResults,
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
        // The buffer that was refused held other sizes too, so this size is tried by itself before it is said to be refused.
        if !request.more_extents.is_empty() {
            let alone = self.probe_one(participant, source, format, request.extent, refused)?;
            if !alone.refused {
                return None;
            }
        }
        let probes = self.probe(participant, source, format, request.extent, refused);
        let scope = generalise(format, request.extent, &probes);
        Some(facts.learn(
            participant,
            &source.id,
            scope,
            &refused.refusal,
            refused.times,
        ))
    }

    /// Tries the pair in other sizes and formats.
    fn probe(
        &mut self,
        participant: &Participant,
        source: &Source,
        format: FormatModifier,
        extent: Extent,
        refused: &Refused,
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
        // First one that is arranged otherwise, then a few of each arrangement.
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

    /// Tries the pair in one other picture; `None` where nothing can be said of it.
    fn probe_one(
        &mut self,
        participant: &Participant,
        source: &Source,
        format: FormatModifier,
        extent: Extent,
        refused: &Refused,
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
        let planned = Planned {
            request: &request,
            plan: &plan,
        };
        let mut buffer = None;
        if self.allocate(planned, &mut buffer)?.refusal().is_some() {
            return None;
        }
        let own = request.participants.first()?;
        let refused = match self.attempt(planned, own, buffer.as_ref())? {
            Outcome::Proved => false,
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

/// A page, half, and double: what depends on the size shows at one of them.
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
