//! The devices of a matrix, and how buffers are tried on them: by the helper process, or not at all for GPUs that this machine does
//! not have.

use anyhow::Result;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::Extent;
use covalent_alloc::trial::{Allocation, Helper, Outcome, Trial, TrialPlan};

use super::devices::DeclaredDevices;

/// The devices of a matrix.
pub(super) enum Tried {
    /// The devices of this machine. The helper process tries buffers on them.
    Here(Box<Helper>),
    /// GPUs that this machine does not have, by name. Their drivers declare them, and no buffer is tried.
    Nowhere(Vec<String>),
}

impl Tried {
    /// Declares the devices for one size, in pixels.
    ///
    /// # Errors
    /// Those of [`DeclaredDevices::discover`] and [`DeclaredDevices::of_gpus`].
    pub(super) fn discover(&mut self, size: Extent) -> Result<DeclaredDevices> {
        match self {
            Self::Here(helper) => DeclaredDevices::discover(size, helper),
            Self::Nowhere(names) => DeclaredDevices::of_gpus(size, names),
        }
    }

    /// Returns how many helper processes crashed or were killed.
    pub(super) fn lost_process_count(&self) -> u32 {
        match self {
            Self::Here(helper) => helper.lost_process_count(),
            Self::Nowhere(_) => 0,
        }
    }
}

/// The outcome of every trial on a GPU that this machine does not have. No buffer is tried, because the driver would accept imports
/// that the hardware refuses, and would draw nothing.
fn untested() -> Outcome {
    Outcome::Untestable("this GPU is not in this machine".to_owned())
}

impl Trial for Tried {
    fn allocate(&mut self, planned: TrialPlan<'_>) -> Option<Allocation> {
        match self {
            Self::Here(helper) => helper.allocate(planned),
            Self::Nowhere(_) => Some(Allocation {
                outcome: untested(),
                buffer: None,
            }),
        }
    }

    fn attempt(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        buffer: Option<&Buffer>,
    ) -> Option<Outcome> {
        match self {
            Self::Here(helper) => helper.attempt(planned, participant, buffer),
            Self::Nowhere(_) => Some(untested()),
        }
    }

    fn release(&mut self) {
        if let Self::Here(helper) = self {
            helper.release();
        }
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        match self {
            Self::Here(helper) => helper.redeclare(participant, extent),
            Self::Nowhere(_) => None,
        }
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        match self {
            Self::Here(helper) => helper.redeclare_source(source, extent),
            Self::Nowhere(_) => None,
        }
    }
}
