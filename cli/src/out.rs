//! What this tool prints: lines without control characters of devices, files and processes.
//!
//! A line is printed by [`line!`], which escapes whatever is in it and no letter. Words of several lines are made of names that
//! were escaped before. Both streams let nothing else than line breaks and wanted colours through.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, StderrLock, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use anstream::AutoStream;
use clap::Parser;
use covalent_alloc::text::{PrintableWriter, printable, printable_bytes, printable_copy};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Prints one line.
macro_rules! line {
    ($out:expr, $($words:tt)+) => {
        $crate::out::write_line(&mut $out, format_args!($($words)+))
    };
}
pub(crate) use line;

/// The standard output, without colours.
pub(crate) fn stdout() -> PrintableWriter<StdoutLock<'static>> {
    PrintableWriter::new(io::stdout().lock())
}

/// The standard output, with colours where they are wanted.
pub(crate) fn coloured() -> PrintableWriter<AutoStream<StdoutLock<'static>>> {
    PrintableWriter::with_colours(anstream::stdout().lock())
}

/// The standard error stream, without colours.
pub(crate) fn stderr() -> PrintableWriter<StderrLock<'static>> {
    PrintableWriter::new(io::stderr().lock())
}

/// Prints one line, whatever is in its words.
///
/// # Errors
/// Those of the stream.
pub(crate) fn write_line(out: &mut impl Write, words: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(out, "{}", printable(&words.to_string()))
}

/// Copies what words will be made of, with every name in it printable.
pub(crate) fn shown<T: Serialize + DeserializeOwned + Clone>(value: &T) -> T {
    // What escapes make too long is shown as it is, through a stream that escapes.
    printable_copy(value).unwrap_or_else(|_| value.clone())
}

/// An error of several lines: all others are one.
#[derive(Debug)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl fmt::Display for Lines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|line| printable(line)).collect();
        out.write_str(&lines.join("\n  "))
    }
}

impl Error for Lines {}

/// Says an error with all its causes, in lines of its own alone.
pub(crate) fn words_of(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(|cause| match cause.downcast_ref::<Lines>() {
            Some(lines) => lines.to_string(),
            None => printable(&cause.to_string()),
        })
        .collect();
    causes.join(": ")
}

/// Reads the command line. Where it is no use, or asks for help, that is printed, and the exit code returned.
///
/// # Errors
/// The exit code.
pub(crate) fn parse<T: Parser>() -> Result<T, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let error = match T::try_parse_from(&words) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    // The error repeats what was given: it is asked for again with words that are printable.
    let printable = words.iter().map(|word| printable_bytes(word.as_bytes()));
    let error = T::try_parse_from(printable).err().unwrap_or(error);
    let text = error.render().ansi().to_string();
    // Nobody is left to tell where the streams themselves fail.
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
    fn error_with_hostile_names_has_no_lines_but_its_own() {
        let error = Err::<(), _>(io::Error::other("cause\nforged"))
            .context("doing a\x1b[2J\nforged")
            .unwrap_err();
        assert_eq!(
            words_of(&error),
            "doing a\\u{1b}[2J\\nforged: cause\\nforged"
        );
        let lines = anyhow::Error::new(Lines(vec!["one\nforged".to_owned(), "two".to_owned()]));
        assert_eq!(words_of(&lines), "one\\nforged\n  two");
    }

    #[test]
    fn line_is_one_whatever_is_in_it() {
        let mut out = Vec::new();
        line!(out, "a {} b", "x\ny\u{202e}").unwrap();
        assert_eq!(out, b"a x\\ny\\u{202e} b\n");
    }
}
