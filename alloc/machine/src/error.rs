//! The errors of reading a recorded machine, and of making a request from it.

use thiserror::Error;

use super::{Machine, TooManyDisplays};
use covalent_solver::constraint::ValueError;
use covalent_solver::model::Extent;

/// Why a recorded machine cannot be read, or why a [`Job`](crate::Job) on it gives no request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The file is longer than [`Machine::MAXIMUM_BYTES`].
    #[error(
        "the file has {bytes} bytes, and a recorded machine has at most {}",
        Machine::MAXIMUM_BYTES
    )]
    TooLong {
        /// The length of the file.
        bytes: usize,
    },
    /// The file is JSON of another kind.
    #[error(
        "the file is not a recorded machine: it does not begin with \"format\": \"covalent-machine\" and a \"version\"; `covalent probe --record FILE` writes one"
    )]
    OtherKind,
    /// A newer version of Covalent wrote the file.
    #[error(
        "the recorded machine is of version {version}, and this covalent reads versions up to {}: a newer version may change the meaning of a field, so use a newer covalent",
        Machine::VERSION
    )]
    Newer {
        /// The version of the file.
        version: u64,
    },
    /// The file is not valid.
    #[error("the recorded machine is damaged: {0}")]
    Damaged(#[source] serde_json::Error),
    /// The machine cannot be written as JSON.
    #[error("the recorded machine cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// The file has more entries of a kind than are read.
    #[error("{place}: the recorded machine has {count} {what}, and at most {most} are read")]
    TooMany {
        /// The path of the list in the file.
        place: String,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A value of a participant or source is out of its bounds.
    #[error("the recorded machine has a value that is out of its bounds: {0}")]
    Value(#[source] ValueError),
    /// Two entries have the same name.
    #[error("{place}: the recorded machine has the {what} {name} twice")]
    Duplicate {
        /// The path of the second entry in the file.
        place: String,
        /// The kind of the entries.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// The machine was not recorded at this size.
    #[error(
        "the machine was recorded at {known}, and not at {size}: the constraints of its queues at another size are not known; record it with --size {size}"
    )]
    NoSize {
        /// The size of the job.
        size: Extent,
        /// The sizes of the recording.
        known: String,
    },
    /// No participant of the machine has this name.
    #[error("no {what} of the recorded machine is called {name}; there are: {known}")]
    NotFound {
        /// The kind of participant.
        what: &'static str,
        /// The name of the job.
        name: String,
        /// The names of the participants of that kind.
        known: String,
    },
    /// Several participants of the machine match this name.
    #[error(
        "{name} may be each of these {what}s of the recorded machine: {found}; name one by its {distinction}"
    )]
    Ambiguous {
        /// The kind of participant.
        what: &'static str,
        /// The name of the job.
        name: String,
        /// The names of the participants that match.
        found: String,
        /// What tells them apart: the node of a device, or the name where they have one node.
        distinction: &'static str,
    },
    /// The job names a card more often than the card has outputs.
    #[error(transparent)]
    TooManyDisplays(#[from] TooManyDisplays),
    /// The job names no participant.
    #[error(
        "the job names no participant: name a camera, an output, a display, a GBM device, Vulkan, or reads by the CPU"
    )]
    NoParticipants,
}
