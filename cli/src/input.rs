//! Bytes from outside: the system's own files are read up to a limit, lines one by one, and what is wrong in JSON is told with its place.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read as _};
use std::path::Path;

use covalent_alloc::text::printable;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest text within JSON that is read: names and reasons have some hundred bytes, and are printed again and again.
const LONGEST_TEXT: usize = 4096;

/// The most objects and lists in one another of which a place is told; serde_json reads no more either.
const DEEPEST: usize = 128;

/// Reads a file of at most so many bytes.
///
/// # Errors
/// Those of the file, and [`ErrorKind::FileTooLarge`].
pub(crate) fn whole(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    let words = format!("it has more than {most} bytes, which is the most that is read of it");
    Err(io::Error::new(ErrorKind::FileTooLarge, words))
}

/// Hands out the lines of a text, in memory of one line. One that is longer than `most` bytes is passed over.
///
/// # Errors
/// Those of the reader.
pub(crate) fn each_line(
    mut reader: impl BufRead,
    most: usize,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.strip_suffix(b"\n") {
            Some(line) => each(line),
            None if line.len() > most => {
                reader.skip_until(b'\n')?;
            }
            // The last one.
            None => each(&line),
        }
    }
}

/// What is wrong in JSON, and where.
#[derive(Debug, Error)]
pub(crate) enum JsonError {
    /// It is none, or of another shape.
    #[error("{source}{}", Within(place))]
    Shape {
        /// The field, such as `nodes[3].kind`; empty for the whole.
        place: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A text in it is longer than any that is written.
    #[error(
        "a text of more than {LONGEST_TEXT} bytes at line {line} column {column}{}",
        Within(place)
    )]
    LongText {
        /// The field.
        place: String,
        /// The line in which it begins, the first being 1.
        line: usize,
        /// The byte of the line, the first being 1.
        column: usize,
    },
}

struct Within<'a>(&'a str);

impl fmt::Display for Within<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(out, ", in {}", self.0)
    }
}

/// Reads JSON. No text in it is longer than 4 KiB, and no more than 128 objects and lists are in one another.
///
/// # Errors
/// [`JsonError`].
pub(crate) fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let read = serde_json::from_slice(text).map_err(|source| JsonError::Shape {
        place: place(text, source.line(), source.column()),
        source,
    })?;
    // Only what is JSON has texts.
    let Some(start) = long_text(text) else {
        return Ok(read);
    };
    let before = text.get(..start).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let begin = before.iter().rposition(|byte| *byte == b'\n');
    let column = start.saturating_sub(begin.map_or(0, |place| place.saturating_add(1)));
    let (line, column) = (line.saturating_add(1), column.saturating_add(1));
    Err(JsonError::LongText {
        // Of what is behind the quote.
        place: place(text, line, column.saturating_add(2)),
        line,
        column,
    })
}

/// Returns where the first text begins that is too long.
fn long_text(json: &[u8]) -> Option<usize> {
    let mut begin = None;
    let mut is_escaped = false;
    for (at, byte) in json.iter().enumerate() {
        match (begin, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(start), b'"') => {
                // Without its quotes.
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

/// A step from an object or list to what is in it.
enum Step {
    /// The text before the last colon: where its bytes are.
    Key(usize, usize),
    Item(usize),
}

/// Names the field before a line and column (of bytes, the first being 1), such as `nodes[3].kind`.
fn place(json: &[u8], line: usize, column: usize) -> String {
    let lines = json
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1));
    let start = lines.fold(0, |sum: usize, line| sum.saturating_add(line.len()));
    let end = start.saturating_add(column.saturating_sub(1));
    let mut steps: Vec<Step> = Vec::new();
    // Levels that are deeper than any whose place is told.
    let mut beyond = 0_usize;
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
            (None, b'{' | b'[') if steps.len() >= DEEPEST => beyond = beyond.saturating_add(1),
            (None, b'{') => steps.push(Step::Key(0, 0)),
            (None, b'[') => steps.push(Step::Item(0)),
            (None, b'}' | b']') if beyond > 0 => beyond = beyond.saturating_sub(1),
            (None, b'}' | b']') => {
                steps.pop();
            }
            (None, b':' | b',') if beyond > 0 => {}
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
                // A key may be anything, and as long.
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
    struct Outer {
        #[serde(default)]
        nodes: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        mode: u32,
        #[serde(default)]
        words: String,
    }

    fn told(text: &str) -> String {
        json::<Outer>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn error_in_json_is_told_with_line_column_and_field() {
        for (text, line, place) in [
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
            let error = told(text);
            assert!(error.contains(line), "{text}: {error}");
            assert!(error.contains(place), "{text}: {error}");
            assert!(!error.contains('\x1b'), "{error:?}");
        }
    }

    #[test]
    fn text_that_is_too_long_is_told_with_its_place() {
        let with = |bytes: usize| {
            format!(
                "{{\"nodes\": [\n{{\"mode\": 1, \"words\": \"{}\"}}]}}",
                "a".repeat(bytes)
            )
        };
        let read: Outer = json(with(LONGEST_TEXT - 1).as_bytes()).unwrap();
        assert_eq!(
            (read.nodes[0].mode, read.nodes[0].words.len()),
            (1, LONGEST_TEXT - 1)
        );
        let error = told(&with(LONGEST_TEXT + 1));
        assert!(
            error.contains("at line 2 column 22, in nodes[0].words"),
            "{error}"
        );
    }

    #[test]
    fn json_of_any_depth_takes_memory_of_its_length() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for most in [1 << 16, 1 << 20] {
                // One in a field that nobody reads, one in a field that is read.
                for field in ["other", "nodes"] {
                    let deep = open.repeat(most / open.len());
                    let end = close.repeat(most / open.len());
                    let text = format!("{{\"{field}\": {deep}1{end}}}");
                    let (_, usage) = measured(|| {
                        json::<Outer>(text.as_bytes()).map_err(|error| error.to_string())
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
        assert!(told(&deep).contains("nodes"), "{}", told(&deep));
    }

    #[test]
    fn lines_are_handed_out_in_memory_of_one() {
        let read = |text: &[u8], most: usize| {
            let mut lines = Vec::new();
            each_line(text, most, |line| lines.push(line.to_vec())).unwrap();
            lines
        };
        let none: [&[u8]; 0] = [];
        assert_eq!(read(b"", 4), none);
        assert_eq!(read(b"a\n\nb", 4), [&b"a"[..], b"", b"b"]);
        assert_eq!(
            read(b"12345\nab\n1234\n123456789\n12345", 4),
            [&b"ab"[..], b"1234"]
        );
        // No line at all, longer than memory would be.
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
    fn file_that_is_longer_than_it_may_be_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        // Nothing of it is stored on the disk.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let (error, usage) = measured(|| whole(&path, 1 << 16).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("65536"), "{error}");
        assert!(usage.peak_bytes < 4 << 16, "{}", usage.peak_bytes);
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(whole(&path, 3).unwrap(), b"ab\xff");
    }

    proptest! {
        #[test]
        fn place_of_any_text_is_printable(text in ".{0,60}", odd in "[\\[\\]{}\",:a1\\\\\n]{0,40}") {
            for text in [text, odd] {
                if let Err(error) = json::<Outer>(text.as_bytes()) {
                    prop_assert!(error.to_string().chars().all(|one| !one.is_control()));
                }
                for column in 0..=text.len() + 1 {
                    let _ = place(text.as_bytes(), 1, column);
                }
            }
        }
    }
}
