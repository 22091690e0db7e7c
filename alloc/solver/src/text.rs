//! Makes untrusted text safe to print and to paste.
//!
//! The name of a process, dma-buf, device, file or participant may contain anything. If a program prints such a name unchanged,
//! it can move a terminal's cursor, change colours, erase text, forge a line of the report around it, or show characters in
//! another order than a shell reads them. So every program of this project passes such text through this module: [`printable`]
//! makes it safe for people to read, and [`shell_word`] makes it safe to paste into a shell.
//!
//! For code that prints structures with many names and does not escape them, [`printable_copy`] makes a copy in which every text
//! is printable.
//!
//! A name is escaped when it is inserted into a sentence, because a line break in it would forge a line that cannot be detected
//! later. In addition, a program prints through [`PrintableWriter`], which passes only printable text, line breaks and optionally
//! colours. [`LineWriter`] does the same for a log, in which each entry is one line.
//!
//! JSON keeps its texts unchanged for programs; [`printable_json`] writes characters that are not visible as JSON escapes.

mod writer;

pub use writer::{LineWriter, PrintableWriter, print_panics};

use std::error::Error;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Escapes every character that is not visible, in Rust's notation (`\n`, `\u{1b}`).
///
/// The escaped characters are control characters, line and paragraph separators, bidirectional controls (which change the order
/// of characters), zero-width characters (which make different names look the same), tags, and noncharacters. Letters of all
/// scripts are unchanged.
///
/// # References
/// Unicode Standard, UAX #9 (bidirectional controls), UTR #36 (security considerations).
#[must_use]
pub fn printable(text: &str) -> String {
    if !text.chars().any(needs_escape) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut out, character));
    out
}

/// Escapes bytes as [`printable`] does. A byte that is not UTF-8 is written in hexadecimal, such as `\xff`.
#[must_use]
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|character| push(&mut out, character));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Escapes a path as [`printable_bytes`] does.
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable_bytes(path.as_os_str().as_bytes())
}

/// Escapes text. If the result is longer than `most` characters, it is cut off and ends with `…`.
#[must_use]
pub fn printable_within(text: &str, most: usize) -> String {
    // Each input character has at least one output character, so the loop reads at most `most` + 1 characters.
    let mut out = String::new();
    let mut count = 0_usize;
    for character in text.chars() {
        let mut one = String::new();
        push(&mut one, character);
        let length = one.chars().count();
        if count.saturating_add(length) > most {
            while count >= most.max(1) {
                out.pop();
                count = count.saturating_sub(1);
            }
            if most > 0 {
                out.push('…');
            }
            return out;
        }
        count = count.saturating_add(length);
        out.push_str(&one);
    }
    out
}

/// Replaces characters of a JSON text that are not visible by JSON escapes. The result means the same JSON value.
///
/// JSON itself requires escapes only for the first 32 control characters. Without this function, other control characters,
/// bidirectional controls and zero-width characters would reach a terminal. Line breaks between values are kept.
#[must_use]
pub fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !needs_escape(character) {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Copies a value and escapes every text in it, including the keys of maps, so that the complete value can be printed.
///
/// # Errors
/// The copy cannot be deserialised, for example because an escaped name is too long.
pub fn printable_copy<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, serde_json::Error> {
    let mut copy = serde_json::to_value(value)?;
    escape_texts(&mut copy);
    serde_json::from_value(copy)
}

fn escape_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(needs_escape) => *text = printable(text),
        Value::Array(values) => values.iter_mut().for_each(escape_texts),
        Value::Object(map) => {
            map.values_mut().for_each(escape_texts);
            if map.keys().any(|key| key.chars().any(needs_escape)) {
                let entries = std::mem::take(map).into_iter();
                *map = entries
                    .map(|(key, value)| (printable(&key), value))
                    .collect();
            }
        }
        _ => {}
    }
}

/// Displays text as [`printable`] returns it, without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| write_escaped(out, character))
    }
}

/// Quotes text as one word of a POSIX shell, for a command line that a person may paste.
///
/// Returns `None` for empty text and for text that [`printable`] would change, because the pasted text would differ from the
/// visible text. A leading `-` is kept, so the caller has to write `--` before the word or refuse it.
#[must_use]
pub fn shell_word(text: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if text.is_empty() || text.chars().any(needs_escape) {
        return None;
    }
    if text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    // Within single quotes a shell changes nothing, and only the quote itself needs an escape.
    Some(format!("'{}'", text.replace('\'', r"'\''")))
}

fn push(out: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write_escaped(out, character);
}

fn write_escaped(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    if needs_escape(character) {
        character
            .escape_default()
            .try_for_each(|letter| out.write_char(letter))
    } else {
        out.write_char(character)
    }
}

