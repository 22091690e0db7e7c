//! The problems of a configuration file, each with its line and column.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use covalent_alloc::files::FileError;
use covalent_alloc::text::{printable_path, printable_within};
use toml::de::{DeTable, DeValue};

/// The maximum number of problems that are kept. Later ones are counted.
const KEPT_MAX: usize = 20;

/// The maximum number of characters of the file that a message repeats.
const QUOTED_MAX: usize = 60;

/// The TOML parser's message for a key that a table has twice.
const DUPLICATE: &str = "duplicate key";

/// The error of a configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of the file is not valid.
    #[error(transparent)]
    Content(Problems),
}

/// All problems of a file, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    kept: Vec<Problem>,
    /// The number of further problems.
    others: usize,
}

/// A problem at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    /// The line and the column in characters, both counted from 1.
    place: (usize, usize),
    message: String,
}

impl Problems {
    /// Creates an empty list for a file.
    pub(super) fn of_file(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// Returns whether there is no problem.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Sorts the problems by their places.
    pub(super) fn sort(&mut self) {
        self.kept.sort();
    }

    /// Returns one line for each problem: file, line, column and message.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let path = printable_path(&self.path);
        let others = (self.others > 0).then(|| format!("{path}: {} more problems", self.others));
        let kept = self.kept.iter().map(move |problem| {
            let (line, column) = problem.place;
            format!("{path}:{line}:{column}: {}", problem.message)
        });
        kept.chain(others)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("the configuration is not valid")?;
        for line in self.lines() {
            to.write_char('\n')?;
            to.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The text of a file and its problems so far.
#[derive(Debug)]
pub(super) struct Source<'text> {
    text: &'text str,
    pub(super) problems: Problems,
}

impl<'text> Source<'text> {
    /// Starts to read a text. Messages name the path.
    pub(super) fn new(text: &'text str, path: &Path) -> Self {
        Self {
            text,
            problems: Problems::of_file(path),
        }
    }

    /// Adds a problem at the start of a range of bytes.
    pub(super) fn problem(&mut self, at: &Range<usize>, message: String) {
        if self.is_full() {
            self.problems.others = self.problems.others.saturating_add(1);
            return;
        }
        let place = self.place(at);
        self.problems.kept.push(Problem { place, message });
    }

    /// Returns whether further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.problems.kept.len() >= KEPT_MAX
    }

    /// Returns line and column of the start of a range of bytes.
    pub(super) fn place(&self, at: &Range<usize>) -> (usize, usize) {
        // A range can end in the middle of a character where the file is not valid TOML.
        let start = (0..=at.start.min(self.text.len()))
            .rev()
            .find(|index| self.text.is_char_boundary(*index));
        let before = self.text.get(..start.unwrap_or(0)).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = before.chars().rev().take_while(|letter| *letter != '\n');
        (line.saturating_add(1), column.count().saturating_add(1))
    }

    /// Returns the part of the text for a message: without control characters, and shortened.
    pub(super) fn quote(&self, at: &Range<usize>) -> String {
        printable_within(self.text.get(at.clone()).unwrap_or("?"), QUOTED_MAX)
    }

    /// Adds the problems that the TOML parser has found. `recovered` is what it could read nevertheless.
    pub(super) fn toml_errors(&mut self, errors: &[toml::de::Error], recovered: &DeTable<'_>) {
        for error in errors {
            // The search for the first of two equal keys takes time, of which a file with many errors must not take much.
            if self.is_full() {
                self.problem(&(0..0), String::new());
            } else {
                self.toml_error(error, recovered);
            }
        }
    }

    fn toml_error(&mut self, error: &toml::de::Error, recovered: &DeTable<'_>) {
        let at = error.span().unwrap_or(0..0);
        let found = printable_within(error.message(), QUOTED_MAX);
        let (line, _) = self.place(&at);
        let first = (error.message() == DUPLICATE)
            .then(|| self.text.get(at.clone()))
            .flatten()
            .and_then(|key| last_before(recovered, key, at.start));
        let message = match first {
            Some(first) => {
                let (earlier, _) = self.place(&(first..first));
                format!(
                    "line {line} sets {} as line {earlier} does: remove one of the two",
                    self.quote(&at)
                )
            }
            None if error.message() == DUPLICATE => {
                format!(
                    "line {line} has {} for the second time: merge the two",
                    self.quote(&at)
                )
            }
            None => format!("this is not valid TOML: {found}"),
        };
        self.problem(&at, message);
    }
}

/// Returns the place of the last key before `end` that is written as `key`. `parse_recoverable` keeps the first of two equal
/// keys.
fn last_before(table: &DeTable<'_>, key: &str, end: usize) -> Option<usize> {
    let places = table.iter().filter_map(|(name, value)| {
        let own = (name.get_ref() == unquoted(key)).then(|| name.span().start);
        let inner = match value.get_ref() {
            DeValue::Table(inner) => last_before(inner, key, end),
            DeValue::Array(array) => {
                let tables = array.iter().filter_map(|entry| entry.get_ref().as_table());
                tables
                    .filter_map(|inner| last_before(inner, key, end))
                    .max()
            }
            _ => None,
        };
        own.into_iter()
            .chain(inner)
            .filter(|place| *place < end)
            .max()
    });
    places.max()
}

/// Returns a key without its quotes.
fn unquoted(key: &str) -> &str {
    let quoted = |quote: char| key.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\'')).unwrap_or(key)
}
