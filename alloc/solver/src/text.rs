//! Text from outside, made safe to print and to paste.
//!
//! The name of a process, a dma-buf, a device, a file or a participant is whatever its owner chose. Printed as it is, it can
//! move a terminal's cursor, recolour or erase what stands there, forge a line of the report around it, or show letters in
//! another order than they are read by a shell. So every program of this project passes such text through this module where it
//! is printed: [`printable`] for people, [`shell_word`] for lines that a person is asked to paste.
//!
//! Who prints words that are made of many such names, in code that knows nothing of terminals, hands it a copy of what it is
//! told in which every text is printable ([`printable_copy`]).
//!
//! A name is escaped where it is put into a sentence, since a line break in it forges lines that nothing can tell from true ones
//! later. Whatever is overlooked is stopped at the program's edge: [`PrintableWriter`] lets through what a program of this project
//! prints by itself, line breaks and, where they are wanted, colours. [`LineWriter`] does the same for a log, of which each entry
//! is one line.
//!
//! JSON keeps its texts as they are, for programs; [`printable_json`] writes what is not visible in them as JSON's own escapes.

mod writer;

pub use writer::{LineWriter, PrintableWriter, print_panics};

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Makes text of any origin printable: what is no visible character is escaped as in Rust (`\n`, `\u{1b}`).
///
/// Escaped are control characters, line and paragraph separators, marks that change the order in which letters are shown
/// (bidirectional controls), characters without a width that make two names look the same, tags, and noncharacters. Letters
/// of every script stay as they are.
///
/// # References
/// Unicode Standard, UAX #9 (bidirectional controls), UTR #36 (security considerations).
#[must_use]
pub fn printable(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut out, character));
    out
}

/// Makes bytes printable: like [`printable`], and a byte that is no UTF-8 is written as `\xff`.
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

/// Makes a path printable: like [`printable_bytes`].
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable_bytes(path.as_os_str().as_bytes())
}

/// Makes text printable and no longer than `most` characters; what is cut off is replaced by `…`.
#[must_use]
pub fn printable_within(text: &str, most: usize) -> String {
    // One character of the input gives at least one of the output, so no more than these are looked at.
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

/// Writes a JSON text with escapes in the place of characters that are not visible. It is the same JSON.
///
/// JSON itself escapes the first 32 control characters alone: the others, marks of direction and characters without a width
/// would reach a terminal. Line breaks between its parts are kept.
#[must_use]
pub fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !is_hidden(character) {
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

/// Copies a value with every text in it made printable, keys of maps included, so that whatever prints it prints harmless names.
///
/// # Errors
/// Where the value is not read back from what it is written as; a name that its escapes made too long is such a case.
pub fn printable_copy<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, serde_json::Error> {
    let mut copy = serde_json::to_value(value)?;
    escape_texts(&mut copy);
    serde_json::from_value(copy)
}

fn escape_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(is_hidden) => *text = printable(text),
        Value::Array(values) => values.iter_mut().for_each(escape_texts),
        Value::Object(map) => {
            map.values_mut().for_each(escape_texts);
            if map.keys().any(|key| key.chars().any(is_hidden)) {
                let entries = std::mem::take(map).into_iter();
                *map = entries
                    .map(|(key, value)| (printable(&key), value))
                    .collect();
            }
        }
        _ => {}
    }
}

/// Text that is printed as [`printable`] makes it, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| write_escaped(out, character))
    }
}

/// Writes text as one word that a POSIX shell reads back as it is, for a line that a person is asked to paste.
///
/// Returns none for text that must not stand in such a line at all: empty text, and text that [`printable`] would change, since
/// what is pasted would not be what is seen. A leading `-` is kept: whoever makes the line puts `--` before it or refuses it.
#[must_use]
pub fn shell_word(text: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if text.is_empty() || text.chars().any(is_hidden) {
        return None;
    }
    if text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    // Within single quotes a shell leaves everything as it is, but for the quote itself.
    Some(format!("'{}'", text.replace('\'', r"'\''")))
}

fn push(out: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write_escaped(out, character);
}

fn write_escaped(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    if is_hidden(character) {
        character
            .escape_default()
            .try_for_each(|letter| out.write_char(letter))
    } else {
        out.write_char(character)
    }
}

/// Returns whether a character is seen as something else than itself, or not at all.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, the Arabic letter mark, Hangul fillers, Khmer inherent vowels, Mongolian separators.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            // Zero-width characters, directional marks, separators of lines and paragraphs, embeddings and overrides.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            // Shorthand and musical format controls, tags, and what is set aside beside them.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{fdd0}'..='\u{fdef}'
        )
        // The last two code points of every plane are no characters.
        || u32::from(character) & 0xfffe == 0xfffe
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
    fn text_that_is_not_seen_is_escaped() {
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
    fn bytes_that_are_no_text_are_told_one_by_one() {
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
                .any(|letter| letter != '\n' && is_hidden(letter)),
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
