//! The command that the compositor was started for.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::limits::as_started;
use crate::state::State;

/// How long the command may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// A started command; the event loop ends when it does.
#[derive(Debug)]
pub struct Command {
    child: Child,
    pidfd: OwnedFd,
}

impl Command {
    /// Starts a command that finds the compositor by `socket`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        handle: &LoopHandle<'static, State>,
        program: &OsStr,
        arguments: &[OsString],
        socket: &str,
    ) -> anyhow::Result<Self> {
        let mut command = std::process::Command::new(program);
        command.args(arguments).env("WAYLAND_DISPLAY", socket);
        let mut child = as_started(|| command.spawn())
            .with_context(|| format!("{} cannot be started", program.to_string_lossy()))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid
            .context("the command has no process")
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let pidfd = match pidfd {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context("the command cannot be watched"));
            }
        };
        handle
            .insert_source(
                Generic::new(
                    pidfd.try_clone().context("the command cannot be watched")?,
                    Interest::READ,
                    Mode::Level,
                ),
                |_, _, state| {
                    state.signal.stop();
                    Ok(PostAction::Remove)
                },
            )
            .map_err(|error| anyhow::anyhow!("the command cannot be watched: {}", error.error))?;
        Ok(Self { child, pidfd })
    }

    /// Returns how the command ended; `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks the command to end if it still runs, waits a little, and then ends it; returns how it ended.
    pub fn end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
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

/// Turns the way a command ended into an exit code, as shells do.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
