//! `vm run`: one command in the guest, as a script would run it here.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use covalent_tests::vm::accel::Accelerator;
use covalent_tests::vm::config::{Config, Memory, Size};
use covalent_tests::vm::guest::{Boot, Guest};
use covalent_tests::vm::image::Image;
use covalent_tests::vm::link::{Event, Input, Process};
use covalent_tests::vm::platform::Platform;
use covalent_tests::vm::progress::Progress;
use covalent_tests::vm::qemu::Machine;
use covalent_tests::vm::{build, devicetree::Devicetree, image};
use covalent_tests::wire::{Exec, Stream};

/// The exit status of a command that met its deadline, as `timeout` tells it.
const DEADLINE_STATUS: u8 = 124;

/// The exit status of a command whose reader has gone, as a shell tells it.
const BROKEN_PIPE_STATUS: u8 = 128 + 13;

/// Which guest.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its configuration.
    #[arg(long, value_enum, default_value_t = Config::Virtio)]
    config: Config,
    /// Its memory, such as 2G or 1536M.
    #[arg(long, default_value_t)]
    memory: Memory,
    /// The size of its display in pixels.
    #[arg(long, default_value_t)]
    size: Size,
    /// Its clock counts instructions, each a nanosecond, of one emulated processor.
    #[arg(long)]
    counted: bool,
    /// An overlay's source, laid over the tree that QEMU makes in place of the usual ones; may be given again. Of the board alone.
    #[arg(long, value_name = "FILE.dts")]
    overlay: Vec<PathBuf>,
    /// Shows its display in a window of this desktop.
    #[arg(long)]
    watch: bool,
    /// A folder for what is left in `$OUT`; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The folder whose `bin` holds the project's programs; they are compiled where it is absent.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// How long the command may run, such as 90, 90s, 15m or 2h. Then it is ended and the exit status is 124.
    #[arg(long, default_value = "15m", value_parser = duration)]
    deadline: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Which {
    /// Boots it, and makes first what it needs.
    pub(crate) fn boot(&self) -> anyhow::Result<Guest> {
        let progress = Progress::stderr();
        let options = image::Options::default();
        let image = image::ensure_with(self.config.platform(), options, &progress)?;
        let programs = match &self.programs {
            Some(folder) => folder
                .canonicalize()
                .with_context(|| format!("the folder of programs, {}", folder.display()))?,
            None => build::programs(&image, &[])?,
        };
        let mut boot = Boot::new(self.config, &programs);
        boot.machine.memory = self.memory;
        boot.machine.size = self.size;
        boot.accelerator = self.counted.then_some(Accelerator::Counted);
        boot.machine.watch = self.watch;
        if let Some(out) = &self.out {
            let named = || format!("the folder for $OUT, {}", out.display());
            std::fs::create_dir_all(out).with_context(named)?;
            boot.machine.out = Some(out.canonicalize().with_context(named)?);
        }
        if !self.overlay.is_empty() {
            boot.machine.devicetree = Some(self.tree(&image, &boot.machine)?);
        }
        // Where stderr is a file it holds what the command writes, and nothing else.
        let quiet = if io::stderr().is_terminal() {
            progress
        } else {
            Progress::silent()
        };
        let step = quiet.step(&format!(
            "boot the guest ({}, {})",
            self.config, self.memory
        ));
        let guest = Guest::boot(&image, &boot)?;
        step.done();
        Ok(guest)
    }

    /// QEMU's own tree with the overlays that were asked for.
    fn tree(&self, image: &Image, machine: &Machine) -> anyhow::Result<Devicetree> {
        ensure!(
            self.config.platform() == Platform::Board,
            "a guest of configuration {} has no devicetree; --config board has one",
            self.config
        );
        let mut tree = Devicetree::from_qemu(image, machine)?;
        for path in &self.overlay {
            let named = || format!("the overlay {}", path.display());
            let source = std::fs::read_to_string(path).with_context(named)?;
            tree = tree.with_overlay(&source).with_context(named)?;
        }
        Ok(tree)
    }
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let guest = arguments.which.boot()?;
    let process = guest.start(Exec {
        argv: arguments.command,
        ..Exec::default()
    })?;
    feed(process.input());
    let status = match forward(process, arguments.deadline) {
        // Who reads has seen enough, as with `head`: the end of a command is no news then.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(BROKEN_PIPE_STATUS),
        status => status?,
    };
    guest.sync()?;
    guest.stop()?;
    Ok(status)
}

/// Passes this program's input on, in a thread that nobody waits for: it may be blocked on a pipe that never ends.
fn feed(input: Input) {
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        if stdin.is_terminal() {
            return input.close();
        }
        let mut chunk = vec![0; 64 << 10];
        loop {
            match stdin.read(&mut chunk) {
                Ok(0) | Err(_) => return input.close(),
                Ok(read) => input.write_all(&chunk[..read], Duration::MAX)?,
            }
        }
    });
}

/// Passes the command's output on until it ends.
fn forward(mut process: Process, limit: Duration) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + limit;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            process.kill()?;
            writeln!(
                stderr,
                "error: the command ran longer than {} s and was ended",
                limit.as_secs()
            )?;
            return Ok(ExitCode::from(DEADLINE_STATUS));
        }
        match process.next(left) {
            Ok(Event::Wrote(Stream::Out, bytes)) => {
                stdout.write_all(&bytes).context("write to stdout")?;
                stdout.flush().context("write to stdout")?;
            }
            Ok(Event::Wrote(Stream::Error, bytes)) => {
                stderr.write_all(&bytes).context("write to stderr")?
            }
            Ok(Event::Ended(status)) => return Ok(ExitCode::from(status.as_shell())),
            Err(covalent_tests::vm::link::LinkError::Deadline { .. }) => {}
            Err(error) => bail!(error),
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) if text.ends_with('h') => (digits, 3600),
        Some(digits) => (digits, 1),
        None => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|seconds| (1..=7 * 24 * 3600).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is no deadline: write 90, 90s, 15m or 2h, a week at most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_words_become_seconds() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "0", "-1", "1d", "m", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
