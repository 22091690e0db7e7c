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
        /// The length of the file in bytes.
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
    /// The file is not valid JSON of a recorded machine.
    #[error("the recorded machine is damaged: {0}")]
    Damaged(#[source] serde_json::Error),
    /// The machine cannot be written as JSON.
    #[error("the recorded machine cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// The file has more entries in a list than are read.
    #[error("{place}: the recorded machine has {count} {what}, and at most {most} are read")]
    TooMany {
        /// The path of the list in the file.
        place: String,
        /// The kind of the entries, such as `participants`.
        what: &'static str,
        /// The number of entries in the list.
        count: usize,
        /// The maximum number of entries that are read.
        most: usize,
    },
    /// A value of a participant or source is outside of its bounds.
    #[error("the recorded machine has a value that is out of its bounds: {0}")]
    Value(#[source] ValueError),
    /// Two entries have the same name.
    #[error("{place}: the recorded machine has the {what} {name} twice")]
    Duplicate {
        /// The path of the second entry in the file.
        place: String,
        /// The kind of the entries, such as `participant`.
        what: &'static str,
        /// The name that both entries have.
        name: String,
    },
    /// The machine was not recorded at this size.
    #[error(
        "the machine was recorded at {known}, and not at {size}: the constraints of its queues at another size are not known; record it with --size {size}"
    )]
    NoSize {
        /// The size that the job asks for.
        size: Extent,
        /// The sizes at which the machine was recorded, as text.
        known: String,
    },
    /// No participant of the machine has this name.
    #[error("no {what} of the recorded machine is called {name}; there are: {known}")]
    NotFound {
        /// The kind of participant, such as `camera`.
        what: &'static str,
        /// The name that the job gives.
        name: String,
        /// The names of the machine's participants of that kind, as text.
        known: String,
    },
    /// Several participants of the machine match this name.
    #[error(
        "{name} matches several {what}s of the recorded machine: {found}; name one of them by its {distinction}"
    )]
    Ambiguous {
        /// The kind of participant, such as `camera`.
        what: &'static str,
        /// The name that the job gives.
        name: String,
        /// The names of the participants that match, as text.
        found: String,
        /// The property that distinguishes the matches: `node`, or `name` if all of them have the same node.
        distinction: &'static str,
    },
    /// The job names a card more often than the card can show different planes at the same time.
    #[error(transparent)]
    TooManyDisplays(#[from] TooManyDisplays),
    /// The job names no participant.
    #[error(
        "the job names no participant: name a camera, an output, a display, a GBM device, Vulkan, or reads by the CPU"
    )]
    NoParticipants,
}
