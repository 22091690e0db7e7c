//! `Trial` for `Helper`: buffers are allocated and tried in the helper process.

use super::super::trial_trait::{Allocation, Trial, TrialPlan};
use super::super::wire::{HelperReply, HelperRequest};
use super::{Helper, unexpected_reply};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use covalent_machine::trial_results::{Outcome, participant_in_format};

impl Trial for Helper {
    fn allocate(&mut self, planned: TrialPlan<'_>) -> Option<Allocation> {
        let (outcome, buffer) = self.allocate_in_helper(planned);
        Some(Allocation { outcome, buffer })
    }

    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        _buffer: Option<&Buffer>,
    ) -> Option<Outcome> {
        // A process that was started after a crash has no buffer yet, so the buffer is allocated again.
        if self.allocated.as_ref() != Some(planned.request) {
            let (outcome, _) = self.allocate_in_helper(planned);
            if outcome != Outcome::Accepted {
                return Some(Outcome::Untestable(format!(
                    "the helper process has no buffer to try: {outcome}"
                )));
            }
        }
        let fourcc = planned.plan.layout().format().fourcc;
        let request = HelperRequest::Attempt {
            participant: Box::new(participant_in_format(participant, fourcc)),
        };
        match self.call(&request, &participant.name, "try the buffer") {
            Ok((HelperReply::Attempted { outcome }, _)) => outcome,
            Ok(_) => Some(unexpected_reply()),
            Err(outcome) => Some(outcome),
        }
    }

    fn release(&mut self) {
        // If no process runs, there is no buffer to free.
        if self.allocated.take().is_some() && self.process.is_some() {
            if let Err(outcome) =
                self.call(&HelperRequest::Release, "the helper process", "release")
            {
                tracing::debug!(%outcome, "the helper process did not free its buffer");
            }
        }
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let request = HelperRequest::Redeclare {
            participant: Box::new(participant.clone()),
            extent,
        };
        self.allocated = None;
        match self.call(&request, &participant.name, "declare") {
            Ok((HelperReply::Redeclared { participant }, _)) => participant.map(|one| *one),
            _ => None,
        }
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let request = HelperRequest::RedeclareSource {
            source: Box::new(source.clone()),
            extent,
        };
        self.allocated = None;
        match self.call(&request, &source.name, "declare") {
            Ok((HelperReply::RedeclaredSource { source }, _)) => source.map(|one| *one),
            _ => None,
        }
    }
}
