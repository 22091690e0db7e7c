//! `vm shell`: a person's shell in the guest.

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

use super::run::Which;

/// How often the wait for output looks up: there is no deadline for a person.
const MOMENT: Duration = Duration::from_secs(3600);

/// Which guest.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let guest = arguments.which.boot()?;
    // The board has busybox's alone.
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
        let raw = Raw::begin()?;
        let process = guest.start(shell)?;
        watch_signals(process.input(), raw.before.clone())?;
        feed(process.input());
        show(process)?
    } else {
        // A script on stdin: no terminal, no prompt.
        let process = guest.start(Exec {
            argv: vec![program.into()],
            ..shell
        })?;
        feed(process.input());
        show(process)?
    };
    guest.sync()?;
    guest.stop()?;
    Ok(ExitCode::from(status))
}

fn show(mut process: Process) -> anyhow::Result<u8> {
    loop {
        match process.next(MOMENT) {
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

fn feed(input: Input) {
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

/// Follows the terminal's size, and gives the terminal back before a signal ends this program.
fn watch_signals(input: Input, before: Termios) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGWINCH, SIGTERM, SIGHUP, SIGINT]).context("watch signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            if signal == SIGWINCH {
                // A guest that is gone needs no size.
                let _ = input.resize(window());
                continue;
            }
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

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

/// The terminal passes every key on, until this is dropped.
#[derive(Debug)]
struct Raw {
    before: Termios,
}

impl Raw {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("ask the terminal for its mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("set the terminal's mode")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
