//! Output of the tool, without control characters from the names of devices, files and processes.
//!
//! [`line!`] prints one line and escapes all control characters in it. Texts of several lines are built of names that were
//! escaped before. As a last safeguard both streams let no control characters through except line breaks and wanted colours.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, StderrLock, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use anstream::AutoStream;
use clap::Parser;
use covalent_alloc::text::{
    PrintableWriter, joined_causes, printable, printable_bytes, printable_copy,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Prints one line.
macro_rules! line {
    ($out:expr, $($words:tt)+) => {
        $crate::out::write_line(&mut $out, format_args!($($words)+))
    };
}
pub(crate) use line;

/// Returns the standard output, without colours.
pub(crate) fn stdout() -> PrintableWriter<StdoutLock<'static>> {
    PrintableWriter::new(io::stdout().lock())
}

/// Returns the standard output, with colours if it is a terminal that displays colours.
pub(crate) fn coloured() -> PrintableWriter<AutoStream<StdoutLock<'static>>> {
    PrintableWriter::with_colours(anstream::stdout().lock())
}

/// Returns the standard error stream, without colours.
pub(crate) fn stderr() -> PrintableWriter<StderrLock<'static>> {
    PrintableWriter::new(io::stderr().lock())
}

/// Prints a text as exactly one line; line breaks in it are escaped.
///
/// # Errors
/// The stream cannot be written.
pub(crate) fn write_line(out: &mut impl Write, words: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(out, "{}", printable(&words.to_string()))
}

/// Copies a value and escapes all strings in it, so that a text of several lines can be formatted from the copy.
pub(crate) fn printable_names<T: Serialize + DeserializeOwned + Clone>(value: &T) -> T {
    // If escaping makes a text too long to parse, the value stays as it is, and the stream escapes it.
    printable_copy(value).unwrap_or_else(|_| value.clone())
}

/// An error whose text has several lines; the text of every other error is printed as one line.
#[derive(Debug)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl fmt::Display for Lines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|line| printable(line)).collect();
        out.write_str(&lines.join("\n  "))
    }
}

impl Error for Lines {}

/// Returns the text of an error and of its causes, without repetitions, as one line. Only a cause of type [`Lines`] adds line
/// breaks.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let lines = error
        .chain()
        .position(|cause| cause.downcast_ref::<Lines>().is_some());
    let own = printable(&joined_causes(
        error.chain().take(lines.unwrap_or(usize::MAX)),
    ));
    match lines.and_then(|index| error.chain().nth(index)) {
        Some(lines) if own.is_empty() => lines.to_string(),
        Some(lines) => format!("{own}: {lines}"),
        None => own,
    }
}

/// Parses the command line. For invalid arguments and for `--help`, prints the text of clap.
///
/// # Errors
/// The exit code, after that text was printed.
pub(crate) fn parse<T: Parser>() -> Result<T, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let error = match T::try_parse_from(&words) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    // The error quotes the arguments, so they are parsed again with control characters escaped.
    let printable = words.iter().map(|word| printable_bytes(word.as_bytes()));
    let error = T::try_parse_from(printable).err().unwrap_or(error);
    let text = error.render().ansi().to_string();
    // If the streams fail, there is no other place to report that.
    let _ = if error.use_stderr() {
        PrintableWriter::with_colours(anstream::stderr().lock()).write_all(text.as_bytes())
    } else {
        coloured().write_all(text.as_bytes())
    };
    Err(u8::try_from(error.exit_code()).unwrap_or(2).into())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn error_with_hostile_names_has_no_additional_lines() {
        let error = Err::<(), _>(io::Error::other("cause\nforged"))
            .context("doing a\x1b[2J\nforged")
            .unwrap_err();
        assert_eq!(
            error_text(&error),
            "doing a\\u{1b}[2J\\nforged: cause\\nforged"
        );
        let lines = anyhow::Error::new(Lines(vec!["one\nforged".to_owned(), "two".to_owned()]));
        assert_eq!(error_text(&lines), "one\\nforged\n  two");
    }

    #[test]
    fn line_with_control_characters_stays_one_line() {
        let mut out = Vec::new();
        line!(out, "a {} b", "x\ny\u{202e}").unwrap();
        assert_eq!(out, b"a x\\ny\\u{202e} b\n");
    }
}
