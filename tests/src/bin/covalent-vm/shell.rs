//! `vm shell`: an interactive shell in the guest.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use covalent_tests::vm::link::{Event, Input, LinkError, Process};
use covalent_tests::vm::platform::Platform;
use covalent_tests::wire::{Exec, Window};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::run::GuestArguments;

/// The timeout of one wait for output. An interactive shell has no deadline, so the wait is repeated after the timeout.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(3600);

/// The options of `vm shell`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: GuestArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let guest = arguments.which.boot()?;
    // On the board the only shell is that of busybox.
    let program = match guest.config().platform() {
        Platform::Pc => "bash",
        Platform::Board => "sh",
    };
    let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut env = BTreeMap::new();
    if let Some(name) = std::env::var_os("TERM") {
        env.insert("TERM".into(), name);
    }
    let shell = Exec {
        argv: vec![program.into(), "-i".into()],
        env,
        terminal: on_terminal.then(window),
        ..Exec::default()
    };
    let status = if on_terminal {
        let raw = RawTerminal::begin()?;
        let process = guest.start(shell)?;
        watch_signals(process.input(), raw.before.clone())?;
        forward_stdin(process.input());
        forward_output(process)?
    } else {
        // stdin is not a terminal but a script, so the shell gets no terminal and prints no prompt.
        let process = guest.start(Exec {
            argv: vec![program.into()],
            ..shell
        })?;
        forward_stdin(process.input());
        forward_output(process)?
    };
    guest.sync()?;
    guest.stop()?;
    Ok(ExitCode::from(status))
}

/// Prints the shell's output until the shell ends. Returns its exit status.
fn forward_output(mut process: Process) -> anyhow::Result<u8> {
    loop {
        match process.next(OUTPUT_TIMEOUT) {
            Ok(Event::Wrote(stream, bytes)) => {
                let mut stdout = io::stdout().lock();
                let mut stderr = io::stderr().lock();
                let to: &mut dyn io::Write = match stream {
                    covalent_tests::wire::Stream::Out => &mut stdout,
                    covalent_tests::wire::Stream::Error => &mut stderr,
                };
                to.write_all(&bytes)
                    .and_then(|()| to.flush())
                    .context("write to the terminal")?;
            }
            Ok(Event::Ended(status)) => return Ok(status.as_shell()),
            Err(LinkError::Deadline { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends this program's stdin to the shell, in a thread.
fn forward_stdin(input: Input) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        loop {
            match io::stdin().lock().read(&mut chunk) {
                Ok(0) | Err(_) => return input.close(),
                Ok(read) => input.write_all(&chunk[..read], Duration::MAX)?,
            }
        }
    });
}

/// Forwards changes of the terminal's size to the guest, and restores the terminal's mode before a signal ends this program.
fn watch_signals(input: Input, before: Termios) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGWINCH, SIGTERM, SIGHUP, SIGINT]).context("watch signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            if signal == SIGWINCH {
                // The call fails only if the guest has ended.
                let _ = input.resize(window());
                continue;
            }
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Returns the size of the terminal.
fn window() -> Window {
    tcgetwinsize(io::stdout()).map_or(
        Window {
            rows: 24,
            columns: 80,
        },
        |size| Window {
            rows: size.ws_row,
            columns: size.ws_col,
        },
    )
}

/// Sets the terminal to raw mode. The earlier mode is restored when this is dropped.
#[derive(Debug)]
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets the terminal to raw mode until the result is dropped.
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("set the terminal's mode")?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The call fails only if the terminal was closed.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
