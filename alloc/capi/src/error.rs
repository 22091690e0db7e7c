//! The error of a call of the C interface: a status, and a message for `covalent_last_error`.

use std::fmt;

/// The status that a function of the C interface returns: `enum covalent_status` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) enum Status {
    /// The call succeeded.
    Ok = 0,
    /// An error that no other status describes.
    Unexpected = 1,
    /// The request or an argument is not valid.
    Invalid = 2,
    /// A device cannot be opened or queried.
    NoDevice = 3,
    /// No buffer satisfies all participants.
    NoPlan = 4,
    /// The source cannot allocate the buffers of the plan.
    NoMemory = 7,
}

/// The error of a call of the C interface.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: &impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }
}
