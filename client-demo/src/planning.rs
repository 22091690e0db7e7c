//! Plans the first of several alternatives that has a plan.
//!
//! A driver that may crash the importing process first imports the plan's buffers in a helper process. That can take seconds, so
//! a program that must not block calls [`Planning::decide`] on a thread of its own.

use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_alloc::trial::{
    Helper, Limits, Outcome, TrialResultError, TrialResults, TriedSolution, keep_trial_results,
    load_trial_results, solve_with_trials,
};

/// A request to the solver, with the phrases that describe it in messages.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// The request to the solver.
    pub request: Request,
    /// The participant that needs a trial import in a helper process before this process may import; `None` if no driver may
    /// crash.
    pub trial_participant: Option<String>,
    /// The participants, as a phrase for messages.
    pub participants_label: String,
    /// What the buffers are used for, as a phrase for messages.
    pub usage_label: String,
}

/// The result of planning a list of alternatives.
#[derive(Clone, Debug, Default)]
pub struct PlanningResult {
    /// The index of the first alternative that has a plan, and the plan.
    pub chosen: Option<(usize, Box<Plan>)>,
    /// Why each earlier alternative has no plan.
    pub explanations: Vec<String>,
}

/// The trial results of this machine's drivers, and the helper process that runs new trials.
#[derive(Debug)]
pub struct Planning {
    trial_results: TrialResults,
    helper: Option<Helper>,
}

impl Planning {
    /// Loads the user's trial results. If they cannot be read, the error is logged, and only the shipped quirks are used.
    #[must_use]
    pub fn open() -> Self {
        Self {
            trial_results: load_trial_results(log_error),
            helper: None,
        }
    }

    /// Plans the first alternative that has a plan.
    pub fn decide(&mut self, alternatives: &[Alternative]) -> PlanningResult {
        let mut result = PlanningResult::default();
        for (index, alternative) in alternatives.iter().enumerate() {
            match self.plan(alternative) {
                Ok(plan) => {
                    result.chosen = Some((index, plan));
                    return result;
                }
                Err(why) => {
                    let explanation = format!(
                        "no buffer shared by {} can be {}:\n{}",
                        alternative.participants_label,
                        alternative.usage_label,
                        why.trim_end()
                    );
                    result.explanations.push(explanation);
                }
            }
        }
        result
    }

    /// Plans an alternative, and tries to import its buffer if its driver must be tried first. The error explains why it has no
    /// plan.
    fn plan(&mut self, alternative: &Alternative) -> Result<Box<Plan>, String> {
        let request = &alternative.request;
        let request_with_trials = self.trial_results.apply(request).request;
        // Without a plan there is nothing to import.
        let plan = shared_plan(solve(&request_with_trials))?;
        let Some(participant_name) = &alternative.trial_participant else {
            return Ok(plan);
        };
        let tried_solution = self.try_imports(request, participant_name)?;
        let trial = tried_solution
            .participant_trials
            .iter()
            .find(|trial| trial.participant == *participant_name);
        let outcome = trial.map(|trial| trial.outcome.clone());
        let refusals: Vec<String> = tried_solution
            .refused_plans
            .iter()
            .map(|refused| {
                format!(
                    "a buffer of {} in {} could not be imported by {}: {}",
                    refused.source_name, refused.format, refused.refused_by, refused.refusal
                )
            })
            .collect();
        match outcome {
            Some(Outcome::Accepted) => shared_plan(tried_solution.solution),
            Some(outcome) => Err(format!(
                "the trial import by {participant_name} failed: {outcome}"
            )),
            None => Err(if refusals.is_empty() {
                tried_solution.solution.explain()
            } else {
                refusals.join("\n")
            }),
        }
    }

    /// Plans with trial imports in the helper process, which is started at the first call.
    fn try_imports(
        &mut self,
        request: &Request,
        participant_name: &str,
    ) -> Result<TriedSolution, String> {
        let helper = match self.helper.take() {
            Some(helper) => helper,
            None => Helper::find().map_err(|error| {
                format!("the driver of {participant_name} may crash this process, so a helper process has to import first: {error}")
            })?,
        };
        let helper = self.helper.insert(helper);
        let limits = Limits::default();
        let tried_solution =
            solve_with_trials(request, &mut [helper], &mut self.trial_results, limits);
        keep_trial_results(&tried_solution.learnt_results, log_error);
        Ok(tried_solution)
    }
}

/// Returns the plan if all participants share one buffer, or else the explanation of the solution.
fn shared_plan(solution: Solution) -> Result<Box<Plan>, String> {
    match solution {
        Solution::Share(plan) => Ok(Box::new(plan)),
        other => Err(other.explain()),
    }
}

/// Logs an error of the stored trial results, without which planning also works.
fn log_error(error: &TrialResultError) {
    tracing::warn!("{error}");
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::{FormatSet, Participant, Role, Source, SourceId};
    use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use covalent_alloc::trial::environment;

    use super::*;

    fn alternative(fourcc: Fourcc) -> Alternative {
        let device = |driver: &str| DeviceIdentity {
            driver: driver.to_owned(),
            location: String::new(),
            node: String::new(),
        };
        let takes = |name: &str, role, fourcc| {
            let mut participant = Participant::new(name, device(name), role);
            let formats = FormatSet::from([FormatModifier::linear(fourcc)]);
            participant.for_each_choice(|own| own.formats = Some(formats.clone()));
            participant
        };
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        request.participants = vec![
            takes("renderer", Role::Render, Fourcc::XRGB8888),
            takes("compositor", Role::Compositor, fourcc),
        ];
        request.sources = vec![Source::new(SourceId::new("heap:system"), "dma-heap system")];
        Alternative {
            request,
            trial_participant: None,
            participants_label: "the renderer and the compositor".to_owned(),
            usage_label: "shown".to_owned(),
        }
    }

    #[test]
    fn alternative_without_a_plan_is_explained_and_skipped() {
        let mut planning = Planning {
            trial_results: TrialResults::with_quirks(environment(), 0),
            helper: None,
        };
        let answer = planning.decide(&[
            alternative(Fourcc::NV12),
            alternative(Fourcc::XRGB8888),
            alternative(Fourcc::XRGB8888),
        ]);
        assert_eq!(answer.chosen.map(|(index, _)| index), Some(1));
        let [why] = answer.explanations.as_slice() else {
            panic!("{:?}", answer.explanations);
        };
        let begins = "no buffer shared by the renderer and the compositor can be shown:\n";
        assert!(why.starts_with(begins), "{why}");
        assert!(planning.decide(&[]).chosen.is_none());
    }

    #[test]
    fn driver_without_a_trial_import_has_no_plan() {
        let mut planning = Planning {
            trial_results: TrialResults::with_quirks(environment(), 0),
            helper: Some(Helper::new("/nowhere/covalent-prove".into())),
        };
        let mut wanted = alternative(Fourcc::XRGB8888);
        wanted.trial_participant = Some("renderer".to_owned());
        let answer = planning.decide(&[wanted]);
        assert!(answer.chosen.is_none());
        assert_eq!(answer.explanations.len(), 1);
    }
}
