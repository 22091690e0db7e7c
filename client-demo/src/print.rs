//! Prints on stdout: text, or a JSON object.

use std::io::{self, Write};

use covalent_alloc::text::{PrintableWriter, printable_json};
use serde::Serialize;

/// Prints text on stdout, or on stderr if `is_json` is set, because stdout is then for a JSON object. Control characters are
/// escaped.
///
/// # Errors
/// The error of the stream.
pub fn text(text: &str, is_json: bool) -> io::Result<()> {
    fn write(to: impl Write, text: &str) -> io::Result<()> {
        let mut to = PrintableWriter::new(to);
        to.write_all(text.as_bytes())?;
        to.flush()
    }
    if is_json {
        write(io::stderr(), text)
    } else {
        write(io::stdout(), text)
    }
}

/// Prints an object as one line of JSON on stdout. Control characters are escaped.
///
/// # Errors
/// The error of the stream, or of the serialisation.
pub fn json(report: &impl Serialize) -> io::Result<()> {
    let line = printable_json(&serde_json::to_string(report)?);
    io::stdout().write_all(format!("{line}\n").as_bytes())
}
