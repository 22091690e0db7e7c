//! The data of a matrix, which `--json` prints and `--from` reads.

use std::collections::BTreeSet;
use std::io::{self, Write};

use covalent_alloc::constraint::{Participant, Role, SourceId, SourceKind};
use covalent_alloc::model::Extent;
use covalent_alloc::text::printable_json;
use covalent_alloc::trial::{Environment, Interface};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cell::Cell;
use super::compare::Comparison;
use super::devices::DeclaredDevices;
use crate::input::{self, JsonError};

/// The version of the data. A new field does not change it.
pub(super) const VERSION: u32 = 1;

/// The declared devices and the measured cells of a matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordedMatrix {
    pub(super) version: u32,
    /// Whether a signal interrupted the measurement, so that cells are missing.
    pub(super) interrupted: bool,
    pub(super) environment: Environment,
    pub(super) sizes: Vec<Extent>,
    pub(super) sources: Vec<MatrixSource>,
    pub(super) participants: Vec<MatrixParticipant>,
    /// Devices that could not be queried, with the reason.
    pub(super) unavailable: Vec<String>,
    pub(super) cells: Vec<Cell>,
    pub(super) summary: Summary,
    pub(super) learnt: Vec<String>,
    pub(super) helper_deaths: u32,
}

/// A source, which is a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MatrixSource {
    pub(super) id: SourceId,
    pub(super) name: String,
    /// Whether the source's driver may allocate tiled layouts on hardware that has them.
    #[serde(rename = "arranges")]
    pub(super) may_allocate_tiled: bool,
}

/// A participant, which is a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MatrixParticipant {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) interface: Interface,
}

impl MatrixParticipant {
    /// Returns whether the participant's import interface has format modifiers.
    pub(super) fn supports_modifiers(&self) -> bool {
        self.role == Role::Display || self.interface != Interface::Kernel
    }
}

/// The number of cells with each result of the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) cells: usize,
    pub(super) agree: usize,
    #[serde(rename = "lucky")]
    pub(super) listed: usize,
    pub(super) untested: usize,
    pub(super) mismatches: usize,
    pub(super) unlisted: usize,
}

impl Summary {
    pub(super) fn of(cells: &[Cell]) -> Self {
        let count = |comparison: Comparison| {
            cells
                .iter()
                .filter(|cell| cell.comparison == comparison)
                .count()
        };
        Self {
            cells: cells.len(),
            agree: count(Comparison::Agrees),
            listed: count(Comparison::Listed),
            untested: count(Comparison::Untested),
            mismatches: count(Comparison::Mismatch),
            unlisted: count(Comparison::Unlisted),
        }
    }
}

/// The reason why a recorded matrix cannot be read.
#[derive(Debug, Error)]
pub(super) enum RecordError {
    /// The text is not JSON, or it lacks a required field.
    #[error("the file is not a matrix that `covalent matrix --json` printed: {0}")]
    Damaged(#[from] JsonError),
    /// The recording has another version.
    #[error(
        "the matrix has version {0}, and this program reads version {VERSION}: use the `covalent` that wrote the file"
    )]
    Version(u32),
    /// A list has more entries than a table can show.
    #[error("the matrix has {count} entries in {field}, and at most {max} are read")]
    TooMany {
        field: String,
        count: usize,
        max: usize,
    },
}

impl RecordedMatrix {
    /// The longest file that is read, in bytes; a machine with many devices has a few hundred KiB.
    pub(super) const MAXIMUM_BYTES: usize = 16 << 20;
    /// The maximum number of sizes, sources and participants. The table has a row for each source, with an entry for each
    /// participant.
    const MAXIMUM_NAMES: usize = 256;
    /// The maximum number of cells, and the maximum number of trial results, of a recorded matrix.
    const MAXIMUM_CELLS: usize = 1 << 16;
    /// The maximum number of reasons in one cell.
    const MAXIMUM_REASONS: usize = 64;

