//! The trait [`Trial`], by which plans are tried. An application can implement it.

use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use crate::solve::{Plan, Request};
use covalent_machine::trial_results::Outcome;

/// A plan that is being tried.
#[derive(Clone, Copy, Debug)]
pub struct TrialPlan<'a> {
    /// A request of which this plan is the only solution.
    pub request: &'a Request,
    /// The plan for one buffer.
    pub plan: &'a Plan,
}

/// The result of an allocation in a trial.
#[derive(Debug)]
pub struct Allocation {
    /// Whether the allocation succeeded.
    pub outcome: Outcome,
    /// The buffer, if this process has its file descriptors too.
    pub buffer: Option<Buffer>,
}

/// Tries plans on participants.
///
/// An application implements this trait for participants that only it can access. For example, a Wayland client tries a plan on
/// its compositor with `zwp_linux_buffer_params_v1.create`. The implementations are called in order, and the result of the first
/// that returns `Some` is used.
///
/// A driver may refuse, hang or abort. [`Helper`](super::Helper) tries the plan in another process, so the program continues in
/// all three cases. An implementation that calls the driver in this process hangs or ends with it.
pub trait Trial {
    /// Allocates one buffer according to the plan, and keeps it until the next call. Returns `None` if this implementation does
    /// not allocate.
    fn allocate(&mut self, planned: TrialPlan<'_>) -> Option<Allocation> {
        let _ = planned;
        None
    }

    /// Tries the buffer of the last allocation on a participant. Returns `None` if this implementation cannot try this
    /// participant.
    ///
    /// `buffer` is that buffer, or `None` if only another process has it.
    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        buffer: Option<&Buffer>,
    ) -> Option<Outcome>;

    /// Frees the buffer of the last allocation. If the buffer came from a V4L2 queue, the queue is idle afterwards.
    fn release(&mut self) {}

    /// Declares a participant for pictures of another size, in pixels. Returns `None` if this implementation cannot query the
    /// participant's driver.
    ///
    /// A participant is declared again before another size is tried, because constraints can depend on the size, as those of V4L2
    /// queues do.
    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let _ = (participant, extent);
        None
    }

    /// Declares a source for pictures of another size, in pixels. Returns `None` if this implementation cannot query the source's
    /// driver.
    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let _ = (source, extent);
        None
    }
}
