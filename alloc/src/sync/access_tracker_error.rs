//! The errors of [`AccessTracker`](super::AccessTracker), with the names of the accessors that conflict.

use thiserror::Error;

use super::Access;

/// Why an access cannot begin, or did not end as it should.
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
    /// A read was requested while another accessor writes and has not passed its fence yet.
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
    /// A write was requested while another accessor reads and has not passed its fence yet.
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
    /// An access finished before an earlier access that it had to wait for.
    #[error(
        "{buffer}: the access of {accessor} finished before that of {other}, for which it had to wait; the pixels that it read or wrote are undefined"
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
        "{buffer}: the token belongs to no current access; it is for another buffer, or its accessor was reported as lost"
    )]
    UnknownToken {
        /// The buffer's name.
        buffer: String,
    },
    /// An accessor returned a buffer that was not transferred to it.
    #[error("{buffer}: {peer} returned the buffer, but the buffer was not transferred to {peer}")]
    NotTransferred {
        /// The buffer's name.
        buffer: String,
        /// The accessor that returned the buffer.
        peer: String,
    },
}