    /// Returns an empty matrix.
    pub(super) fn new(environment: Environment, sizes: &[Extent]) -> Self {
        Self {
            version: VERSION,
            interrupted: false,
            environment,
            sizes: sizes.to_vec(),
            sources: Vec::new(),
            participants: Vec::new(),
            unavailable: Vec::new(),
            cells: Vec::new(),
            summary: Summary::default(),
            learnt: Vec::new(),
            helper_deaths: 0,
        }
    }

    /// Adds the declared sources and participants that the matrix does not contain yet. The devices are queried once for each
    /// size.
    pub(super) fn add(&mut self, declared: &DeclaredDevices) {
        for source in &declared.sources {
            let recorded = MatrixSource {
                id: source.id.clone(),
                name: source.name.clone(),
                may_allocate_tiled: SourceKind::of(&source.id).is_of_driver(),
            };
            if self.sources.iter().all(|known| known.id != recorded.id) {
                self.sources.push(recorded);
            }
        }
        for participant in &declared.participants {
            if self
                .participants
                .iter()
                .all(|known| known.name != participant.name)
            {
                self.participants.push(recorded(participant));
            }
        }
        for words in &declared.unavailable {
            if !self.unavailable.contains(words) {
                self.unavailable.push(words.clone());
            }
        }
    }

    /// Reads what [`RecordedMatrix::write`] wrote. Parsing needs at most 48 bytes of memory for each byte of the text.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(super) fn read(text: impl AsRef<[u8]>) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let text = text.as_ref();
        // The version is read first, because a newer version may have other fields.
        let Versioned { version } = input::json(text)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let recorded: Self = input::json(text)?;
        recorded.check()?;
        Ok(recorded)
    }

    /// Returns an error if a list of the record has too many entries.
    fn check(&self) -> Result<(), RecordError> {
        let (names, cells) = (Self::MAXIMUM_NAMES, Self::MAXIMUM_CELLS);
        let lists = [
            ("sizes", self.sizes.len(), names),
            ("sources", self.sources.len(), names),
            ("participants", self.participants.len(), names),
            ("unavailable", self.unavailable.len(), names),
            ("cells", self.cells.len(), cells),
            ("learnt", self.learnt.len(), cells),
        ];
        let reasons = self.cells.iter().map(|cell| cell.reasons.len());
        let max = Self::MAXIMUM_REASONS;
        let reasons = reasons.enumerate().find(|(_, count)| *count > max);
        let reasons = reasons.map(|(index, count)| (format!("cells[{index}].reasons"), count, max));
        let too_many = lists
            .into_iter()
            .find(|(_, count, max)| count > max)
            .map(|(field, count, max)| (field.to_owned(), count, max))
            .or(reasons);
        match too_many {
            Some((field, count, max)) => Err(RecordError::TooMany { field, count, max }),
            None => Ok(()),
        }
    }

    /// Writes the matrix as JSON with one cell in each line, so that two files can be compared line by line.
    ///
    /// # Errors
    /// Those of the writer.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        const CELLS: &str = "\"cells\": []";
        let mut frame = self.clone();
        frame.cells = Vec::new();
        let frame = serde_json::to_string_pretty(&frame)?;
        // Quotation marks within a JSON string are escaped, so this text matches only the field itself.
        let (before, after) = frame.split_once(CELLS).unwrap_or((&frame, ""));
        write!(out, "{}\"cells\": [", printable_json(before))?;
        for (number, cell) in self.cells.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let cell = printable_json(&serde_json::to_string(cell)?);
            write!(out, "{comma}\n    {cell}")?;
        }
        let end = if self.cells.is_empty() { "" } else { "\n  " };
        writeln!(out, "{end}]{}", printable_json(after))
    }

    /// Returns the names of the formats that were tried, sorted.
    pub(super) fn formats(&self) -> Vec<String> {
        let names: BTreeSet<String> = self
            .cells
            .iter()
            .map(|cell| cell.format.fourcc.to_string())
            .collect();
        names.into_iter().collect()
    }
}

