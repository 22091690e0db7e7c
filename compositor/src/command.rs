//! Runs the command that the compositor starts for the user.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use calloop::generic::Generic;
use calloop::{Interest, Mode, PostAction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::event_loop::LoopHandle;
use crate::launch::spawn;
use crate::state::State;

/// The time between SIGTERM and SIGKILL.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(2);

/// A running command. The event loop stops when the command ends.
#[derive(Debug)]
pub struct Command {
    child: Child,
    pidfd: OwnedFd,
}

impl Command {
    /// Starts a command with `WAYLAND_DISPLAY` set to `socket`.
    ///
    /// # Errors
    ///
    /// When the command cannot be started, or its end cannot be monitored.
    pub fn start(
        handle: &LoopHandle,
        program: &OsStr,
        arguments: &[OsString],
        socket: &str,
    ) -> anyhow::Result<Self> {
        let mut command = std::process::Command::new(program);
        command.args(arguments).env("WAYLAND_DISPLAY", socket);
        let mut child = spawn(&mut command)
            .with_context(|| format!("{} cannot be started", program.to_string_lossy()))?;
        let watched = watch_end(handle, child.id(), |state| state.handle.stop());
        let pidfd = match watched {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context("the command cannot be monitored"));
            }
        };
        Ok(Self { child, pidfd })
    }

    /// Returns the exit status; `None` while the command runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends the command by SIGTERM, and after a timeout by SIGKILL; returns its exit status.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + TERMINATION_TIMEOUT;
        let mut signal = Signal::TERM;
        loop {
            if let Some(status) = self.status() {
                return Some(status);
            }
            let _ = pidfd_send_signal(&self.pidfd, signal);
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok()?;
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) if signal == Signal::TERM => signal = Signal::KILL,
                Ok(0) => return self.child.wait().ok(),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Calls `ended` from the event loop when the child process with the id `process` has ended. Returns its pidfd.
///
/// # Errors
///
/// When the kernel gives no pidfd, or the event loop takes no more files.
pub(crate) fn watch_end(
    handle: &LoopHandle,
    process: u32,
    mut ended: impl FnMut(&mut State) + 'static,
) -> anyhow::Result<OwnedFd> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.context("the process has no valid process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let watched = Generic::new(pidfd.try_clone()?, Interest::READ, Mode::Level);
    handle
        .insert_source(watched, move |_, _, state| {
            ended(state);
            Ok(PostAction::Remove)
        })
        .map_err(|error| anyhow::Error::msg(error.error.to_string()))?;
    Ok(pidfd)
}

/// Converts an exit status to an exit code, as shells do. A command that a signal ended has the exit code 128 plus the signal
/// number.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
