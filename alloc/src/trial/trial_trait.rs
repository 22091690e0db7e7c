//! The trait by which plans are tried. An application can implement it.

use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use crate::solve::{Plan, Request};
use covalent_machine::trial_results::Outcome;

/// A plan that is being tried.
#[derive(Clone, Copy, Debug)]
pub struct TrialPlan<'a> {
    /// A request whose only solution is this plan.
    pub request: &'a Request,
    /// The plan, for one buffer.
    pub plan: &'a Plan,
}

/// The result of an allocation in a trial.
#[derive(Debug)]
pub struct Allocation {
    /// Whether the allocation succeeded.
    pub outcome: Outcome,
    /// The buffer, where this process has it too.
    pub buffer: Option<Buffer>,
}

/// Tries plans on participants.
///
/// An application implements this trait for participants that only it can reach: a Wayland client tries a plan on its compositor by
/// `zwp_linux_buffer_params_v1.create`. The implementations are called in order, and the first that returns a result counts.
///
/// A driver may refuse, hang or abort. [`Helper`](super::Helper) survives all three, since it tries the plan in another process. An
/// implementation that tries it in this process does not.
pub trait Trial {
    /// Allocates one buffer according to the plan and keeps it until the next call. Returns `None` where this implementation does
    /// not allocate.
    fn allocate(&mut self, planned: TrialPlan<'_>) -> Option<Allocation> {
        let _ = planned;
        None
    }

    /// Tries the buffer of the last allocation on a participant. Returns `None` where this implementation does not try this
    /// participant.
    ///
    /// `buffer` is that buffer, where this process has it.
    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        buffer: Option<&Buffer>,
    ) -> Option<Outcome>;

    /// Frees the buffer of the last allocation. A queue that it came from is idle afterwards.
    fn release(&mut self) {}

    /// Declares a participant for pictures of another size, in pixels. Returns `None` where this implementation cannot ask its
    /// driver.
    ///
    /// Constraints may depend on the size, as those of V4L2 queues do, so a participant is declared again before another size is
    /// tried.
    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let _ = (participant, extent);
        None
    }

    /// Declares a source for pictures of another size, in pixels. Returns `None` where this implementation cannot ask its driver.
    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let _ = (source, extent);
        None
    }
}
