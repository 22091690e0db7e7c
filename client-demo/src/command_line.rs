//! Reading the command line, with errors that nothing on it can forge.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::Parser;
use covalent_alloc::text::{PrintableWriter, printable_bytes};

/// Reads the command line. Where it is no use, or asks for help, that is printed, and the exit code returned.
///
/// # Errors
///
/// The exit code.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let error = match T::try_parse_from(&words) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    // The error repeats what was given: it is asked for again with words that are printable.
    let printable = words.iter().map(|word| printable_bytes(word.as_bytes()));
    let error = T::try_parse_from(printable).err().unwrap_or(error);
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let text = |is_terminal: bool| {
        if is_terminal && !is_plain {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        }
    };
    // Nobody is left to tell where the streams themselves fail.
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
