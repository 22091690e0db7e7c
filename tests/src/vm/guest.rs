//! A guest that runs: commands, files, what its display shows.
//!
//! ```no_run
//! use covalent_tests::vm::config::Config;
//! use covalent_tests::vm::guest::{Boot, Guest};
//! use covalent_tests::vm::progress::Progress;
//! use covalent_tests::vm::{build, image};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = image::ensure(&Progress::stderr())?;
//! let programs = build::binaries(&image.root, &[])?;
//! let guest = Guest::boot(&image, &Boot::new(Config::Virtio, &programs))?;
//! let output = guest.sh("uname -r", Duration::from_secs(10))?;
//! println!("{}", output.text());
//! guest.stop()?;
//! # Ok(())
//! # }
//! ```

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use image::RgbImage;

use super::accel::{self, Accelerator};
use super::cache::{Cache, CacheError};
use super::config::{Config, Memory, Size};
use super::console::{keep_log, standstill};
use super::devicetree::{Devicetree, DevicetreeError};
use super::image::Image;
use super::link::{Link, LinkError, Output, Process};
use super::out::Out;
use super::platform::Platform;
use super::qemu::{Machine, Qemu, has_desktop};
use super::qmp::{Qmp, QmpError};
use crate::wire::{Exec, Prepare, Ready, VERSION};

/// How long a guest may take to be ready. Emulated in software it needs 20 seconds of CPU time, which on a machine that
/// ten others share are minutes. A guest that breaks is noticed at once: its kernel panics, and QEMU ends.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// How long a guest may take to switch itself off.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How long QEMU may take to end when it is told to.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// How long a file may take on its way.
const FILE_LIMIT: Duration = Duration::from_secs(120);

/// The guest's name.
const HOSTNAME: &str = "covalent";

/// The display of a configuration, for QEMU's monitor.
pub const DISPLAY: &str = "display";

/// Whether a kernel that did not start ran into the breakpoint that stands for an instruction while it is patched.
///
/// On hardware the other processors see the breakpoint and the kernel's handler goes on. QEMU's emulation with a thread for each
/// processor has been seen to take the handler's answer away between the two, once in some hundred boots of a busy machine.
fn is_half_patched(console: &str) -> bool {
    console.contains("Oops: int3:")
}

