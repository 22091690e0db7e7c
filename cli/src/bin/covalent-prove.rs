//! `covalent-prove`: the helper process that runs trials. A driver that aborts or hangs ends only this process.
//!
//! `covalent` starts it and sends requests over a socket. It has no options.

use std::io::{self, Write as _};
use std::process::ExitCode;

use covalent_alloc::text::printable;

/// The exit code for wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match covalent_alloc::trial::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr fails, there is no other place to report that.
            let words = printable(&error.to_string());
            let _ = writeln!(io::stderr(), "covalent-prove: {words}");
            USAGE.into()
        }
    }
}
