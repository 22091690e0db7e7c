//! What went wrong, as a status and in words.

use std::fmt;

/// What became of a call: the `enum covalent_status` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) enum Status {
    /// It was done.
    Ok = 0,
    /// An error that no other status describes.
    Unexpected = 1,
    /// The request or an argument is wrong.
    Invalid = 2,
    /// A device cannot be asked.
    NoDevice = 3,
    /// No buffer serves all.
    NoPlan = 4,
    /// The source did not give the memory.
    NoMemory = 7,
}

/// Why a call did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) words: String,
}

impl Failure {
    pub(crate) fn new(status: Status, words: &impl fmt::Display) -> Self {
        Self {
            status,
            words: words.to_string(),
        }
    }
}
