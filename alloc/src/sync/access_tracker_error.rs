//! The errors of [`AccessTracker`](super::AccessTracker), each with the names of both accessors.

use thiserror::Error;

use super::Access;

/// An access that may not begin or end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccessTrackerError {
    /// A write was requested while another accessor writes.
    #[error(
        "{buffer}: {requester} cannot write because {writer} is writing; end the access of {writer} first"
    )]
    TwoWriters {
        /// The buffer's name.
        buffer: String,
        /// The accessor that writes.
        writer: String,
        /// The accessor that requested the write.
        requester: String,
    },
    /// A read was requested while another accessor writes and has given no fence yet.
    #[error(
        "{buffer}: {reader} cannot read because {writer} is writing and has given no fence; end the access of {writer} with its fence first"
    )]
    ReadBeforeFence {
        /// The buffer's name.
        buffer: String,
        /// The accessor that writes.
        writer: String,
        /// The accessor that requested the read.
        reader: String,
    },
    /// A write was requested while another accessor reads and has given no fence yet.
    #[error(
        "{buffer}: {writer} cannot write because {reader} is reading and has given no fence; end the access of {reader} with its fence first"
    )]
    WriteBeforeRelease {
        /// The buffer's name.
        buffer: String,
        /// The accessor that reads.
        reader: String,
        /// The accessor that requested the write.
        writer: String,
    },
    /// Another process holds the buffer.
    #[error(
        "{buffer}: {requester} cannot {access} because {peer} in another process holds the buffer; wait for its release"
    )]
    Transferred {
        /// The buffer's name.
        buffer: String,
        /// The accessor in the other process.
        peer: String,
        /// The accessor that requested the buffer.
        requester: String,
        /// The access that was requested.
        access: Access,
    },
    /// The last write failed, so the contents are undefined.
    #[error(
        "{buffer}: {reader} cannot read because the write by {writer} failed; write the buffer again first"
    )]
    Poisoned {
        /// The buffer's name.
        buffer: String,
        /// The accessor whose write failed.
        writer: String,
        /// The accessor that requested the read.
        reader: String,
    },
    /// An access ended before one that it had to wait for.
    #[error(
        "{buffer}: {accessor} was done before {other}, for which it had to wait; what was read or written since is undefined"
    )]
    DidNotWait {
        /// The buffer's name.
        buffer: String,
        /// The accessor that did not wait.
        accessor: String,
        /// The accessor that it had to wait for.
        other: String,
    },
    /// The token belongs to another buffer's tracker, or its access was ended by
    /// [`AccessTracker::end_lost`](super::AccessTracker::end_lost).
    #[error(
        "{buffer}: the token has no current access; it is of another buffer, or its accessor was reported as lost"
    )]
    UnknownToken {
        /// The buffer's name.
        buffer: String,
    },
    /// An accessor gave the buffer back without holding it.
    #[error("{buffer}: {peer} gave the buffer back, but it was not transferred to {peer}")]
    NotTransferred {
        /// The buffer's name.
        buffer: String,
        /// The accessor that gave the buffer back.
        peer: String,
    },
}
