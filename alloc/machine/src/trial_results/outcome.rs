//! The outcome of a trial, and the kind and cause of a refusal.

use std::fmt;

use serde::{Deserialize, Serialize};

use covalent_solver::text::{Printable, printable_within};

/// The maximum length of the text that [`Refusal::in_short`] takes from a driver, in characters. Longer text is cut off.
const MAXIMUM_CHARACTERS: usize = 400;

/// The outcome of a trial of one buffer on one participant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The participant accepted the buffer.
    #[serde(rename = "proved")]
    Accepted,
    /// The participant refused the buffer.
    Refused(Refusal),
    /// The trial cannot be run now, for the given reason. For example, another process is DRM master, or the queue is busy.
    Untestable(String),
}

impl Outcome {
    /// Returns the refusal; `None` for the other outcomes.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => out.write_str("accepted"),
            Self::Refused(refusal) => write!(out, "refused ({}): {refusal}", refusal.kind),
            Self::Untestable(why) => write!(out, "untested: {}", Printable(why)),
        }
    }
}

/// A refusal of a buffer: the device, the operation that failed, and the error that the operation returned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Whether a later attempt may succeed.
    pub kind: RefusalKind,
    /// The device or program that refused the buffer.
    pub device: String,
    /// The operation that failed, as the kernel or the protocol names it.
    pub operation: String,
    /// The error that the operation returned.
    pub cause: Cause,
    /// The complete error message for people.
    pub words: String,
}

impl Refusal {
    /// Makes a refusal for an operation that failed with a Linux error number. The error number determines the refusal's kind.
    pub fn of_errno(
        device: impl Into<String>,
        operation: impl Into<String>,
        errno: i32,
        words: impl Into<String>,
    ) -> Self {
        Self {
            kind: RefusalKind::of_errno(errno),
            device: device.into(),
            operation: operation.into(),
            cause: Cause::Errno(errno),
            words: words.into(),
        }
    }

    /// Makes a refusal of the kind [`RefusalKind::Structural`] without an error number. For example, the driver set another
    /// format than the requested one.
    pub fn structural(
        device: impl Into<String>,
        operation: impl Into<String>,
        words: impl Into<String>,
    ) -> Self {
        Self {
            kind: RefusalKind::Structural,
            device: device.into(),
            operation: operation.into(),
            cause: Cause::Answer,
            words: words.into(),
        }
    }

    /// Returns the operation and its error as a short printable text. If the refusal has no such error, returns its message.
    pub fn in_short(&self) -> String {
        match self.cause {
            Cause::Answer => printable_within(self.words.trim_end_matches('.'), MAXIMUM_CHARACTERS),
            cause => format!(
                "{}: {cause}",
                printable_within(&self.operation, MAXIMUM_CHARACTERS)
            ),
        }
    }

    /// Returns whether both are the same refusal: their kind, operation and cause are equal. Their devices and messages may
    /// differ.
    pub fn repeats(&self, other: &Self) -> bool {
        self.kind == other.kind && self.operation == other.operation && self.cause == other.cause
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", Printable(&self.words))
    }
}

/// Whether a later attempt may succeed after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// A later attempt may succeed without any change.
    Transient,
    /// An attempt succeeds only after the user gets the permission.
    Permission,
    /// Every attempt is refused as long as the devices and their drivers stay the same.
    Structural,
}

impl RefusalKind {
    /// Returns the kind of refusal that a Linux error number means.
    pub fn of_errno(errno: i32) -> Self {
        // Linux's error numbers are written here as numbers, because this crate does not depend on a crate that names them. The
        // numbers are the same on every architecture that has these drivers. These two are EPERM and EACCES.
        const PERMISSION: [i32; 2] = [1, 13];
        // EINTR, EAGAIN, ENOMEM, EBUSY, ENFILE, EMFILE, ENOSPC, ETIME and ETIMEDOUT.
        const TRANSIENT: [i32; 9] = [4, 11, 12, 16, 23, 24, 28, 62, 110];
        if PERMISSION.contains(&errno) {
            Self::Permission
        } else if TRANSIENT.contains(&errno) {
            Self::Transient
        } else {
            Self::Structural
        }
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Transient => "transient",
            Self::Permission => "a matter of permission",
            Self::Structural => "structural",
        })
    }
}

/// The error that a refused operation returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The operation returned this Linux error number.
    Errno(i32),
    /// This signal killed the helper process during the trial.
    Signal(i32),
    /// The helper process exited with this code during the trial.
    Exit(i32),
    /// The helper process did not return a result within this many seconds.
    Deadline(u64),
    /// The device or program reported a failure without an error number.
    Answer,
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => write!(out, "{}", std::io::Error::from_raw_os_error(*errno)),
            Self::Signal(signal) => write!(out, "signal {signal} ended the helper process"),
            Self::Exit(code) => write!(out, "the helper process ended with code {code}"),
            Self::Deadline(seconds) => write!(out, "no answer within {seconds} s"),
            Self::Answer => out.write_str("refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_number_decides_the_kind() {
        for (errno, kind) in [
            (16, RefusalKind::Transient),  // EBUSY
            (12, RefusalKind::Transient),  // ENOMEM
            (24, RefusalKind::Transient),  // EMFILE
            (13, RefusalKind::Permission), // EACCES
            (22, RefusalKind::Structural), // EINVAL
            (14, RefusalKind::Structural), // EFAULT
            (19, RefusalKind::Structural), // ENODEV: PRIME import refused
            (0, RefusalKind::Structural),
        ] {
            assert_eq!(RefusalKind::of_errno(errno), kind, "{errno}");
        }
    }

    #[test]
    fn refusal_with_another_message_is_the_same_refusal() {
        let one = Refusal::of_errno("card0", "ADDFB2", 22, "inode 3: EINVAL");
        let two = Refusal::of_errno("card0", "ADDFB2", 22, "inode 4: EINVAL");
        assert!(one.repeats(&two));
        assert!(!one.repeats(&Refusal::of_errno("card0", "ADDFB2", 12, "")));
        assert!(!one.repeats(&Refusal::of_errno("card0", "PRIME", 22, "")));
    }
}