/// What goes wrong with a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// This machine cannot have such a guest.
    #[error("no guest of configuration {config} here: {reason}")]
    Unavailable {
        /// The configuration.
        config: Config,
        /// What is missing.
        reason: String,
    },
    /// QEMU could not be started.
    #[error("start QEMU: {0}")]
    Start(#[source] io::Error),
    /// The guest did not become ready.
    #[error("the guest ({config}, {memory}) did not start: {source}\nthe end of its log (all of it: {}):\n{tail}", .log.display())]
    Boot {
        /// The configuration.
        config: Config,
        /// Its memory.
        memory: Memory,
        /// What was noticed.
        source: Box<GuestError>,
        /// The last lines of its console.
        tail: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// The folder that it shares with its host cannot be shared, or what is in it not be made fit for the host.
    #[error("the folder for $OUT: {0}")]
    Shared(#[source] io::Error),
    /// The guest ended while it was needed.
    #[error("{source}\nthe end of its log (all of it: {}):\n{tail}", .log.display())]
    Gone {
        /// What was noticed.
        source: LinkError,
        /// The last lines of its console.
        tail: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// The guest did not do what it was asked.
    #[error(transparent)]
    Link(LinkError),
    /// QEMU did not do what it was asked.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// A file could not be carried.
    #[error("{operation} {path} in the guest: {words}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: String,
        /// Why it failed, in the guest's words.
        words: String,
    },
    /// The guest would not end by itself; it was ended.
    #[error("the guest did not switch itself off within {} s and was ended", STOP_LIMIT.as_secs())]
    NotStopped,
    /// The board's devicetree cannot be made.
    #[error("the board's devicetree: {0}")]
    Devicetree(#[from] DevicetreeError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What to boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The machine.
    pub machine: Machine,
    /// What makes its CPU; found out where it is absent.
    pub accelerator: Option<Accelerator>,
    /// How long it may take to be ready.
    pub limit: Duration,
}

impl Boot {
    /// A guest of this configuration, with the programs in the folder `share`.
    #[must_use]
    pub fn new(config: Config, share: &Path) -> Self {
        Self {
            machine: Machine {
                config,
                memory: Memory::default(),
                size: Size::default(),
                contiguous_mebibytes: 128,
                share: share.to_owned(),
                out: None,
                watch: false,
                devicetree: None,
            },
            accelerator: None,
            limit: BOOT_LIMIT,
        }
    }
}

/// A guest that is ready for commands. Dropped, it ends at once; [`Guest::stop`] switches it off.
#[derive(Debug)]
pub struct Guest {
    config: Config,
    link: Link,
    monitor: Mutex<Qmp>,
    qemu: Mutex<Qemu>,
    ready: Ready,
    accelerator: Accelerator,
    /// Behind QEMU: what the guest has left is settled when nobody adds to it.
    out: Option<Out>,
}

impl Guest {
    /// Boots a guest and waits until it is ready.
    ///
    /// # Errors
    /// Where this machine cannot have it, or it is not ready in time; the error shows the end of its console, and the
    /// whole lies in the cache.
    pub fn boot(image: &Image, boot: &Boot) -> Result<Self, GuestError> {
        let config = boot.machine.config;
        if let Some(reason) = unavailable(image, &boot.machine) {
            return Err(GuestError::Unavailable { config, reason });
        }
        let accelerator = match boot.accelerator {
            Some(accelerator) => accelerator,
            None => accelerator(image, boot)?,
        };
        let mut boot = boot.clone();
        boot.machine.devicetree = Devicetree::chosen(image, &boot.machine)?;
        let mut booted = Self::boot_with(image, &boot, accelerator);
        if let Err(GuestError::Boot { log, .. }) = &booted {
            let console = std::fs::read(log).unwrap_or_default();
            if is_half_patched(&String::from_utf8_lossy(&console)) {
                tracing::warn!(
                    "the kernel ran into an instruction that it was patching; booting again"
                );
                booted = Self::boot_with(image, &boot, accelerator);
            }
        }
        if matches!(booted, Err(GuestError::Boot { .. })) {
            // The next run reads every byte of the image. Where that cannot be asked for, this error says more.
            let _ = image.suspect();
        }
        booted
    }

    fn boot_with(image: &Image, boot: &Boot, accelerator: Accelerator) -> Result<Self, GuestError> {
        let machine = &boot.machine;
        let out = machine.out.as_deref().map(Out::open).transpose();
        let out = out.map_err(GuestError::Shared)?;
        let (qemu, sockets) =
            Qemu::start(image, machine, accelerator).map_err(GuestError::Start)?;
        let spare = sockets.monitor.try_clone().map_err(GuestError::Start)?;
        let connect = || -> Result<(Link, Ready, Qmp), GuestError> {
            // The guest first: QEMU's monitor answers only while QEMU lives, and has less to tell.
            let link = Link::new(sockets.port).map_err(GuestError::Link)?;
            let prepare = Prepare {
                version: VERSION,
                hostname: HOSTNAME.to_owned(),
                modules: machine.config.modules(),
                shared_out: machine.out.is_some(),
            };
            let ready = link
                .prepare(prepare, boot.limit)
                .map_err(GuestError::Link)?;
            Ok((link, ready, Qmp::new(sockets.monitor)?))
        };
        match connect() {
            Ok((link, ready, monitor)) => Ok(Self {
                config: machine.config,
                link,
                monitor: Mutex::new(monitor),
                qemu: Mutex::new(qemu),
                ready,
                accelerator,
                out,
            }),
            Err(source) => {
                let (mut tail, log) = keep_log(&qemu, machine.config);
                if let Some(words) = standstill(spare, &log) {
                    tail = format!("{tail}\n{words}");
                }
                Err(GuestError::Boot {
                    config: machine.config,
                    memory: machine.memory,
                    source: Box::new(source),
                    tail,
                    log,
                })
            }
        }
    }

    /// The guest's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    /// What the guest has said of itself when it was ready.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// What makes its CPU.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// The process on the host that holds all of the guest.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        lock(&self.qemu).id()
    }

    /// Starts a command and does not wait for it. See [`Link::start`].
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start(&self, exec: Exec) -> Result<Process, GuestError> {
        self.link.start(exec).map_err(|error| self.explain(error))
    }

    /// Runs a command to its end. See [`Link::run`].
    ///
    /// # Errors
    /// Where the guest is gone, or the command runs longer than `limit`; then it has been ended.
    pub fn run(&self, exec: Exec, input: &[u8], limit: Duration) -> Result<Output, GuestError> {
        let result = self.link.run(exec, input, limit);
        result.map_err(|error| self.explain(error))
    }

    /// Runs a line of shell to its end.
    ///
    /// # Errors
    /// Those of [`Guest::run`].
    pub fn sh(&self, line: &str, limit: Duration) -> Result<Output, GuestError> {
        self.run(shell(line), b"", limit)
    }

    /// Writes a file in the guest, which appears there when it is complete.
    ///
    /// # Errors
    /// Where the guest cannot write it.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), GuestError> {
        let mode = format!("{mode:o}");
        self.carry("write", path, &["put", path, &mode], bytes)
            .map(|_| ())
    }

    /// Reads a file in the guest.
    ///
    /// # Errors
    /// Where the guest cannot read it.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, GuestError> {
        self.carry("read", path, &["get", path], b"")
    }

    fn carry(
        &self,
        operation: &'static str,
        path: &str,
        words: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, GuestError> {
        let mut argv = vec![OsString::from("covalent-guest")];
        argv.extend(words.iter().map(OsString::from));
        let exec = Exec {
            argv,
            ..Exec::default()
        };
        let output = self.run(exec, input, FILE_LIMIT)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(GuestError::File {
            operation,
            path: path.to_owned(),
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// What the guest's display shows now, as QEMU sees it.
    ///
    /// # Errors
    /// Where QEMU has no picture of it; see [`Config::has_screendump`].
    pub fn screendump(&self) -> Result<RgbImage, GuestError> {
        Ok(self.monitor().screendump(DISPLAY)?)
    }

    /// QEMU's monitor.
    pub fn monitor(&self) -> MutexGuard<'_, Qmp> {
        lock(&self.monitor)
    }

    /// Writes all that commands have left to the disk and to the shared folder.
    ///
    /// # Errors
    /// Where the guest is gone or hangs.
    pub fn sync(&self) -> Result<(), GuestError> {
        let result = self.link.sync(FILE_LIMIT);
        result.map_err(|error| self.explain(error))?;
        let out = self.out.as_ref();
        out.map_or(Ok(()), Out::settle).map_err(GuestError::Shared)
    }

    /// What the guest's first process did not understand, since the last call.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.link.complaints()
    }

    /// Whether the guest has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.link.is_gone()
    }

    /// What the guest's console and QEMU have said so far.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn console(&self) -> io::Result<Vec<u8>> {
        lock(&self.qemu).log()
    }

    /// Switches the guest off.
    ///
    /// # Errors
    /// Where it had to be ended from outside.
    pub fn stop(self) -> Result<(), GuestError> {
        let qemu = &mut *lock(&self.qemu);
        // Where it is gone already, so much the better.
        let _ = self.link.power_off();
        // For who wonders afterwards what the kernel had to say.
        keep_log(qemu, self.config);
        if qemu.wait(STOP_LIMIT).map_err(GuestError::Start)?.is_some() {
            return Ok(());
        }
        let _ = lock(&self.monitor).quit();
        if qemu.wait(QUIT_LIMIT).map_err(GuestError::Start)?.is_none() {
            qemu.kill().map_err(GuestError::Start)?;
        }
        Err(GuestError::NotStopped)
    }

    /// Adds what the console says to the news that the guest is gone.
    fn explain(&self, error: LinkError) -> GuestError {
        if !matches!(error, LinkError::Gone { .. }) {
            return GuestError::Link(error);
        }
        let mut qemu = lock(&self.qemu);
        // Its last words are complete when it has ended.
        let _ = qemu.wait(QUIT_LIMIT);
        let (tail, log) = keep_log(&qemu, self.config);
        GuestError::Gone {
            source: error,
            tail,
            log,
        }
    }
}

