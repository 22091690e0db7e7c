//! Parses the command line. Error messages contain only printable characters.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::Parser;
use covalent_alloc::text::{PrintableWriter, printable_bytes};

/// Parses the command line. After an error or `--help`, it prints the text and returns the exit code.
///
/// # Errors
///
/// The exit code, after an error or `--help`.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let error = match T::try_parse_from(&arguments) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    // clap's error text contains the arguments. The arguments are escaped and parsed again, so that the text has no control
    // characters.
    let printable = arguments
        .iter()
        .map(|word| printable_bytes(word.as_bytes()));
    let error = T::try_parse_from(printable).err().unwrap_or(error);
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let text = |is_terminal: bool| {
        if is_terminal && !is_plain {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        }
    };
    // An error of stdout or stderr cannot be reported.
    let _ = if error.use_stderr() {
        let to = io::stderr();
        let text = text(to.is_terminal());
        PrintableWriter::with_colours(to).write_all(text.as_bytes())
    } else {
        let to = io::stdout();
        let text = text(to.is_terminal());
        PrintableWriter::with_colours(to).write_all(text.as_bytes())
    };
    Err(u8::try_from(error.exit_code()).unwrap_or(2).into())
}