/// Returns the entry of a participant in the record.
fn recorded(participant: &Participant) -> MatrixParticipant {
    MatrixParticipant {
        name: participant.name.clone(),
        role: participant.role,
        interface: Interface::of(participant),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::sys::measured;

    #[test]
    fn matrix_that_is_written_is_read_back() {
        let recorded = fixture::machine();
        let mut text = Vec::new();
        recorded.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let again = RecordedMatrix::read(&text).unwrap();
        assert_eq!(again.cells, recorded.cells);
        assert_eq!(again.sources, recorded.sources);
        assert_eq!(again.participants, recorded.participants);
        assert_eq!(again.summary, recorded.summary);
        let lines = text
            .lines()
            .filter(|line| line.starts_with("    {\"source\""))
            .count();
        assert_eq!(lines, recorded.cells.len());
    }

    #[test]
    fn matrix_without_cells_is_written_as_valid_json() {
        let mut recorded = fixture::machine();
        recorded.cells.clear();
        let mut text = Vec::new();
        recorded.write(&mut text).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn matrix_of_any_length_takes_bounded_memory_and_has_limited_lists() {
        let empty = {
            let mut recorded = fixture::machine();
            recorded.cells.clear();
            serde_json::to_value(&recorded).unwrap()
        };
        let cell = serde_json::to_value(&fixture::machine().cells[0]).unwrap();
        let source = empty["sources"][0].clone();
        let participant = empty["participants"][0].clone();
        let mut cells = cell.clone();
        cells["reasons"] = vec![""; 65].into();
        for (field, item, max) in [
            ("cells", cell, "65536"),
            ("cells", cells, "cells[0].reasons, and at most 64"),
            ("sources", source, "256"),
            ("participants", participant, "256"),
            ("sizes", "1x1".into(), "256"),
            ("unavailable", "".into(), "256"),
            ("learnt", "".into(), "65536"),
        ] {
            let mut allocations = Vec::new();
            for bytes in [1 << 18, 1 << 20] {
                let item = item.to_string();
                let items = vec![item.as_str(); bytes / (item.len() + 1)].join(",");
                let mut value = empty.clone();
                value[field] = vec!["MARK"].into();
                let text = value.to_string().replace("\"MARK\"", &items);
                let (read, usage) = measured(|| RecordedMatrix::read(&text));
                let allowed = 48 * text.len() + (16 << 10);
                assert!(
                    usage.peak_bytes <= allowed,
                    "{field}: {} of {allowed}",
                    usage.peak_bytes
                );
                allocations.push(usage.allocations);
                let error = read.err().map(|error| error.to_string());
                let is_many = bytes / (item.len() + 1) > 65536 || max != "65536";
                assert_eq!(error.is_some(), is_many, "{field}: {error:?}");
                assert!(error.is_none_or(|error| error.contains(max)), "{field}");
            }
            assert!(
                allocations[1] <= 4 * allocations[0] + 64,
                "{field}: {allocations:?}"
            );
        }
    }

    #[test]
    fn matrix_that_is_damaged_is_refused_with_line_column_and_field() {
        let mut text = Vec::new();
        fixture::machine().write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let damaged = text.replacen("\"is_listed\":true", "\"is_listed\":7", 1);
        assert_ne!(damaged, text);
        let error = RecordedMatrix::read(&damaged).unwrap_err().to_string();
        for words in [
            "covalent matrix --json",
            "column",
            "in cells[",
            "].is_listed",
        ] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn matrix_of_another_version_or_without_one_is_refused() {
        for (text, words) in [
            ("{\"version\": 2, \"cells\": 3}", "version 2"),
            ("{}", "version"),
            ("", "not a matrix"),
            ("{\"version\": 1}", "missing field"),
            ("{\"version\": 1, \"cells\": [{}]}", "not a matrix"),
        ] {
            let error = RecordedMatrix::read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
