//! Reads untrusted input: files up to a limit, lines in bounded memory, and JSON with errors that name the field.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read as _};
use std::path::Path;

use covalent_alloc::text::printable;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest string that is accepted in JSON, in bytes. Names and reasons have a few hundred bytes; a longer string would be
/// printed many times.
const LONGEST_TEXT: usize = 4096;

/// The deepest nesting of objects and lists at which an error still names the field. serde_json parses no deeper nesting.
const MAX_DEPTH: usize = 128;

/// Reads a whole file of at most `max_bytes` bytes.
///
/// # Errors
/// The file cannot be read, or is longer than `max_bytes` ([`ErrorKind::FileTooLarge`]).
pub(crate) fn read_file(path: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= max_bytes) {
        return Ok(bytes);
    }
    let words = format!("the file has more than {max_bytes} bytes, which is the limit");
    Err(io::Error::new(ErrorKind::FileTooLarge, words))
}

/// Calls `each` with every line of `reader`, and keeps only one line in memory. Lines longer than `max_bytes` bytes are skipped.
///
/// # Errors
/// The reader fails.
pub(crate) fn each_line(
    mut reader: impl BufRead,
    max_bytes: usize,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.strip_suffix(b"\n") {
            Some(line) => each(line),
            None if line.len() > max_bytes => {
                reader.skip_until(b'\n')?;
            }
            // The last line, without a line break.
            None => each(&line),
        }
    }
}

/// An error in JSON, with its line, column and field.
#[derive(Debug, Error)]
pub(crate) enum JsonError {
    /// The text is not JSON, or a value has another type than its field.
    #[error("{source}{}", InField(field_path))]
    Shape {
        /// The field, such as `nodes[3].kind`; empty for the whole document.
        field_path: String,
        /// The error, with line and column.
        source: serde_json::Error,
    },
    /// A string is longer than [`LONGEST_TEXT`].
    #[error(
        "a string of more than {LONGEST_TEXT} bytes at line {line} column {column}{}",
        InField(field_path)
    )]
    LongText {
        /// The field.
        field_path: String,
        /// The line in which it begins, counted from 1.
        line: usize,
        /// The byte of the line, counted from 1.
        column: usize,
    },
}

/// Writes `, in FIELD`, or nothing for an empty field.
struct InField<'a>(&'a str);

impl fmt::Display for InField<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(out, ", in {}", self.0)
    }
}

/// Parses JSON in which no string is longer than 4 KiB and objects and lists are nested at most 128 deep.
///
/// # Errors
/// [`JsonError`].
pub(crate) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let read = serde_json::from_slice(text).map_err(|source| JsonError::Shape {
        field_path: field_path(text, source.line(), source.column()),
        source,
    })?;
    // find_long_string expects valid JSON, so the text is parsed before this check.
    let Some(start) = find_long_string(text) else {
        return Ok(read);
    };
    let before = text.get(..start).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let begin = before.iter().rposition(|byte| *byte == b'\n');
    let column = start.saturating_sub(begin.map_or(0, |offset| offset.saturating_add(1)));
    let (line, column) = (line.saturating_add(1), column.saturating_add(1));
    Err(JsonError::LongText {
        // The column after the opening quote lies within the string, so [`field_path`] finds the string's field.
        field_path: field_path(text, line, column.saturating_add(2)),
        line,
        column,
    })
}

/// Returns the offset of the first string that is too long.
fn find_long_string(json: &[u8]) -> Option<usize> {
    let mut begin = None;
    let mut is_escaped = false;
    for (at, byte) in json.iter().enumerate() {
        match (begin, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(start), b'"') => {
                // The length is counted without the quotes.
                if at.saturating_sub(start) > LONGEST_TEXT.saturating_add(1) {
                    return Some(start);
                }
                begin = None;
            }
            (None, b'"') => begin = Some(at),
            _ => {}
        }
    }
    None
}

/// A step from an object or list to one of its values.
enum Step {
    /// An object's key, as the byte range of the string before the last colon.
    Key(usize, usize),
    Item(usize),
}

