//! Parses the command line. Error messages contain no control characters of the arguments.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::Parser;
use covalent_alloc::text::{PrintableWriter, printable_bytes};

/// Parses the command line. If the program must not run, it prints the error or the help text and returns the exit code.
///
/// # Errors
///
/// The exit code of the error or of the printed help text.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let error = match T::try_parse_from(&arguments) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    // clap's error quotes the arguments. The arguments are escaped and parsed again, so that the error is printable.
    let printable = arguments
        .iter()
        .map(|argument| printable_bytes(argument.as_bytes()));
    let error = T::try_parse_from(printable).err().unwrap_or(error);
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let text = |is_terminal: bool| {
        if is_terminal && !is_plain {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        }
    };
    // If stderr or stdout cannot be written, the error cannot be reported anywhere.
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
