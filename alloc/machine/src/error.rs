//! Why a recorded machine is not read, or cannot do a job.

use thiserror::Error;

use super::Machine;
use covalent_solver::constraint::ValueError;
use covalent_solver::model::Extent;

/// Why a recorded machine is not read, or cannot be asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The file is longer than any machine's.
    #[error(
        "the file has {bytes} bytes, and a recorded machine at most {}",
        Machine::MAXIMUM_BYTES
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is JSON, and not of this kind.
    #[error(
        "the file is no recorded machine: it does not begin with \"format\": \"covalent-machine\" and a \"version\"; `covalent probe --record FILE` writes one"
    )]
    OtherKind,
    /// A newer version wrote it.
    #[error(
        "the recorded machine is of version {version}, and this covalent reads up to {}: what it says would be misunderstood, so take a newer covalent",
        Machine::VERSION
    )]
    Newer {
        /// Its version.
        version: u64,
    },
    /// It cannot be read.
    #[error("the recorded machine is damaged: {0}")]
    Damaged(#[source] serde_json::Error),
    /// It cannot be written.
    #[error("the recorded machine cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// It has more of something than is believed.
    #[error("{place}: the recorded machine has {count} {what}, and at most {most} are read")]
    TooMany {
        /// Where they are in the file.
        place: String,
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// It has a value that is out of its bounds.
    #[error("the recorded machine has a value that is out of its bounds: {0}")]
    Value(#[source] ValueError),
    /// Something stands in it twice.
    #[error("{place}: the recorded machine has the {what} {name} twice")]
    Twice {
        /// Where the second is in the file.
        place: String,
        /// What.
        what: &'static str,
        /// What it is called.
        name: String,
    },
    /// It was not asked for this size.
    #[error(
        "the machine was recorded at {known}, and not at {size}: what its queues take at another size is not known; record it with --size {size}"
    )]
    NoSize {
        /// The size that is wanted.
        size: Extent,
        /// Those that there are.
        known: String,
    },
    /// Nobody there is called so.
    #[error("no {what} of the recorded machine is called {name}; there are: {known}")]
    Nobody {
        /// What was looked for.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// Who there is.
        known: String,
    },
    /// Several there are called so.
    #[error(
        "{name} may be each of these {what}s of the recorded machine: {found}; name one by its node"
    )]
    Several {
        /// What was looked for.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// Who is called so.
        found: String,
    },
    /// Nobody was named.
    #[error(
        "nobody to plan for: name a camera, an output, a display, a GBM device, Vulkan or a use by the processor"
    )]
    NobodyNamed,
}
