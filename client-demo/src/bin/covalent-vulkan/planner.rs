//! Solving and proving, beside the event loop.
//!
//! A plan for a driver that could end this process is tried in a helper process first, which takes its time. So all of it happens
//! on a thread of its own, which says in the event loop's mailbox that there is an answer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use calloop::channel::Sender as Mailbox;
use covalent_alloc::prove::{
    Fact, FactBook, FactError, FactStore, Helper, Limits, Outcome, Proven, environment,
    solve_and_prove,
};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_client_demo::board::Board;

/// One thing to plan.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    /// Who shares.
    pub(crate) request: Request,
    /// The participant that has to be proved before its driver is given a buffer in this process; none where it is known to
    /// take memory as any program does.
    pub(crate) unproved: Option<String>,
    /// What the buffers would be for.
    pub(crate) words: String,
}

/// What came of a list of alternatives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The first that there is a plan for, by its place.
    pub(crate) chosen: Option<(usize, Box<Plan>)>,
    /// Why there is none for those before, in words.
    pub(crate) explanations: Vec<String>,
}

/// The thread that plans; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Planner {
    questions: Sender<Vec<Alternative>>,
    answers: Receiver<Answer>,
}

impl Planner {
    /// Starts the thread, which puts `number` into the mailbox with each answer.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub(crate) fn start(mailbox: Mailbox<u64>, number: u64) -> std::io::Result<Self> {
        let (questions, asked) = channel::<Vec<Alternative>>();
        let (answering, answers) = channel();
        thread::Builder::new()
            .name("planner".to_owned())
            .spawn(move || {
                let mut desk = Desk::open();
                for alternatives in asked {
                    let answer = desk.decide(&alternatives);
                    // Nobody listens any more where the program ends.
                    if answering.send(answer).is_err() || mailbox.send(number).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { questions, answers })
    }

    /// Asks for the first of these that there is a plan for.
    pub(crate) fn ask(&self, alternatives: Vec<Alternative>) {
        // The thread lives as long as this; where it panicked, which is told on stderr, there is no answer.
        let _ = self.questions.send(alternatives);
    }

    /// Takes an answer, and never waits for one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// What the thread has open.
struct Desk {
    board: Board,
    facts: FactBook,
    helper: Option<Helper>,
}

impl Desk {
    fn open() -> Self {
        let facts = match FactStore::of_user() {
            Ok(store) => {
                let (facts, read) = store.book();
                read.unwrap_or_else(|error| tell(&error));
                facts
            }
            Err(error) => {
                tell(&error);
                FactBook::well_known(environment(), FactStore::now())
            }
        };
        Self {
            board: Board::here(),
            facts,
            helper: None,
        }
    }

    fn decide(&mut self, alternatives: &[Alternative]) -> Answer {
        let mut answer = Answer::default();
        for (place, alternative) in alternatives.iter().enumerate() {
            match self.plan(alternative) {
                Ok(plan) => {
                    answer.chosen = Some((place, plan));
                    return answer;
                }
                Err(why) => {
                    let words = format!("{}:\n{}", alternative.words, why.trim_end());
                    answer.explanations.push(words);
                }
            }
        }
        answer
    }

    fn plan(&mut self, alternative: &Alternative) -> Result<Box<Plan>, String> {
        let mut request = alternative.request.clone();
        self.board.refine(&mut request);
        let known = self.facts.inform(&request).request;
        // What cannot be planned need not be tried.
        let plan = shared(solve(&known))?;
        let Some(who) = &alternative.unproved else {
            return Ok(plan);
        };
        let proven = self.prove(&request)?;
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
        keep(&proven.learnt);
        Ok(proven)
    }
}

fn shared(solution: Solution) -> Result<Box<Plan>, String> {
    match solution {
        Solution::Share(plan) => Ok(Box::new(plan)),
        other => Err(other.explain()),
    }
}

/// Keeps what was learnt. That it could not be kept is told; what was found out stands.
fn keep(learnt: &[Fact]) {
    if learnt.is_empty() {
        return;
    }
    FactStore::of_user()
        .and_then(|store| {
            store.update(|book| learnt.iter().for_each(|fact| book.add(fact.clone())))
        })
        .unwrap_or_else(|error| tell(&error));
}

fn tell(error: &FactError) {
    tracing::warn!("{error}");
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::{FormatSet, Participant, Role, Source, SourceId};
    use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};

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
            unproved: None,
            words: "shown".to_owned(),
        }
    }

    #[test]
    fn alternative_without_a_plan_is_explained_and_the_next_is_taken() {
        let mut desk = Desk {
            board: Board::default(),
            facts: FactBook::well_known(environment(), 0),
            helper: None,
        };
        let answer = desk.decide(&[
            alternative(Fourcc::NV12),
            alternative(Fourcc::XRGB8888),
            alternative(Fourcc::XRGB8888),
        ]);
        assert_eq!(answer.chosen.map(|(place, _)| place), Some(1));
        let [why] = answer.explanations.as_slice() else {
            panic!("{:?}", answer.explanations);
        };
        assert!(why.starts_with("shown:\n"), "{why}");
        assert!(desk.decide(&[]).chosen.is_none());
    }

    #[test]
    fn driver_that_was_not_proved_is_given_nothing() {
        let mut desk = Desk {
            board: Board::default(),
            facts: FactBook::well_known(environment(), 0),
            helper: Some(Helper::new("/nowhere/covalent-prove".into())),
        };
        let mut wanted = alternative(Fourcc::XRGB8888);
        wanted.unproved = Some("renderer".to_owned());
        let answer = desk.decide(&[wanted]);
        assert!(answer.chosen.is_none());
        assert_eq!(answer.explanations.len(), 1);
    }
}