/// Returns whether a character is not visible, or changes how other characters are displayed.
fn needs_escape(character: char) -> bool {
    // Most characters are printable ASCII, for which this one comparison is enough.
    if (' '..='~').contains(&character) {
        return false;
    }
    character.is_control()
        || matches!(
            character,
            // These are the soft hyphen, the Arabic letter mark, Hangul fillers, Khmer inherent vowels and Mongolian separators.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            // These are zero-width characters, directional marks, separators of lines and paragraphs, embeddings and overrides.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // These are invisible operators, isolates and deprecated format characters.
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            // These are shorthand and musical format controls, tags, and the reserved ranges next to them.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{fdd0}'..='\u{fdef}'
        )
        // The last two code points of every plane are noncharacters.
        || u32::from(character) & 0xfffe == 0xfffe
}

/// Joins the message of an error and the messages of its causes with colons.
///
/// Many errors include their cause in their own message, so a cause whose message the text already contains is left out.
///
/// ```
/// use std::io;
/// use covalent_solver::text::joined_causes;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("cannot open the card: {source}")]
/// struct OpenError {
///     source: io::Error,
/// }
///
/// let error = OpenError { source: io::Error::other("it is in use") };
/// let chain = [&error as &(dyn std::error::Error + 'static), &error.source];
/// assert_eq!(joined_causes(chain), "cannot open the card: it is in use");
/// ```
pub fn joined_causes<'error>(
    chain: impl IntoIterator<Item = &'error (dyn Error + 'static)>,
) -> String {
    let mut text = String::new();
    for cause in chain {
        let cause = cause.to_string();
        if !text.is_empty() && text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_moves_a_cursor_is_escaped() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("a\n\x1b[2J\tb"), "a\\n\\u{1b}[2J\\tb");
        assert_eq!(printable("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
    }

    #[test]
    fn text_that_is_shown_in_another_order_is_escaped() {
        for mark in [
            '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
        ] {
            let name = format!("a{mark}b");
            assert_eq!(printable(&name), format!("a{}b", mark.escape_unicode()));
        }
    }

    #[test]
    fn text_that_is_not_visible_is_escaped() {
        for hidden in [
            '\u{200b}',
            '\u{feff}',
            '\u{2028}',
            '\u{e0041}',
            '\u{ffff}',
            '\u{10fffe}',
            '\u{ad}',
        ] {
            assert!(
                printable(&hidden.to_string()).starts_with('\\'),
                "{hidden:?}"
            );
        }
        for seen in ["שלום", "مرحبا", "日本語", "ß", "🎥", "a b", "\u{fffd}"] {
            assert_eq!(printable(seen), seen);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_escaped_one_by_one() {
        assert_eq!(printable_bytes(b"a\xff\xc3(\n"), "a\\xff\\xc3(\\n");
        assert_eq!(
            printable_path(Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\x1b\xfe"))),
            "/tmp/\\u{1b}\\xfe"
        );
    }

    #[test]
    fn text_that_is_long_is_cut_with_a_mark() {
        assert_eq!(printable_within("short", 5), "short");
        assert_eq!(printable_within("longer", 5), "long…");
        assert_eq!(printable_within("a\x1bb", 3), "a…");
        assert_eq!(printable_within("ab", 1), "…");
        assert_eq!(printable_within("ab", 0), "");
        for most in 0..20 {
            let text = printable_within("ab\x1bcd\u{202e}ef", most);
            assert!(text.chars().count() <= most, "{text}");
        }
    }

    #[test]
    fn printable_text_is_written_as_it_is_returned() {
        let text = "a\n\u{202e}é";
        assert_eq!(Printable(text).to_string(), printable(text));
    }

    #[test]
    fn json_with_hidden_characters_is_the_same_json_without_them() {
        let value =
            serde_json::json!({"a\u{9b}": "x\u{202e}\u{7f}\u{e0041}\n\u{1b}é", "b": [1, null]});
        let text = printable_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            !text
                .chars()
                .any(|letter| letter != '\n' && needs_escape(letter)),
            "{text}"
        );
        assert!(
            text.contains("\\udb40\\udc41") && text.contains('é'),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn copy_has_every_text_printable_and_all_else_as_it_was() {
        let value = serde_json::json!({
            "name\n": ["a\u{1b}[2J", {"deep": "b\u{200b}"}], "number": u64::MAX, "plain": "é", "none": null
        });
        assert_eq!(
            printable_copy(&value).unwrap(),
            serde_json::json!({
                "name\\n": ["a\\u{1b}[2J", {"deep": "b\\u{200b}"}], "number": u64::MAX, "plain": "é", "none": null
            })
        );
    }

    #[test]
    fn shell_reads_a_word_back_as_it_was() {
        for word in [
            "video",
            "/dev/dri/card0",
            "a b",
            "it's",
            "$(id)",
            "`id`",
            "a;b",
            "*",
            "\\",
            "~",
            "#",
            "a\"b",
        ] {
            let quoted = shell_word(word).unwrap();
            let read = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {quoted}")])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(read.stdout).unwrap(), word);
        }
        for word in ["", "a\nb", "\x1b[31m", "a\u{202e}b", "a\0b"] {
            assert_eq!(shell_word(word), None, "{word:?}");
        }
    }
}
