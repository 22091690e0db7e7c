//! Starts a terminal when the user presses the key for it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::command::watch_end;
use crate::descriptors::with_original_limit;
use crate::event_loop::LoopHandle;
use crate::state::State;

/// The terminals that are tried after `$TERMINAL`.
const TERMINALS: [&str; 2] = ["foot", "weston-terminal"];

impl State {
    /// Starts the first terminal that exists.
    pub(super) fn start_terminal(&mut self) {
        let configured = std::env::var_os("TERMINAL").filter(|name| !name.is_empty());
        let known = TERMINALS.into_iter().map(OsString::from);
        self.start_first(configured.into_iter().chain(known));
    }

    /// Starts the first of these programs that exists, as a client of this compositor; returns whether there is one.
    pub fn start_first(&mut self, programs: impl Iterator<Item = OsString>) -> bool {
        let Some(socket) = self.shell.socket.clone() else {
            return false;
        };
        for program in programs {
            match start(&self.handle, &program, &socket) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(?program, %error, "a terminal cannot be started");
                }
            }
        }
        tracing::warn!(
            "no terminal can be started; set TERMINAL to the name of one, or install foot"
        );
        false
    }
}

/// Starts a program without its output, and reaps it when it ends.
fn start(handle: &LoopHandle, program: &OsString, socket: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    command
        .env("WAYLAND_DISPLAY", socket)
        .stdin(Stdio::null())
        // Programs that started the compositor read its standard output.
        .stdout(Stdio::null())
        // A signal that the compositor's terminal sends to all its programs is for the compositor alone.
        .process_group(0);
    let mut child = with_original_limit(|| command.spawn())?;
    let watched = watch_end(handle, child.id(), move |_| {
        // The process has ended, so this does not wait.
        let _ = child.try_wait();
    });
    if let Err(error) = watched {
        tracing::warn!(%error, "the end of a terminal cannot be noticed, so that its process id stays in use");
    }
    Ok(())
}
