//! A running guest: commands, files, and pictures of its display.
//!
//! ```no_run
//! use covalent_tests::vm::config::Config;
//! use covalent_tests::vm::guest::{BootOptions, Guest};
//! use covalent_tests::vm::progress::Progress;
//! use covalent_tests::vm::{build, image};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = image::ensure(&Progress::stderr())?;
//! let programs = build::binaries(&image.root, &[])?;
//! let guest = Guest::boot(&image, &BootOptions::new(Config::Virtio, &programs))?;
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
use super::availability::loaded_modules;
pub use super::availability::unavailable;
use super::cache::{Cache, CacheError};
use super::config::{Config, Memory, Size};
use super::console::{append_registers, save_log};
use super::devicetree::{Devicetree, DevicetreeError};
use super::image::Image;
use super::link::{Link, LinkError, Output, Process};
use super::platform::Platform;
use super::qemu::{Machine, Qemu};
use super::qmp::{Qmp, QmpError};
use super::shared_folder::SharedFolder;
use crate::wire::{Exec, Prepare, Ready, VERSION};

/// The time limit of a boot. An emulated boot needs 20 seconds of CPU time, which takes minutes on a machine that many programs
/// use. A kernel that panics ends QEMU, so a broken guest is detected at once.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// The time limit of the first attempt to boot. With QEMU's emulation with a thread for each processor, a kernel sometimes hangs
/// before its first line on the console: both processors then run with interrupts off, in `multi_cpu_stop` and in the function
/// that it calls. This happens once in a few hundred boots. The second attempt may take the whole time of the limit.
const FIRST_BOOT_LIMIT: Duration = Duration::from_secs(200);

/// The time limit for a guest to power off.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The time limit for QEMU to end after the monitor command `quit`.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// The time limit to transfer a file.
const FILE_LIMIT: Duration = Duration::from_secs(120);

/// The guest's host name.
const HOSTNAME: &str = "covalent";

/// The id of a configuration's first display in QEMU.
pub const DISPLAY: &str = "display";

/// Returns whether a kernel's boot failed at a breakpoint that replaces an instruction while the kernel patches it.
///
/// On hardware, the other processors see the breakpoint, and the kernel's handler continues. With QEMU's emulation with a thread
/// for each processor, a processor sometimes hits the breakpoint after the handler was removed. This happens once in a few
/// hundred boots of a busy machine.
fn is_half_patched(console: &str) -> bool {
    console.contains("Oops: int3:")
}

