//! How a trial ended, and what kind of refusal it was.

use std::fmt;

use serde::{Deserialize, Serialize};

use covalent_solver::text::{Printable, printable_within};

/// How many characters a few words have at the most; the messages of drivers have no end.
const SHORT: usize = 400;

/// How a trial of one buffer on one participant ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It took the buffer.
    Proved,
    /// It did not take the buffer.
    Refused(Refusal),
    /// It cannot be tried now, for this reason: another process is DRM master, or the queue is busy.
    Untestable(String),
}

impl Outcome {
    /// Returns the refusal, where it is one.
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
            Self::Proved => out.write_str("proved"),
            Self::Refused(refusal) => write!(out, "refused ({}): {refusal}", refusal.kind),
            Self::Untestable(why) => write!(out, "untested: {}", Printable(why)),
        }
    }
}

/// A refusal: who did not do what, and what came back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What it says about the next try.
    pub kind: RefusalKind,
    /// The device or program that refused.
    pub device: String,
    /// What was asked, as the kernel or the protocol names it.
    pub operation: String,
    /// What came back.
    pub cause: Cause,
    /// The whole message, for a person.
    pub words: String,
}

impl Refusal {
    /// A refusal by the kernel; the number says of which kind it is.
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

    /// A refusal that no error number says, such as another format than was asked for: structural.
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

    /// Returns what was asked and what came back, in a few words that can be printed.
    pub fn in_short(&self) -> String {
        match self.cause {
            Cause::Answer => printable_within(self.words.trim_end_matches('.'), SHORT),
            cause => format!("{}: {cause}", printable_within(&self.operation, SHORT)),
        }
    }

    /// Returns whether both are the same refusal, whatever numbers their messages hold.
    pub fn repeats(&self, other: &Self) -> bool {
        self.kind == other.kind && self.operation == other.operation && self.cause == other.cause
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", Printable(&self.words))
    }
}

/// What a refusal says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// Nothing: another moment may be better.
    Transient,
    /// The same until somebody grants the right.
    Permission,
    /// The same as long as the devices and their drivers are.
    Structural,
}

impl RefusalKind {
    /// Tells the kinds apart by Linux's error number.
    pub fn of_errno(errno: i32) -> Self {
        // Linux's numbers, the same on every architecture that has these drivers: the pure layers know no kernel crate.
        // EPERM, EACCES.
        const PERMISSION: [i32; 2] = [1, 13];
        // EINTR, EAGAIN, ENOMEM, EBUSY, ENFILE, EMFILE, ENOSPC, ETIME, ETIMEDOUT.
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

/// What came back instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// An error number of Linux.
    Errno(i32),
    /// The helper process that tried it was ended by this signal.
    Signal(i32),
    /// The helper process that tried it ended by itself with this code.
    Exit(i32),
    /// The helper process that tried it gave no answer within this many seconds.
    Deadline(u64),
    /// An answer that is no success and has no number.
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
    fn kind_of_an_error_number_is_known() {
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
    fn refusal_with_other_numbers_in_its_message_repeats() {
        let one = Refusal::of_errno("card0", "ADDFB2", 22, "inode 3: EINVAL");
        let two = Refusal::of_errno("card0", "ADDFB2", 22, "inode 4: EINVAL");
        assert!(one.repeats(&two));
        assert!(!one.repeats(&Refusal::of_errno("card0", "ADDFB2", 12, "")));
        assert!(!one.repeats(&Refusal::of_errno("card0", "PRIME", 22, "")));
    }
}
