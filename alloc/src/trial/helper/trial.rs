//! The helper process as a trial: buffers are tried there.

use super::super::contract::{Allocation, Planned, Trial};
use super::super::wire::{Answer, Question};
use super::{Helper, confused};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use covalent_machine::trial_results::Outcome;

impl Trial for Helper {
    fn allocate(&mut self, planned: Planned<'_>) -> Option<Allocation> {
        let (outcome, buffer) = self.hold(planned);
        Some(Allocation { outcome, buffer })
    }

    fn attempt(
        &mut self,
        planned: Planned<'_>,
        participant: &Participant,
        _buffer: Option<&Buffer>,
    ) -> Option<Outcome> {
        // After a death the next process has to allocate anew.
        if self.allocated.as_ref() != Some(planned.request) {
            let (outcome, _) = self.hold(planned);
            if outcome != Outcome::Proved {
                return Some(Outcome::Untestable(format!(
                    "there is no buffer to try: {outcome}"
                )));
            }
        }
        let question = Question::Attempt {
            participant: Box::new(participant.clone()),
        };
        match self.ask(&question, &participant.name, "try the buffer") {
            Ok((Answer::Attempted { outcome }, _)) => outcome,
            Ok(_) => Some(confused()),
            Err(outcome) => Some(outcome),
        }
    }

    fn release(&mut self) {
        // Where no process runs there is nothing to let go.
        if self.allocated.take().is_some() && self.running.is_some() {
            if let Err(outcome) = self.ask(&Question::Release, "the helper process", "release") {
                tracing::debug!(%outcome, "releasing a buffer");
            }
        }
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let question = Question::Redeclare {
            participant: Box::new(participant.clone()),
            extent,
        };
        self.allocated = None;
        match self.ask(&question, &participant.name, "declare") {
            Ok((Answer::Redeclared { participant }, _)) => participant.map(|one| *one),
            _ => None,
        }
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let question = Question::RedeclareSource {
            source: Box::new(source.clone()),
            extent,
        };
        self.allocated = None;
        match self.ask(&question, &source.name, "declare") {
            Ok((Answer::RedeclaredSource { source }, _)) => source.map(|one| *one),
            _ => None,
        }
    }
}
