//! A whole matrix as data: what `--json` prints, and what `--from` reads and draws on another machine.

use std::collections::BTreeSet;
use std::io::{self, Write};

use covalent_alloc::constraint::{Participant, Role, Source, SourceId, SourceKind};
use covalent_alloc::model::Extent;
use covalent_alloc::text::printable_json;
use covalent_alloc::trial::{Environment, Interface};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cell::Cell;
use super::declare::Declared;
use super::judge::Judgement;
use crate::input::{self, JsonError};

/// The version of what is written. Fields that are added leave it as it is.
pub(super) const VERSION: u32 = 1;

/// Everything that was declared and measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) version: u32,
    /// Whether it was cut short: the cells are those measured until then.
    pub(super) interrupted: bool,
    pub(super) environment: Environment,
    pub(super) sizes: Vec<Extent>,
    pub(super) sources: Vec<RecordedSource>,
    pub(super) participants: Vec<RecordedParticipant>,
    /// What is there and could not be asked, and why.
    pub(super) unavailable: Vec<String>,
    pub(super) cells: Vec<Cell>,
    pub(super) summary: Summary,
    pub(super) learnt: Vec<String>,
    pub(super) helper_deaths: u32,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedSource {
    pub(super) id: SourceId,
    pub(super) name: String,
    /// Whether its driver arranges pixels otherwise than in rows where its hardware can.
    pub(super) arranges: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedParticipant {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) interface: Interface,
}

impl RecordedParticipant {
    /// Returns whether it can be told of arrangements other than rows.
    pub(super) fn speaks_modifiers(&self) -> bool {
        self.role == Role::Display || self.interface != Interface::Kernel
    }
}

/// How many cells are judged how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) cells: usize,
    pub(super) agree: usize,
    pub(super) lucky: usize,
    pub(super) untested: usize,
    pub(super) mismatches: usize,
    pub(super) unlisted: usize,
}

impl Summary {
    pub(super) fn of(cells: &[Cell]) -> Self {
        let count = |judgement: Judgement| {
            cells
                .iter()
                .filter(|cell| cell.judgement == judgement)
                .count()
        };
        Self {
            cells: cells.len(),
            agree: count(Judgement::Agrees),
            lucky: count(Judgement::Listed),
            untested: count(Judgement::Untested),
            mismatches: count(Judgement::Mismatch),
            unlisted: count(Judgement::Unlisted),
        }
    }
}

/// Why a recording is not read.
#[derive(Debug, Error)]
pub(super) enum RecordError {
    /// It is no JSON, or not of this shape.
    #[error("it is no matrix as `covalent matrix --json` prints it: {0}")]
    Damaged(#[from] JsonError),
    /// It has another version.
    #[error(
        "it is of version {0}, and this program reads version {VERSION}: take the `covalent` that wrote it"
    )]
    Version(u32),
    /// It has more of something than a table can show.
    #[error("it has {count} entries in {field}, and at most {most} are read")]
    TooMany {
        field: String,
        count: usize,
        most: usize,
    },
}

impl Recorded {
    /// The longest recording that is read; that of a machine with everything has some hundred KiB.
    pub(super) const MAXIMUM_BYTES: usize = 16 << 20;
    /// The most sizes, sources and participants: each source is a row with a place for each participant.
    const MAXIMUM_NAMES: usize = 256;
    /// The most cells, and notes of one kind.
    const MAXIMUM_CELLS: usize = 1 << 16;
    /// The most reasons of one cell.
    const MAXIMUM_REASONS: usize = 64;

    /// Notes who was declared; nothing is measured yet.
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

