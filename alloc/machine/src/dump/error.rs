//! The error of reading a dump, which is a file with the output of a tool such as drm_info or v4l2-ctl.

use thiserror::Error;

use covalent_solver::text::printable_within;

use super::DumpKind;
use crate::MachineError;

/// The longest piece of a dump that an error quotes, in bytes.
const QUOTED_BYTES: usize = 120;

/// Why a dump cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The file is not the output of a tool that this crate can import.
    #[error(
        "{file}: the file is not the output of a supported tool; supported are: {}",
        DumpKind::list()
    )]
    UnknownKind {
        /// The name of the file.
        file: String,
    },
    /// The file is longer than [`DumpKind::MAXIMUM_BYTES`].
    #[error(
        "{file}: the file has {bytes} bytes, and at most {} can be read",
        DumpKind::MAXIMUM_BYTES
    )]
    TooLong {
        /// The name of the file.
        file: String,
        /// The length of the file in bytes.
        bytes: usize,
    },
    /// A line of the dump is not in the form that the tool writes.
    #[error("{file}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The name of the file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What the tool writes on this line.
        expected: String,
        /// What the file has on this line.
        found: String,
    },
    /// The machine that the dumps describe together exceeds a limit of recordings, for example with too many planes.
    #[error("the dumps do not describe a valid machine: {0}")]
    Machine(#[from] MachineError),
}

/// The error of parsing a dump: the number of the line, the expected text and the text found. The caller adds the file's name.
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
            format!("\"{}\"", printable_within(found, QUOTED_BYTES))
        };
        Self {
            line,
            expected: expected.into(),
            found,
        }
    }

    /// Adds the number of lines that precede the parsed piece of text to the line of the error.
    pub(super) fn add_lines(mut self, lines: usize) -> Self {
        self.line = self.line.saturating_add(lines);
        self
    }

    /// Makes an error from an error of the JSON parser, with its line and reason. `before` is the number of lines before the
    /// JSON.
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