/// The reason why a guest failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// This machine cannot run such a guest.
    #[error("this machine cannot run a guest of configuration {config}: {reason}")]
    Unavailable {
        /// The configuration of the guest.
        config: Config,
        /// The missing property of this machine.
        reason: String,
    },
    /// QEMU could not be started.
    #[error("start QEMU: {0}")]
    Start(#[source] io::Error),
    /// The guest was not ready within the time limit.
    #[error("the guest ({config}, {memory}) did not start: {source}\nthe end of the guest's log (the whole log is in {}):\n{tail}", .log.display())]
    Boot {
        /// The configuration of the guest.
        config: Config,
        /// The guest's memory.
        memory: Memory,
        /// The error that prevented the boot.
        source: Box<GuestError>,
        /// The last lines of the guest's console.
        tail: String,
        /// The file with the whole log.
        log: PathBuf,
    },
    /// The folder for `$OUT` cannot be shared, or its files cannot be made safe for the host.
    #[error("share the folder for $OUT with the guest: {0}")]
    Shared(#[source] io::Error),
    /// The guest ended while it was used.
    #[error("{source}\nthe end of the guest's log (the whole log is in {}):\n{tail}", .log.display())]
    Ended {
        /// The error of the connection.
        source: LinkError,
        /// The last lines of the guest's console.
        tail: String,
        /// The file with the whole log.
        log: PathBuf,
    },
    /// A request to the guest failed.
    #[error(transparent)]
    Link(LinkError),
    /// A request to QEMU's monitor failed.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// A file could not be transferred.
    #[error("{operation} {path} in the guest: {message}")]
    File {
        /// The operation on the file: `read` or `write`.
        operation: &'static str,
        /// The path in the guest.
        path: String,
        /// The guest's error message.
        message: String,
    },
    /// The guest did not power off by itself and was killed.
    #[error("the guest did not power off within {} s and was ended", STOP_LIMIT.as_secs())]
    NotStopped,
    /// The board's devicetree could not be built.
    #[error("build the board's devicetree: {0}")]
    Devicetree(#[from] DevicetreeError),
    /// An operation on the cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The options for booting a guest.
#[derive(Debug, Clone)]
pub struct BootOptions {
    /// The hardware of the guest.
    pub machine: Machine,
    /// The accelerator; `None` chooses it by a trial boot.
    pub accelerator: Option<Accelerator>,
    /// The time limit until the guest is ready.
    pub limit: Duration,
}

impl BootOptions {
    /// Creates the options for a guest of this configuration that runs the programs in the folder `share`.
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

/// A guest that accepts commands. When it is dropped, the guest is killed; [`Guest::stop`] powers it off.
#[derive(Debug)]
pub struct Guest {
    config: Config,
    link: Link,
    monitor: Mutex<Qmp>,
    qemu: Mutex<Qemu>,
    ready: Ready,
    accelerator: Accelerator,
    /// Declared after `qemu`, so that it is dropped after QEMU: then the guest can no longer write to the folder.
    out: Option<SharedFolder>,
}

impl Guest {
    /// Boots a guest and waits until it is ready.
    ///
    /// # Errors
    /// This machine cannot run the guest, or the guest is not ready in time. The error has the end of the console log.
    pub fn boot(image: &Image, boot: &BootOptions) -> Result<Self, GuestError> {
        let config = boot.machine.config;
        if let Some(reason) = unavailable(image, &boot.machine) {
            return Err(GuestError::Unavailable { config, reason });
        }
        let accelerator = match boot.accelerator {
            Some(accelerator) => accelerator,
            None => accelerator(image, boot)?,
        };
        let mut boot = boot.clone();
        boot.machine.devicetree = Devicetree::for_machine(image, &boot.machine)?;
        let mut first = boot.clone();
        first.limit = boot.limit.min(FIRST_BOOT_LIMIT);
        let mut booted = Self::boot_with(image, &first, accelerator);
        if let Err(GuestError::Boot { log, source, .. }) = &booted {
            let console = std::fs::read(log).unwrap_or_default();
            let is_late = matches!(**source, GuestError::Link(LinkError::Deadline { .. }));
            let why = if is_half_patched(&String::from_utf8_lossy(&console)) {
                Some("the kernel ran into an instruction that it was patching".to_owned())
            } else if is_late && first.limit < boot.limit {
                Some(format!(
                    "the guest did not start within {} s",
                    first.limit.as_secs()
                ))
            } else {
                None
            };
            if let Some(why) = why {
                tracing::warn!("{why}; booting again");
                booted = Self::boot_with(image, &boot, accelerator);
            }
        }
        if matches!(booted, Err(GuestError::Boot { .. })) {
            // The next run then reads every byte of the image. An error here is ignored, because the failed boot matters more.
            let _ = image.request_full_check();
        }
        booted
    }

    /// Starts QEMU with this accelerator, and waits until the guest is ready.
    fn boot_with(
        image: &Image,
        boot: &BootOptions,
        accelerator: Accelerator,
    ) -> Result<Self, GuestError> {
        let machine = &boot.machine;
        let out = machine.out.as_deref().map(SharedFolder::open).transpose();
        let out = out.map_err(GuestError::Shared)?;
        let (qemu, sockets) =
            Qemu::start(image, machine, accelerator).map_err(GuestError::Start)?;
        let spare = sockets.monitor.try_clone().map_err(GuestError::Start)?;
        let connect = || -> Result<(Link, Ready, Qmp), GuestError> {
            // The guest's port is connected before the monitor: QEMU's monitor answers only while QEMU runs, and its errors
            // contain less information.
            let link = Link::new(sockets.port).map_err(GuestError::Link)?;
            let prepare = Prepare {
                version: VERSION,
                hostname: HOSTNAME.to_owned(),
                modules: loaded_modules(image, machine.config),
                shared_out: machine.out.is_some(),
                second_disk: image.second_disk.as_ref().map(|(content, _)| *content),
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
                let (mut tail, log) = save_log(&qemu, machine.config);
                if let Some(registers) = append_registers(spare, &log) {
                    tail = format!("{tail}\n{registers}");
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

    /// Returns the guest's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    /// Returns the message that the guest sent when it became ready.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Returns the accelerator.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// Returns the process id, on the host, of the process whose namespace contains QEMU and all processes that it started.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        lock(&self.qemu).id()
    }

    /// Starts a command without waiting for its end. See [`Link::start`].
    ///
    /// # Errors
    /// The guest has ended.
    pub fn start(&self, exec: Exec) -> Result<Process, GuestError> {
        self.link.start(exec).map_err(|error| self.explain(error))
    }

    /// Runs a command to its end. See [`Link::run`].
    ///
    /// # Errors
    /// The guest has ended, or the command runs longer than `limit`; then the command is killed.
    pub fn run(&self, exec: Exec, input: &[u8], limit: Duration) -> Result<Output, GuestError> {
        let result = self.link.run(exec, input, limit);
        result.map_err(|error| self.explain(error))
    }

    /// Runs a shell command to its end.
    ///
    /// # Errors
    /// Those of [`Guest::run`].
    pub fn sh(&self, line: &str, limit: Duration) -> Result<Output, GuestError> {
        self.run(shell(line), b"", limit)
    }

    /// Writes a file in the guest. A rename puts the file in place when it is complete.
    ///
    /// # Errors
    /// The guest cannot write the file.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), GuestError> {
        let mode = format!("{mode:o}");
        self.transfer("write", path, &["put", path, &mode], bytes)
            .map(|_| ())
    }

    /// Reads a file in the guest.
    ///
    /// # Errors
    /// The guest cannot read the file.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, GuestError> {
        self.transfer("read", path, &["get", path], b"")
    }

    /// Runs a subcommand of `covalent-guest` that reads or writes the file at `path`.
    fn transfer(
        &self,
        operation: &'static str,
        path: &str,
        args: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, GuestError> {
        let mut argv = vec![OsString::from("covalent-guest")];
        argv.extend(args.iter().map(OsString::from));
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
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Returns QEMU's picture of what the guest's display shows now.
    ///
    /// # Errors
    /// QEMU makes no picture of this display; see [`Config::has_screendump`].
    pub fn screendump(&self) -> Result<RgbImage, GuestError> {
        Ok(self.monitor().screendump(DISPLAY)?)
    }

    /// Returns the connection to QEMU's monitor.
    pub fn monitor(&self) -> MutexGuard<'_, Qmp> {
        lock(&self.monitor)
    }

    /// Writes all files of the guest to its disk and to the shared folder, and makes the files in the shared folder safe for the
    /// host.
    ///
    /// # Errors
    /// The guest has ended, or takes too long.
    pub fn sync(&self) -> Result<(), GuestError> {
        let result = self.link.sync(FILE_LIMIT);
        result.map_err(|error| self.explain(error))?;
        let out = self.out.as_ref();
        out.map_or(Ok(()), SharedFolder::make_safe)
            .map_err(GuestError::Shared)
    }

    /// Returns the messages that the guest's first process could not handle since the last call.
    #[must_use]
    pub fn protocol_errors(&self) -> Vec<String> {
        self.link.protocol_errors()
    }

    /// Returns whether the guest has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.link.has_ended()
    }

    /// Returns the output of the guest's console and of QEMU so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn console(&self) -> io::Result<Vec<u8>> {
        lock(&self.qemu).log()
    }

    /// Powers the guest off.
    ///
    /// # Errors
    /// The guest did not power off in time and was killed.
    pub fn stop(self) -> Result<(), GuestError> {
        let qemu = &mut *lock(&self.qemu);
        // The call fails only if the guest has already ended.
        let _ = self.link.power_off();
        // The kernel's log is saved for a person who may need it later.
        save_log(qemu, self.config);
        if qemu.wait(STOP_LIMIT).map_err(GuestError::Start)?.is_some() {
            return Ok(());
        }
        let _ = lock(&self.monitor).quit();
        if qemu.wait(QUIT_LIMIT).map_err(GuestError::Start)?.is_none() {
            qemu.kill().map_err(GuestError::Start)?;
        }
        Err(GuestError::NotStopped)
    }

    /// Adds the last lines of the console to an error that the guest has ended.
    fn explain(&self, error: LinkError) -> GuestError {
        if !matches!(error, LinkError::GuestEnded { .. }) {
            return GuestError::Link(error);
        }
        let mut qemu = lock(&self.qemu);
        // The console is complete only after QEMU has ended.
        let _ = qemu.wait(QUIT_LIMIT);
        let (tail, log) = save_log(&qemu, self.config);
        GuestError::Ended {
            source: error,
            tail,
            log,
        }
    }
}

/// Returns a command that runs a line with a shell.
#[must_use]
pub fn shell(line: &str) -> Exec {
    Exec {
        argv: vec!["sh".into(), "-c".into(), line.into()],
        ..Exec::default()
    }
}

/// Returns the accelerator for the image. Whether KVM works is tried once, and the result is stored in the cache.
fn accelerator(image: &Image, boot: &BootOptions) -> Result<Accelerator, GuestError> {
    if image.platform == Platform::Board {
        return Ok(Accelerator::Tcg);
    }
    let cache = Cache::from_environment()?;
    let trial = || {
        let mut trial = BootOptions::new(Config::Bochs, &boot.machine.share);
        trial.limit = accel::TRIAL_LIMIT;
        let result = Guest::boot_with(image, &trial, Accelerator::Kvm);
        if let Err(error) = &result {
            tracing::info!("KVM does not work here: {error}");
        }
        result.is_ok()
    };
    Ok(accel::choose(cache.folder(), &image.versions.qemu, trial))
}

/// Locks a mutex, also if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // If a thread panicked while it held the lock, the stream may be closed, and the next use of the stream reports this.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_half_patched_of_an_int3_oops_is_true() {
        let oops = "[    3.135683] Oops: int3: 0000 [#1] SMP NOPTI\n";
        assert!(is_half_patched(oops));
        assert!(!is_half_patched("[    3.1] Oops: 0000 [#1] SMP\n"));
        assert!(!is_half_patched(""));
    }
}
