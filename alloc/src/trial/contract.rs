//! What tries a plan: an application can bring its own.

use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use crate::solve::{Plan, Request};
use covalent_machine::trial_results::Outcome;

/// A plan that is being tried.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The request that has this plan as its only solution.
    pub request: &'a Request,
    /// The plan, for one buffer.
    pub plan: &'a Plan,
}

/// What came of allocating by a plan.
#[derive(Debug)]
pub struct Allocation {
    /// How it ended.
    pub outcome: Outcome,
    /// The buffer, where this process has it as well.
    pub buffer: Option<Buffer>,
}

/// Tries plans on participants.
///
/// An application implements this for what only it can ask: a Wayland client tries a plan on its compositor by
/// `zwp_linux_buffer_params_v1.create`. Trials are asked in order, and the first that answers counts.
///
/// A driver may refuse, hang or abort, and [`Helper`](super::Helper) survives all three. What is tried in this process
/// does not.
pub trait Trial {
    /// Allocates one buffer by the plan, and keeps it until the next call; `None` where this trial allocates nothing.
    fn allocate(&mut self, planned: Planned<'_>) -> Option<Allocation> {
        let _ = planned;
        None
    }

    /// Tries the buffer that was allocated last on a participant; `None` where this trial is not for it.
    ///
    /// `buffer` is that buffer, where this process has it.
    fn attempt(
        &mut self,
        planned: Planned<'_>,
        participant: &Participant,
        buffer: Option<&Buffer>,
    ) -> Option<Outcome>;

    /// Lets go of the buffer that was allocated last. A queue that it came from is free afterwards.
    fn release(&mut self) {}

    /// Declares a participant for pictures of another size; `None` where this trial cannot ask it.
    ///
    /// Participants whose demands depend on the size, like V4L2 queues, must be asked anew before another size is tried.
    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let _ = (participant, extent);
        None
    }

    /// Declares a source for pictures of another size; `None` where this trial cannot ask it.
    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let _ = (source, extent);
        None
    }
}