/// A command that is a line of shell.
#[must_use]
pub fn shell(line: &str) -> Exec {
    Exec {
        argv: vec!["sh".into(), "-c".into(), line.into()],
        ..Exec::default()
    }
}

/// Why this machine cannot have such a guest, if so.
#[must_use]
pub fn unavailable(image: &Image, machine: &Machine) -> Option<String> {
    let lacks = |program: &str| !image.root.folder().join("usr/bin").join(program).exists();
    if machine.watch && !has_desktop(|name| std::env::var_os(name)) {
        return Some(
            "there is no desktop to show a window on (neither DISPLAY nor WAYLAND_DISPLAY is set)"
                .to_owned(),
        );
    }
    if machine.config.needs_screen() && !machine.watch && lacks("Xvfb") {
        return Some("the root has no Xvfb, under which QEMU draws by GL".to_owned());
    }
    None
}

fn accelerator(image: &Image, boot: &Boot) -> Result<Accelerator, GuestError> {
    if image.platform == Platform::Board {
        return Ok(Accelerator::Tcg);
    }
    let cache = Cache::from_environment()?;
    let trial = || {
        let mut trial = Boot::new(Config::Bochs, &boot.machine.share);
        trial.limit = accel::TRIAL;
        let result = Guest::boot_with(image, &trial, Accelerator::Kvm);
        if let Err(error) = &result {
            tracing::info!("KVM does not work here: {error}");
        }
        result.is_ok()
    };
    Ok(accel::choose(cache.folder(), &image.versions.qemu, trial))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that died in the middle has left a closed stream at worst, and the next use says so.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_of_a_half_patched_kernel_is_known() {
        let oops = "[    3.135683] Oops: int3: 0000 [#1] SMP NOPTI\n";
        assert!(is_half_patched(oops));
        assert!(!is_half_patched("[    3.1] Oops: 0000 [#1] SMP\n"));
        assert!(!is_half_patched(""));
    }
}
