//! Starts a terminal when the user presses the key for it.

use std::ffi::OsString;
use std::io;

use crate::launch::CommandLine;
use crate::state::State;

/// The terminals that are tried after the configured one and `$TERMINAL`.
const TERMINALS: [&str; 2] = ["foot", "weston-terminal"];

impl State {
    /// Starts the first terminal that exists.
    pub(super) fn start_terminal(&mut self) {
        let variable = std::env::var_os("TERMINAL");
        let known = TERMINALS.into_iter().map(OsString::from);
        let programs = variable.into_iter().chain(known);
        let programs = programs.filter_map(|name| CommandLine::of_words([name]));
        self.start_first(self.configured_terminal().into_iter().chain(programs));
    }

    /// Starts the first of these programs that exists, as a client of this compositor; returns whether there is one.
    pub fn start_first(&mut self, programs: impl Iterator<Item = CommandLine>) -> bool {
        if self.shell.socket().is_none() {
            return false;
        }
        for program in programs {
            match self.launch(&program) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(program = ?program.program(), %error, "a terminal cannot be started");
                }
            }
        }
        tracing::warn!(
            "no terminal can be started; set `terminal` in the configuration to one, or install foot"
        );
        false
    }
}
