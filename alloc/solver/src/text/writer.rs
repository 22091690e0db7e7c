//! Writers that pass only printable text.

use std::io::{self, Write};

use super::{needs_escape, printable_bytes};

/// A writer for terminals and files that people read. It escapes characters that are not visible, except for line breaks and, if
/// enabled, colours (SGR sequences).
///
/// It passes on complete lines. An incomplete line is passed on when the writer is flushed or dropped.
#[derive(Debug)]
pub struct PrintableWriter<W: Write> {
    to: W,
    has_colours: bool,
    line: Vec<u8>,
}

impl<W: Write> PrintableWriter<W> {
    /// Makes a writer to `to` that escapes colours.
    pub fn new(to: W) -> Self {
        Self {
            to,
            has_colours: false,
            line: Vec::new(),
        }
    }

    /// Makes a writer to `to` that passes colours.
    pub fn with_colours(to: W) -> Self {
        let mut writer = Self::new(to);
        writer.has_colours = true;
        writer
    }

    /// Writes the printable form of the stored bytes before `end`, and keeps the rest.
    fn put(&mut self, end: usize) -> io::Result<()> {
        let rest = self.line.split_off(end.min(self.line.len()));
        let whole = std::mem::replace(&mut self.line, rest);
        let text = filtered(&whole, self.has_colours);
        self.to.write_all(text.as_bytes())
    }
}

impl<W: Write> Write for PrintableWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(last) = self.line.iter().rposition(|byte| *byte == b'\n') {
            self.put(last.saturating_add(1))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put(usize::MAX)?;
        self.to.flush()
    }
}

impl<W: Write> Drop for PrintableWriter<W> {
    fn drop(&mut self) {
        // Errors are ignored here. Callers that have to know whether everything was written call `flush` before.
        let _ = self.flush();
    }
}

/// A writer for logs. Each call of `write` is one entry and one line, so line breaks inside the entry are escaped too.
#[derive(Debug)]
pub struct LineWriter<W> {
    to: W,
    has_colours: bool,
}

impl<W: Write> LineWriter<W> {
    /// Makes a writer to `to`. `has_colours` states whether it passes colours or escapes them.
    pub fn new(to: W, has_colours: bool) -> Self {
        Self { to, has_colours }
    }
}

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let (words, end) = match entry.strip_suffix(b"\n") {
            Some(words) => (words, "\n"),
            None => (entry, ""),
        };
        let lines: Vec<String> = words
            .split(|byte| *byte == b'\n')
            .map(|line| filtered(line, self.has_colours))
            .collect();
        let text = lines.join("\\n") + end;
        self.to.write_all(text.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Escapes characters that are not visible, except for line breaks and, if enabled, colours.
fn filtered(bytes: &[u8], has_colours: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let kept = match rest.first() {
            Some(b'\n') => 1,
            Some(0x1b) if has_colours => colour(rest),
            _ => 0,
        };
        if kept > 0 {
            let (sequence, after) = rest.split_at(kept);
            // An SGR sequence consists of ASCII characters.
            text.push_str(&String::from_utf8_lossy(sequence));
            rest = after;
            continue;
        }
        // `end` is the end of the text before the next escape byte or line break. The first byte was checked above.
        let end = rest
            .iter()
            .skip(1)
            .position(|byte| matches!(byte, b'\n' | 0x1b))
            .map_or(rest.len(), |place| place.saturating_add(1));
        let (words, after) = rest.split_at(end);
        match std::str::from_utf8(words) {
            Ok(plain) if !plain.chars().any(needs_escape) => text.push_str(plain),
            _ => text.push_str(&printable_bytes(words)),
        }
        rest = after;
    }
    text
}

/// Returns the length of the SGR sequence at the start of `bytes`; 0 if there is none.
fn colour(bytes: &[u8]) -> usize {
    let Some(parameters) = bytes.strip_prefix(b"\x1b[") else {
        return 0;
    };
    let end = parameters
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
    match end {
        Some(place) if parameters.get(place) == Some(&b'm') => place.saturating_add(3),
        _ => 0,
    }
}

/// Installs a panic hook that prints the usual panic message on stderr, with characters that are not visible escaped.
pub fn print_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let trace = std::backtrace::Backtrace::capture();
        let mut words = format!("\nthread '{name}' {panic}\n");
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            words.push_str(&format!("stack backtrace:\n{trace}\n"));
        }
        // If stderr itself fails, the error cannot be reported anywhere.
        let _ = PrintableWriter::new(io::stderr().lock()).write_all(words.as_bytes());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(has_colours: bool, pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = if has_colours {
            PrintableWriter::with_colours(&mut out)
        } else {
            PrintableWriter::new(&mut out)
        };
        for piece in pieces {
            writer.write_all(piece).unwrap();
        }
        drop(writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn stream_lets_line_breaks_through_and_escapes_the_rest() {
        assert_eq!(
            printed(false, &[b"a\x1b[31mb\nc\td\r\n", b"\xff\xe2\x80\xaee"]),
            "a\\u{1b}[31mb\nc\\td\\r\n\\xff\\u{202e}e"
        );
    }

    #[test]
    fn stream_with_colours_lets_nothing_else_through() {
        assert_eq!(
            printed(
                true,
                &[b"\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;t\x07\x1b[m\x1b[3"]
            ),
            "\x1b[1;31mred\x1b[0m \\u{1b}[2J\\u{1b}]0;t\\u{7}\x1b[m\\u{1b}[3"
        );
    }

    #[test]
    fn letter_and_colour_in_two_pieces_stay_whole() {
        assert_eq!(
            printed(true, &[b"\xc3", b"\xa9 \x1b[3", b"1mx\x1b[0m\n"]),
            "é \x1b[31mx\x1b[0m\n"
        );
    }

    #[test]
    fn entry_of_a_log_is_one_line() {
        let mut out = Vec::new();
        let mut log = LineWriter::new(&mut out, false);
        log.write_all(b"WARN title=a\nWARN forged\x1b[2J\n")
            .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "WARN title=a\\nWARN forged\\u{1b}[2J\n"
        );
    }
}
