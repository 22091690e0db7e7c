//! Starts programs for the user: the terminal, programs of key bindings and of the configuration, and the command of the command
//! line.
//!
//! [`spawn`] is the only function that starts them. A program begins without what the compositor has changed for itself: with
//! the default action of every signal, no blocked signal, the original limit of file descriptors, no file descriptor apart from
//! the standard streams, and a session of its own. Its privileges are those with which the compositor was started, so a setuid
//! program gains its owner's. A compositor that restricts itself later must start its programs from a process that it started
//! before.

mod sys;

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::command::watch_end;
use crate::descriptors::original_limit;
use crate::state::State;

/// A program and its arguments. It has at least one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Arc<[OsString]>);

impl CommandLine {
    /// Returns the command line of a program with arguments; `None` without a program.
    pub fn of_words(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let words: Arc<[OsString]> = words.into_iter().collect();
        let has_program = words.first().is_some_and(|program| !program.is_empty());
        has_program.then_some(Self(words))
    }

    /// Returns the command line with which the shell runs `text`.
    pub fn of_shell(text: &str) -> Self {
        Self(["/bin/sh", "-c", text].map(OsString::from).into())
    }

    /// Returns the program.
    pub fn program(&self) -> &OsStr {
        self.0.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Returns the arguments after the program.
    pub fn arguments(&self) -> &[OsString] {
        self.0.get(1..).unwrap_or_default()
    }
}

/// Starts a program without the compositor's signal handlers, signal mask, limit of file descriptors, file descriptors and
/// session.
///
/// # Errors
///
/// When the program does not exist or cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    sys::reset_in_child(command, original_limit());
    command.spawn()
}

impl State {
    /// Starts a program as a client of this compositor, without its standard input and output, and reaps it when it ends.
    ///
    /// # Errors
    ///
    /// When there is no socket to which the program could connect, or the program cannot be started.
    pub fn launch(&mut self, program: &CommandLine) -> io::Result<()> {
        let socket = self.shell.socket().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "the compositor has no socket yet",
            )
        })?;
        let mut command = Command::new(program.program());
        command
            .args(program.arguments())
            .env("WAYLAND_DISPLAY", socket)
            .stdin(Stdio::null())
            // Programs that started the compositor read its standard output.
            .stdout(Stdio::null());
        let mut child = spawn(&mut command)?;
        let watched = watch_end(&self.handle, child.id(), move |_| {
            // The process has ended, so this does not wait.
            let _ = child.try_wait();
        });
        if let Err(error) = watched {
            tracing::warn!(%error, "the end of a program cannot be noticed, so that its process id stays in use");
        }
        Ok(())
    }

    /// Starts a program as [`launch`](Self::launch) does, and logs why it cannot be started. `what` names the setting.
    pub(crate) fn launch_or_warn(&mut self, program: &CommandLine, what: &str) {
        if let Err(error) = self.launch(program) {
            let name = program.program();
            tracing::warn!(program = ?name, %error, "the program of {what} cannot be started; check its name and PATH");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_needs_a_program() {
        let words = |words: &[&str]| CommandLine::of_words(words.iter().map(OsString::from));
        assert_eq!(words(&[]), None);
        assert_eq!(words(&["", "a"]), None);
        let two = words(&["foot", "--server"]).unwrap();
        assert_eq!(two.program(), "foot");
        assert_eq!(two.arguments(), ["--server"]);
        assert_eq!(CommandLine::of_shell("a | b").arguments(), ["-c", "a | b"]);
    }
}
