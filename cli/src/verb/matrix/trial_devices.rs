//! The devices whose cells a matrix contains: those of this machine, on which the helper process tries buffers, or GPUs that this
//! machine does not have, on which no buffer is tried.

use anyhow::Result;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::Extent;
use covalent_alloc::trial::{Allocation, Helper, Outcome, Trial, TrialPlan};

use super::devices::DeclaredDevices;

/// The devices of a matrix, and how buffers are tried on them.
pub(super) enum TrialDevices {
    /// The devices of this machine. The helper process tries buffers on them.
    Local(Box<Helper>),
    /// GPUs that this machine does not have, by name. Their drivers declare them, and no buffer is tried.
    Absent(Vec<String>),
}

impl TrialDevices {
    /// Declares the devices for one size, in pixels.
    ///
    /// # Errors
    /// Those of [`DeclaredDevices::discover`] and [`DeclaredDevices::of_gpus`].
    pub(super) fn discover(&mut self, size: Extent) -> Result<DeclaredDevices> {
        match self {
            Self::Local(helper) => DeclaredDevices::discover(size, helper),
            Self::Absent(names) => DeclaredDevices::of_gpus(size, names),
        }
    }

    /// Returns how many helper processes crashed or were killed so far.
    pub(super) fn lost_process_count(&self) -> u32 {
        match self {
            Self::Local(helper) => helper.lost_process_count(),
            Self::Absent(_) => 0,
        }
    }
}

/// The outcome of every trial on a GPU that this machine does not have. No buffer is tried, because the driver would accept
/// imports that the hardware refuses, and would draw nothing.
fn untested() -> Outcome {
    Outcome::Untestable("this GPU is not in this machine".to_owned())
}

impl Trial for TrialDevices {
    fn allocate(&mut self, planned: TrialPlan<'_>) -> Option<Allocation> {
        match self {
            Self::Local(helper) => helper.allocate(planned),
            Self::Absent(_) => Some(Allocation {
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
            Self::Local(helper) => helper.attempt(planned, participant, buffer),
            Self::Absent(_) => Some(untested()),
        }
    }

    fn release(&mut self) {
        if let Self::Local(helper) = self {
            helper.release();
        }
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        match self {
            Self::Local(helper) => helper.redeclare(participant, extent),
            Self::Absent(_) => None,
        }
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        match self {
            Self::Local(helper) => helper.redeclare_source(source, extent),
            Self::Absent(_) => None,
        }
    }
}
