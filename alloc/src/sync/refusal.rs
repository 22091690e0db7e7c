//! Why a ledger refuses, with the names of both.

use thiserror::Error;

use super::Access;

/// Why a buffer is not handed over, or is not taken back.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccessTrackerError {
    /// Two would write.
    #[error(
        "{buffer}: {next} may not write while {writer} writes; {writer} has to end its turn first"
    )]
    TwoWriters {
        /// The buffer's name.
        buffer: String,
        /// Who writes.
        writer: String,
        /// Who wanted to.
        next: String,
    },
    /// It is still written, and nobody knows until when.
    #[error(
        "{buffer}: {reader} may not read while {writer} writes and has not said behind which fence it is done; {writer} has to end its turn first"
    )]
    ReadBeforeFence {
        /// The buffer's name.
        buffer: String,
        /// Who writes.
        writer: String,
        /// Who wanted to read.
        reader: String,
    },
    /// It is still read, and nobody knows until when.
    #[error(
        "{buffer}: {writer} may not write while {reader} reads and has not said behind which fence it is done; {reader} has to end its turn first"
    )]
    WriteBeforeRelease {
        /// The buffer's name.
        buffer: String,
        /// Who reads.
        reader: String,
        /// Who wanted to write.
        writer: String,
    },
    /// Another process has it.
    #[error(
        "{buffer}: {next} may not {access} while it is away at {peer}, which has not given it back; wait for its release"
    )]
    Away {
        /// The buffer's name.
        buffer: String,
        /// Who has it.
        peer: String,
        /// Who wanted it.
        next: String,
        /// For what.
        access: Access,
    },
    /// The last writer failed.
    #[error("{buffer}: {reader} may not read what {writer} failed to write; have it written again")]
    Poisoned {
        /// The buffer's name.
        buffer: String,
        /// Who failed.
        writer: String,
        /// Who wanted to read.
        reader: String,
    },
    /// A turn was over before what it had to wait for.
    #[error(
        "{buffer}: {party} was done before {other}, for which it had to wait; what was read or written since is undefined"
    )]
    DidNotWait {
        /// The buffer's name.
        buffer: String,
        /// Who did not wait.
        party: String,
        /// For whom.
        other: String,
    },
    /// The turn is of another buffer, or was taken away when its party was lost.
    #[error("{buffer}: no such turn is open; it is of another buffer, or its party was given up")]
    NoSuchTurn {
        /// The buffer's name.
        buffer: String,
    },
    /// Who gives the buffer back does not have it.
    #[error("{buffer}: {peer} gives back what it was not given")]
    NotAway {
        /// The buffer's name.
        buffer: String,
        /// Who gives it back.
        peer: String,
    },
}