/// Returns the field that contains a line and column, such as `nodes[3].kind`. Columns are bytes; lines and columns count from 1.
fn field_path(json: &[u8], line: usize, column: usize) -> String {
    let lines = json
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1));
    let start = lines.fold(0, |sum: usize, line| sum.saturating_add(line.len()));
    let end = start.saturating_add(column.saturating_sub(1));
    let mut steps: Vec<Step> = Vec::new();
    // The number of open objects and lists that are nested deeper than MAX_DEPTH.
    let mut excess_depth = 0_usize;
    let mut text: Option<usize> = None;
    let mut last = (0, 0);
    let mut is_escaped = false;
    for (at, byte) in json.iter().enumerate().take(end) {
        match (text, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(start), b'"') => {
                last = (start, at);
                text = None;
            }
            (Some(_), _) => {}
            (None, b'"') => text = Some(at.saturating_add(1)),
            (None, b'{' | b'[') if steps.len() >= MAX_DEPTH => {
                excess_depth = excess_depth.saturating_add(1)
            }
            (None, b'{') => steps.push(Step::Key(0, 0)),
            (None, b'[') => steps.push(Step::Item(0)),
            (None, b'}' | b']') if excess_depth > 0 => {
                excess_depth = excess_depth.saturating_sub(1)
            }
            (None, b'}' | b']') => {
                steps.pop();
            }
            (None, b':' | b',') if excess_depth > 0 => {}
            (None, b':') => {
                if let Some(Step::Key(start, end)) = steps.last_mut() {
                    (*start, *end) = last;
                }
            }
            (None, b',') => match steps.last_mut() {
                Some(Step::Item(number)) => *number = number.saturating_add(1),
                Some(Step::Key(start, end)) => (*start, *end) = (0, 0),
                None => {}
            },
            _ => {}
        }
    }
    let mut words = String::new();
    for step in steps {
        match step {
            Step::Key(0, 0) => {}
            Step::Key(start, end) => {
                // A key may have any length, so only its first 64 bytes are shown.
                let end = end.min(start.saturating_add(64));
                let key = String::from_utf8_lossy(json.get(start..end).unwrap_or_default());
                if !words.is_empty() {
                    words.push('.');
                }
                words.push_str(&printable(&key));
            }
            Step::Item(number) => words.push_str(&format!("[{number}]")),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::sys::measured;

    #[derive(Debug, Deserialize)]
    struct Document {
        #[serde(default)]
        nodes: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        mode: u32,
        #[serde(default)]
        words: String,
    }

    fn error_of(text: &str) -> String {
        json::<Document>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn error_in_json_names_line_column_and_field() {
        for (text, line, expected) in [
            ("", "line 1 column 0", ""),
            ("{\"nodes\": 7}", "line 1 column 11", ", in nodes"),
            (
                "{\"nodes\": [{\"mode\": 1},\n {\"mode\": \"x\"}]}",
                "line 2 column 13",
                ", in nodes[1].mode",
            ),
            (
                "{\"nodes\": [{\"mode\": 1},\n {}]}",
                "missing field `mode` at line 2 column",
                ", in nodes[1]",
            ),
            ("{\"nodes\": [{\"mode\": 1},", "EOF", ", in nodes["),
            (
                "{\"a\": {\"\\u001b[2J\\\"\": [0, 1, x",
                "line 1 column",
                ", in a.\\u001b[2J\\\"[2]",
            ),
            (
                "{\"nodes\": [{\"mode\": 4294967296}]}",
                "expected u32 at line 1",
                ", in nodes[0].mode",
            ),
        ] {
            let error = error_of(text);
            assert!(error.contains(line), "{text}: {error}");
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains('\x1b'), "{error:?}");
        }
    }

    #[test]
    fn string_that_is_too_long_is_refused_with_its_field() {
        let with = |bytes: usize| {
            format!(
                "{{\"nodes\": [\n{{\"mode\": 1, \"words\": \"{}\"}}]}}",
                "a".repeat(bytes)
            )
        };
        let read: Document = json(with(LONGEST_TEXT - 1).as_bytes()).unwrap();
        assert_eq!(
            (read.nodes[0].mode, read.nodes[0].words.len()),
            (1, LONGEST_TEXT - 1)
        );
        let error = error_of(&with(LONGEST_TEXT + 1));
        assert!(
            error.contains("at line 2 column 22, in nodes[0].words"),
            "{error}"
        );
    }

    #[test]
    fn json_of_any_depth_takes_memory_in_proportion_to_its_length() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for length in [1 << 16, 1 << 20] {
                // The deep nesting is once in an unknown field (`other`) and once in a known field (`nodes`).
                for field in ["other", "nodes"] {
                    let deep = open.repeat(length / open.len());
                    let end = close.repeat(length / open.len());
                    let text = format!("{{\"{field}\": {deep}1{end}}}");
                    let (_, usage) = measured(|| {
                        json::<Document>(text.as_bytes()).map_err(|error| error.to_string())
                    });
                    assert!(
                        usage.peak_bytes <= 4 * text.len() + (1 << 14),
                        "{}",
                        usage.peak_bytes
                    );
                }
            }
        }
        let deep = format!("{{\"nodes\": {}", "[".repeat(200));
        assert!(error_of(&deep).contains("nodes"), "{}", error_of(&deep));
    }

    #[test]
    fn lines_of_any_length_are_read_in_bounded_memory() {
        let read = |text: &[u8], max_bytes: usize| {
            let mut lines = Vec::new();
            each_line(text, max_bytes, |line| lines.push(line.to_vec())).unwrap();
            lines
        };
        let none: [&[u8]; 0] = [];
        assert_eq!(read(b"", 4), none);
        assert_eq!(read(b"a\n\nb", 4), [&b"a"[..], b"", b"b"]);
        assert_eq!(
            read(b"12345\nab\n1234\n123456789\n12345", 4),
            [&b"ab"[..], b"1234"]
        );
        // One endless line without a line break.
        let endless = io::BufReader::new(io::repeat(b'x').take(64 << 20));
        let (lines, usage) = measured(|| {
            let mut lines = 0;
            each_line(endless, 4096, |_| lines += 1).unwrap();
            lines
        });
        assert_eq!(lines, 0);
        assert!(usage.peak_bytes < 64 << 10, "{}", usage.peak_bytes);
    }

    #[test]
    fn file_that_is_too_long_is_refused_in_bounded_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        // The file is sparse and takes no space on the disk.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let (error, usage) = measured(|| read_file(&path, 1 << 16).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("65536"), "{error}");
        assert!(usage.peak_bytes < 4 << 16, "{}", usage.peak_bytes);
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(read_file(&path, 3).unwrap(), b"ab\xff");
    }

    proptest! {
        #[test]
        fn error_and_place_of_any_text_are_printable(text in ".{0,60}", odd in "[\\[\\]{}\",:a1\\\\\n]{0,40}") {
            for text in [text, odd] {
                if let Err(error) = json::<Document>(text.as_bytes()) {
                    prop_assert!(error.to_string().chars().all(|one| !one.is_control()));
                }
                for column in 0..=text.len() + 1 {
                    let _ = field_path(text.as_bytes(), 1, column);
                }
            }
        }
    }
}
