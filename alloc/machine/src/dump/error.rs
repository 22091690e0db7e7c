//! The error of reading a dump.

use thiserror::Error;

use covalent_solver::text::printable_within;

use super::DumpKind;
use crate::MachineError;

/// The longest piece of a dump that an error quotes, in bytes.
const QUOTED: usize = 120;

/// Why a dump cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The file is of no known kind.
    #[error(
        "{file}: it is the output of no tool that is known here; what is read: {}",
        DumpKind::list()
    )]
    UnknownKind {
        /// The name of the file.
        file: String,
    },
    /// The file is longer than [`DumpKind::MAXIMUM_BYTES`].
    #[error(
        "{file}: it has {bytes} bytes, and at most {} are read",
        DumpKind::MAXIMUM_BYTES
    )]
    TooLong {
        /// The name of the file.
        file: String,
        /// The length of the file.
        bytes: usize,
    },
    /// A line of the dump is not as the tool writes it.
    #[error("{file}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The name of the file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What the tool writes there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The dumps together are no machine that can be recorded, such as one with too many planes.
    #[error("the dumps give no machine: {0}")]
    Machine(#[from] MachineError),
}

/// A place in a dump and what was expected there. The caller adds the name of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineError {
    pub(super) line: usize,
    pub(super) expected: String,
    pub(super) found: String,
}

impl LineError {
    pub(super) fn new(line: usize, expected: impl Into<String>, found: &str) -> Self {
        let found = if found.is_empty() {
            "the end of the file".to_owned()
        } else {
            format!("\"{}\"", printable_within(found, QUOTED))
        };
        Self {
            line,
            expected: expected.into(),
            found,
        }
    }

    /// Moves the error down by a number of lines.
    pub(super) fn below(mut self, lines: usize) -> Self {
        self.line = self.line.saturating_add(lines);
        self
    }

    /// Takes line and reason from an error of JSON. `before` is the number of lines before the JSON.
    pub(super) fn of_json(before: usize, expected: &str, error: &serde_json::Error) -> Self {
        Self {
            line: before.saturating_add(error.line()).max(1),
            expected: expected.to_owned(),
            found: printable_within(&error.to_string(), 200),
        }
    }

    pub(super) fn in_file(self, file: &str) -> DumpError {
        DumpError::Line {
            file: file.to_owned(),
            line: self.line,
            expected: self.expected,
            found: self.found,
        }
    }
}