    /// Adds everybody who is not there yet: the same devices declare themselves for each size.
    pub(super) fn add(&mut self, declared: &Declared) {
        for source in &declared.sources {
            let recorded = RecordedSource {
                id: source.id.clone(),
                name: source.name.clone(),
                arranges: arranges(source),
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

    /// Reads what [`Recorded::write`] has written. It takes at most 48 bytes for each byte of the text.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(super) fn read(text: impl AsRef<[u8]>) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let text = text.as_ref();
        // First the version: a newer one may have other fields.
        let Versioned { version } = input::json(text)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let recorded: Self = input::json(text)?;
        recorded.check()?;
        Ok(recorded)
    }

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
        let most = Self::MAXIMUM_REASONS;
        let reasons = reasons.enumerate().find(|(_, count)| *count > most);
        let reasons =
            reasons.map(|(place, count)| (format!("cells[{place}].reasons"), count, most));
        let too_many = lists
            .into_iter()
            .find(|(_, count, most)| count > most)
            .map(|(field, count, most)| (field.to_owned(), count, most))
            .or(reasons);
        match too_many {
            Some((field, count, most)) => Err(RecordError::TooMany { field, count, most }),
            None => Ok(()),
        }
    }

    /// Writes it as JSON, each cell on a line of its own so that two recordings can be compared line by line.
    ///
    /// # Errors
    /// Those of the writer.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        const CELLS: &str = "\"cells\": []";
        let mut frame = self.clone();
        frame.cells = Vec::new();
        let frame = serde_json::to_string_pretty(&frame)?;
        // A name inside of a JSON text has its quotes escaped: this is the field itself.
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

    /// Returns the names of the formats that were tried, in order.
    pub(super) fn formats(&self) -> Vec<String> {
        let names: BTreeSet<String> = self
            .cells
            .iter()
            .map(|cell| cell.format.fourcc.to_string())
            .collect();
        names.into_iter().collect()
    }
}

fn arranges(source: &Source) -> bool {
    SourceKind::of(&source.id).is_of_driver()
}

fn recorded(participant: &Participant) -> RecordedParticipant {
    RecordedParticipant {
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
    fn recording_that_is_written_is_read_back() {
        let recorded = fixture::machine();
        let mut text = Vec::new();
        recorded.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let again = Recorded::read(&text).unwrap();
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
    fn recording_without_a_cell_is_json_too() {
        let mut recorded = fixture::machine();
        recorded.cells.clear();
        let mut text = Vec::new();
        recorded.write(&mut text).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn recording_takes_a_multiple_of_its_bytes_and_has_no_more_than_a_table_shows() {
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
        for (field, item, most) in [
            ("cells", cell, "65536"),
            ("cells", cells, "cells[0].reasons, and at most 64"),
            ("sources", source, "256"),
            ("participants", participant, "256"),
            ("sizes", "1x1".into(), "256"),
            ("unavailable", "".into(), "256"),
            ("learnt", "".into(), "65536"),
        ] {
            let mut asked = Vec::new();
            for bytes in [1 << 18, 1 << 20] {
                let item = item.to_string();
                let items = vec![item.as_str(); bytes / (item.len() + 1)].join(",");
                let mut value = empty.clone();
                value[field] = vec!["MARK"].into();
                let text = value.to_string().replace("\"MARK\"", &items);
                let (read, usage) = measured(|| Recorded::read(&text));
                let allowed = 48 * text.len() + (16 << 10);
                assert!(
                    usage.peak_bytes <= allowed,
                    "{field}: {} of {allowed}",
                    usage.peak_bytes
                );
                asked.push(usage.allocations);
                let told = read.err().map(|error| error.to_string());
                let is_many = bytes / (item.len() + 1) > 65536 || most != "65536";
                assert_eq!(told.is_some(), is_many, "{field}: {told:?}");
                assert!(told.is_none_or(|told| told.contains(most)), "{field}");
            }
            assert!(asked[1] <= 4 * asked[0] + 64, "{field}: {asked:?}");
        }
    }

    #[test]
    fn recording_that_is_damaged_is_told_with_line_column_and_field() {
        let mut text = Vec::new();
        fixture::machine().write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let damaged = text.replacen("\"is_listed\":true", "\"is_listed\":7", 1);
        assert_ne!(damaged, text);
        let error = Recorded::read(&damaged).unwrap_err().to_string();
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
    fn recording_of_another_version_or_none_is_refused_with_words() {
        for (text, words) in [
            ("{\"version\": 2, \"cells\": 3}", "version 2"),
            ("{}", "version"),
            ("", "no matrix"),
            ("{\"version\": 1}", "missing field"),
            ("{\"version\": 1, \"cells\": [{}]}", "no matrix"),
        ] {
            let error = Recorded::read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
