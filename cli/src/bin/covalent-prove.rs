//! `covalent-prove`: the process in which buffers are tried on drivers, so that nobody else dies of them.
//!
//! `covalent` starts it and asks it over a socket. It has no options.

use std::io::{self, Write as _};
use std::process::ExitCode;

use covalent_alloc::text::printable;

/// The exit code for wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match covalent_alloc::trial::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell where stderr itself fails.
            let words = printable(&error.to_string());
            let _ = writeln!(io::stderr(), "covalent-prove: {words}");
            USAGE.into()
        }
    }
}
