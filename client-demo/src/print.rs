//! What a program prints on its standard output: words for people, an object for programs.

use std::io::{self, Write};

use covalent_alloc::text::{PrintableWriter, printable_json};
use serde::Serialize;

/// Prints words of several lines: on stdout, or on stderr where stdout is for an object. No device's name reaches a terminal raw.
///
/// # Errors
/// Those of the stream.
pub fn words(text: &str, is_object: bool) -> io::Result<()> {
    fn write(to: impl Write, text: &str) -> io::Result<()> {
        let mut to = PrintableWriter::new(to);
        to.write_all(text.as_bytes())?;
        to.flush()
    }
    if is_object {
        write(io::stderr(), text)
    } else {
        write(io::stdout(), text)
    }
}

/// Prints an object on stdout, in one line. Characters that are not visible are escaped.
///
/// # Errors
/// Those of the stream; what is no JSON.
pub fn object(report: &impl Serialize) -> io::Result<()> {
    let line = printable_json(&serde_json::to_string(report)?);
    io::stdout().write_all(format!("{line}\n").as_bytes())
}
