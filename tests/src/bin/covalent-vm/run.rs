//! `vm run`: runs one command in the guest, with this program's stdin, stdout and stderr.

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
use covalent_tests::vm::guest::{BootOptions, Guest};
use covalent_tests::vm::image::Image;
use covalent_tests::vm::kernel::Kernel;
use covalent_tests::vm::link::{Event, Input, Process};
use covalent_tests::vm::platform::Platform;
use covalent_tests::vm::progress::Progress;
use covalent_tests::vm::qemu::Machine;
use covalent_tests::vm::{build, devicetree::Devicetree, image};
use covalent_tests::wire::{Exec, Stream};

/// The exit status of a command that ran longer than its deadline. `timeout` uses the same status.
const DEADLINE_STATUS: u8 = 124;

/// The exit status if the reader of the output closed the pipe. A shell returns the same status for a program that SIGPIPE
/// killed.
const BROKEN_PIPE_STATUS: u8 = 128 + 13;

/// The options that select the guest.
#[derive(Debug, Args)]
pub(crate) struct GuestArguments {
    /// Boot this configuration.
    #[arg(long, value_enum, default_value_t = Config::Virtio)]
    config: Config,
    /// Boot Debian's kernel of this series: 6.1 of Debian 12 (bookworm), 6.12 of Debian 13 (trixie) or 7.3 of trixie-backports.
    /// The first use of an older kernel downloads 150 MB and compiles the modules that Debian leaves out, in about two minutes; a
    /// module that cannot be compiled for a kernel is reported and left out. Default: the kernel of the image. Not for the board.
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Give the guest the programs of other projects: Weston, sway, cage, labwc, GStreamer, FFmpeg, mpv, foot, glmark2, and the
    /// demos of GTK 4 and SDL 2. The first use downloads about 120 MB. Only with the image's own kernel, and not for the board.
    #[arg(long, conflicts_with = "kernel")]
    peers: bool,
    /// Boot with this memory size, such as 2G or 1536M.
    #[arg(long, default_value_t)]
    memory: Memory,
    /// Boot with this display size, in pixels.
    #[arg(long, default_value_t)]
    size: Size,
    /// Boot with one emulated CPU whose clock advances one nanosecond for each instruction.
    #[arg(long)]
    counted: bool,
    /// Apply this devicetree overlay to QEMU's tree instead of the default overlays; may be repeated. Only for the board.
    #[arg(long, value_name = "FILE.dts")]
    overlay: Vec<PathBuf>,
    /// Show the display in a window of this desktop.
    #[arg(long)]
    watch: bool,
    /// Copy the files in `$OUT` to this folder, which is created if it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Use the project's programs in `bin` of this folder; by default they are compiled.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The options of `vm run`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: GuestArguments,
    /// Kill the command after this time, such as 90, 90s, 15m or 2h; the exit status is then 124.
    #[arg(long, default_value = "15m", value_parser = duration)]
    deadline: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl GuestArguments {
    /// Boots the guest. Builds the image and compiles the programs first if they are missing.
    pub(crate) fn boot(&self) -> anyhow::Result<Guest> {
        let progress = Progress::stderr();
        ensure!(
            self.config.platform() == Platform::Pc || self.kernel.is_none(),
            "the board boots only the kernel of its own image; omit --kernel"
        );
        ensure!(
            self.config.platform() == Platform::Pc || !self.peers,
            "the programs of other projects run only on the PC, and not on the board; omit --peers"
        );
        let kernel = self.kernel.unwrap_or_default();
        let options = image::Options {
            kernel,
            peers: self.peers,
            ..image::Options::default()
        };
        let image = image::ensure_with(self.config.platform(), options, &progress)?;
        ensure!(
            self.kernel.is_none() || kernel.is_of_series(&image.versions.kernel),
            "the release of Debian that had Linux {kernel} now has Linux {}; omit --kernel to boot the image's kernel",
            image.versions.kernel
        );
        let programs = match &self.programs {
            Some(folder) => folder
                .canonicalize()
                .with_context(|| format!("the folder of programs, {}", folder.display()))?,
            None => build::programs(&image, &[])?,
        };
        let mut boot = BootOptions::new(self.config, &programs);
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
        // If stderr is not a terminal, only the command writes to it, and no progress is shown.
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

    /// Returns QEMU's own devicetree with the overlays that `--overlay` names.
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
    forward_stdin(process.input());
    let status = match forward_output(process, arguments.deadline) {
        // The reader of the output closed the pipe, as `head` does, so the command's exit status is not forwarded.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(BROKEN_PIPE_STATUS),
        status => status?,
    };
    guest.sync()?;
    guest.stop()?;
    Ok(status)
}

/// Forwards stdin to the command in a detached thread, because a read from stdin may block for ever.
fn forward_stdin(input: Input) {
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

/// Forwards the command's output until the command ends, and returns its exit status.
fn forward_output(mut process: Process, limit: Duration) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + limit;
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            process.kill()?;
            writeln!(
                stderr,
                "error: the command ran longer than {} s and was killed",
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

/// Parses a duration such as `90s`, `5m` or `1h`.
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
        .ok_or_else(|| {
            format!("{text:?} is not a deadline: write 90, 90s, 15m or 2h, a week at most")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_with_and_without_a_unit_is_parsed() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "0", "-1", "1d", "m", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
