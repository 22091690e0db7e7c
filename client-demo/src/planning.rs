//! What to ask the solver, best first, and its answer.
//!
//! A driver that could end this process is given a plan in a helper process first. That takes its time, so a program that must
//! not wait calls [`Planning::decide`] on a thread of its own.

use covalent_alloc::prove::{
    FactBook, FactError, Helper, Limits, Outcome, Proven, keep_facts, known_facts, solve_and_prove,
};
use covalent_alloc::solve::{Plan, Request, Solution, solve};

/// One thing to plan.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// Who shares.
    pub request: Request,
    /// The participant that has to be tried before its driver is given a buffer in this process; none where it is known to
    /// take memory as any program does.
    pub untried: Option<String>,
    /// Whom the buffers are for, in words.
    pub between: String,
    /// What the buffers would be used for, in words.
    pub usage_label: String,
}

/// What came of a list of alternatives.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The first that there is a plan for, by its place in the list.
    pub chosen: Option<(usize, Box<Plan>)>,
    /// Why there is none for those before, in words.
    pub explanations: Vec<String>,
}

/// What is known of this machine's drivers, and the helper process that finds out more.
#[derive(Debug)]
pub struct Planning {
    facts: FactBook,
    helper: Option<Helper>,
}

impl Planning {
    /// Opens the user's facts. What is wrong with them is logged, and the facts that ship serve then.
    #[must_use]
    pub fn open() -> Self {
        Self {
            facts: known_facts(tell),
            helper: None,
        }
    }

    /// Plans the first alternative that can be planned.
    pub fn decide(&mut self, alternatives: &[Alternative]) -> Answer {
        let mut answer = Answer::default();
        for (place, alternative) in alternatives.iter().enumerate() {
            match self.plan(alternative) {
                Ok(plan) => {
                    answer.chosen = Some((place, plan));
                    return answer;
                }
                Err(why) => {
                    let words = format!(
                        "no buffer for {} can be {}:\n{}",
                        alternative.between,
                        alternative.usage_label,
                        why.trim_end()
                    );
                    answer.explanations.push(words);
                }
            }
        }
        answer
    }

    fn plan(&mut self, alternative: &Alternative) -> Result<Box<Plan>, String> {
        let request = &alternative.request;
        let known = self.facts.inform(request).request;
        // What cannot be planned need not be tried.
        let plan = shared(solve(&known))?;
        let Some(who) = &alternative.untried else {
            return Ok(plan);
        };
        let proven = self.prove(request)?;
        let tried = proven.tried.iter().find(|tried| tried.who == *who);
        let outcome = tried.map(|tried| tried.outcome.clone());
        let refusals: Vec<String> = proven
            .given_up
            .iter()
            .map(|given_up| {
                format!(
                    "{} in {} was refused by {}: {}",
                    given_up.source_name, given_up.format, given_up.who, given_up.refusal
                )
            })
            .collect();
        match outcome {
            Some(Outcome::Proved) => shared(proven.solution),
            Some(outcome) => Err(format!("{who} could not be proved: {outcome}")),
            None => Err(if refusals.is_empty() {
                proven.solution.explain()
            } else {
                refusals.join("\n")
            }),
        }
    }

    fn prove(&mut self, request: &Request) -> Result<Proven, String> {
        let helper = match self.helper.take() {
            Some(helper) => helper,
            None => Helper::find()
                .map_err(|error| format!("its driver may end this process, and {error}"))?,
        };
        let helper = self.helper.insert(helper);
        let limits = Limits::default();
        let proven = solve_and_prove(request, &mut [helper], &mut self.facts, limits);
        keep_facts(&proven.learnt, tell);
        Ok(proven)
    }
}

fn shared(solution: Solution) -> Result<Box<Plan>, String> {
    match solution {
        Solution::Share(plan) => Ok(Box::new(plan)),
        other => Err(other.explain()),
    }
}

fn tell(error: &FactError) {
    tracing::warn!("{error}");
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::{FormatSet, Participant, Role, Source, SourceId};
    use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use covalent_alloc::prove::environment;

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
            untried: None,
            between: "the renderer and the compositor".to_owned(),
            usage_label: "shown".to_owned(),
        }
    }

    #[test]
    fn alternative_without_a_plan_is_explained_and_the_next_is_taken() {
        let mut planning = Planning {
            facts: FactBook::well_known(environment(), 0),
            helper: None,
        };
        let answer = planning.decide(&[
            alternative(Fourcc::NV12),
            alternative(Fourcc::XRGB8888),
            alternative(Fourcc::XRGB8888),
        ]);
        assert_eq!(answer.chosen.map(|(place, _)| place), Some(1));
        let [why] = answer.explanations.as_slice() else {
            panic!("{:?}", answer.explanations);
        };
        let begins = "no buffer for the renderer and the compositor can be shown:\n";
        assert!(why.starts_with(begins), "{why}");
        assert!(planning.decide(&[]).chosen.is_none());
    }

    #[test]
    fn driver_that_was_not_proved_is_given_nothing() {
        let mut planning = Planning {
            facts: FactBook::well_known(environment(), 0),
            helper: Some(Helper::new("/nowhere/covalent-prove".into())),
        };
        let mut wanted = alternative(Fourcc::XRGB8888);
        wanted.untried = Some("renderer".to_owned());
        let answer = planning.decide(&[wanted]);
        assert!(answer.chosen.is_none());
        assert_eq!(answer.explanations.len(), 1);
    }
}
