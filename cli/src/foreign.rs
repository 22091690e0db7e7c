//! Recognises a file that a verb cannot read, such as the output of another tool, and names the command that reads this file.

use std::path::Path;

use anyhow::{Error, Result, anyhow};
use covalent_alloc::machine::dump::DumpKind;
use covalent_alloc::text::{printable_path, shell_word};
use serde::Deserialize;

use crate::report_part;

/// The kinds of JSON files that Covalent itself writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CovalentFileKind {
    /// A machine, which `covalent probe --record` and `covalent import` write.
    Machine,
    /// A request, which `covalent plan --record` writes.
    Request,
    /// The data of `covalent doctor --record`.
    Snapshot,
    /// What `covalent matrix --json` prints.
    Matrix,
}

/// The fields by which [`CovalentFileKind::detect`] distinguishes the kinds. All other fields of a file are skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    format: Option<String>,
    cells: Option<serde::de::IgnoredAny>,
    nodes: Option<serde::de::IgnoredAny>,
    participants: Option<serde::de::IgnoredAny>,
    extent: Option<serde::de::IgnoredAny>,
}

impl CovalentFileKind {
    /// Returns the kind of a JSON file of Covalent, by its fields; `None` for any other text.
    fn detect(bytes: &[u8]) -> Option<Self> {
        let fields: Fields = serde_json::from_slice(bytes).ok()?;
        match fields.format.as_deref() {
            Some("covalent-machine") => Some(Self::Machine),
            Some(_) => None,
            None if fields.cells.is_some() => Some(Self::Matrix),
            None if fields.participants.is_some() && fields.extent.is_some() => Some(Self::Request),
            None if fields.nodes.is_some() => Some(Self::Snapshot),
            None => None,
        }
    }

    /// Returns the name of the kind for messages.
    fn label(self) -> &'static str {
        match self {
            Self::Machine => "a recorded machine",
            Self::Request => "a recorded request",
            Self::Snapshot => "a recording of `covalent doctor`",
            Self::Matrix => "a matrix",
        }
    }

    /// Returns the name of the field in a `covalent report` file that contains a file of this kind.
    fn report_field(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Request => "request",
            Self::Snapshot => "doctor",
            Self::Matrix => "matrix",
        }
    }

    /// Returns the part of `bytes` that is a file of this kind: a field if `bytes` are a `covalent report` file, otherwise all of
    /// `bytes`.
    pub(crate) fn within(self, bytes: &[u8]) -> &[u8] {
        report_part::part(bytes, self.report_field()).unwrap_or(bytes)
    }

    /// Returns the command line that reads a file of this kind.
    fn command_line(self, file: &str) -> String {
        match self {
            Self::Machine => format!("covalent plan --machine {file} --display card0"),
            Self::Request => format!("covalent plan --from {file}"),
            Self::Snapshot => format!("covalent doctor --from {file}"),
            Self::Matrix => format!("covalent matrix --from {file}"),
        }
    }
}

/// Returns the result `read` of reading a file as `expected`. If reading failed and the file is the output of another tool or
/// belongs to another verb, the error names its kind and the command that reads it.
///
/// # Errors
/// The error of reading, with the file's name.
pub(crate) fn read_as<T, E: Into<Error>>(
    expected: CovalentFileKind,
    path: &Path,
    bytes: &[u8],
    read: Result<T, E>,
) -> Result<T> {
    read.map_err(|error| {
        let name = printable_path(path);
        match describe(expected, path, bytes) {
            Some(words) => anyhow!("{name} is {words}"),
            None => error.into().context(name),
        }
    })
}

/// Describes a file that is not of the kind `expected`, and names the command that reads it. Returns `None` if the kind of the
/// file is `expected` or not known.
fn describe(expected: CovalentFileKind, path: &Path, bytes: &[u8]) -> Option<String> {
    let file = path.to_str().and_then(shell_word);
    let file = file.unwrap_or_else(|| "FILE".to_owned());
    let is_report = report_part::part(bytes, "format").is_some();
    if let Some(kind) = DumpKind::detect(bytes).filter(|_| !is_report) {
        return Some(format!(
            "{}: covalent import {file} --out machine.json",
            kind.label()
        ));
    }
    if report_part::part(bytes, "format").is_some() {
        return Some(format!(
            "a report of `covalent report`, which has no field `{}`",
            expected.report_field()
        ));
    }
    let own = CovalentFileKind::detect(bytes).filter(|own| *own != expected)?;
    Some(format!("{}: {}", own.label(), own.command_line(&file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_another_kind_is_named_with_the_line_that_reads_it() {
        for (bytes, expected) in [
            (
                "{\"/dev/dri/card0\": {\"driver\": {\"name\": \"x\"}}}",
                Some("drm_info's JSON: covalent import 'a b' --out machine.json"),
            ),
            (
                "Driver Info:\n\tDriver name : x\n",
                Some("v4l2-ctl's text: covalent import 'a b' --out machine.json"),
            ),
            (
                "{\"version\": 1, \"cells\": []}",
                Some("a matrix: covalent matrix --from 'a b'"),
            ),
            (
                "{\"version\": 1, \"nodes\": []}",
                Some("a recording of `covalent doctor`: covalent doctor --from 'a b'"),
            ),
            ("{\"format\": \"covalent-machine\"}", None),
            ("{}", None),
            ("nothing", None),
        ] {
            let words = describe(
                CovalentFileKind::Machine,
                Path::new("a b"),
                bytes.as_bytes(),
            );
            assert_eq!(words.as_deref(), expected, "{bytes}");
        }
    }
}
