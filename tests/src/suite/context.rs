//! The context of a case: a guest, which is booted when it is first used, and a folder for files that a person may inspect after
//! the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::interop::{Row, Skips};
use crate::vm::accel::Accelerator;
use crate::vm::build;
use crate::vm::guest::{BootOptions, Guest};
use crate::vm::image::Image;
use crate::vm::link::Output;

use super::{Needs, Outcome};

/// The process id of the running case's QEMU, so that another thread can kill it when the time limit has passed.
pub(super) type GuestProcessId = Arc<Mutex<Option<u32>>>;

/// The context in which cases run. Consecutive cases with the same needs share one context.
#[derive(Debug)]
pub struct TestContext<'image> {
    image: &'image Image,
    share: PathBuf,
    needs: Needs,
    guest: Option<Guest>,
    guest_process: GuestProcessId,
    artefacts: PathBuf,
    full: bool,
    skipped_checks: usize,
}

impl<'image> TestContext<'image> {
    pub(super) fn new(
        image: &'image Image,
        share: &Path,
        needs: Needs,
        full: bool,
        guest_process: GuestProcessId,
    ) -> Self {
        Self {
            image,
            share: share.to_owned(),
            needs,
            guest: None,
            guest_process,
            artefacts: PathBuf::new(),
            full,
            skipped_checks: 0,
        }
    }

    /// Prepares the context for the next case.
    pub(super) fn prepare_for(&mut self, folder: &Path, case: &str) {
        self.artefacts = folder.join(case.replace("::", "-"));
        self.skipped_checks = 0;
    }

    /// Returns how many checks within this case were skipped and have an entry in a committed list.
    pub(super) fn skipped_checks(&self) -> usize {
        self.skipped_checks
    }

    /// Checks the rows that a program reported in this guest against the list of skips, and counts the skipped rows.
    ///
    /// # Errors
    /// The error of [`Skips::check`].
    pub fn judge(&mut self, skips: &Skips, rows: &[Row]) -> anyhow::Result<Outcome> {
        let skipped = skips
            .check(self.needs.config.name(), rows)
            .map_err(anyhow::Error::msg)?;
        self.skipped_checks = self.skipped_checks.saturating_add(skipped);
        Ok(Outcome::Passed)
    }

    /// Returns the guest. If no guest runs, boots one.
    ///
    /// # Errors
    /// The guest does not boot. If this machine cannot run such a guest, the error makes the case skipped.
    pub fn guest(&mut self) -> anyhow::Result<&Guest> {
        match self.guest.take() {
            Some(guest) if !guest.has_ended() => Ok(self.guest.insert(guest)),
            _ => {
                let guest = Guest::boot(self.image, &self.boot())?;
                *self
                    .guest_process
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(guest.process_id());
                Ok(self.guest.insert(guest))
            }
        }
    }

    /// Boots a guest that no other case has used, and returns it.
    ///
    /// # Errors
    /// Those of [`TestContext::guest`].
    pub fn fresh_guest(&mut self) -> anyhow::Result<&Guest> {
        self.discard();
        self.guest()
    }

    /// Kills the guest. The next use of the context boots another guest.
    pub fn discard(&mut self) {
        *self
            .guest_process
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.guest = None;
    }

    /// Shuts the guest down.
    ///
    /// # Errors
    /// Those of [`Guest::stop`]: the guest did not shut down by itself and was killed.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        *self
            .guest_process
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        match self.guest.take() {
            Some(guest) => Ok(guest.stop()?),
            None => Ok(()),
        }
    }

    /// Returns the boot options of this context's guest, for cases that boot further guests.
    #[must_use]
    pub fn boot(&self) -> BootOptions {
        let mut boot = BootOptions::new(self.needs.config, &self.share);
        boot.machine.memory = self.needs.memory;
        boot.machine.size = self.needs.size;
        boot.machine.contiguous_mebibytes = self.needs.contiguous_mebibytes;
        boot.accelerator = self.needs.counted.then_some(Accelerator::Counted);
        boot
    }

    /// Returns the image that guests are booted from.
    #[must_use]
    pub fn image(&self) -> &'image Image {
        self.image
    }

    /// Returns the folder with the programs that this context's guests run.
    #[must_use]
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// Returns whether `--full` was given; a case may then run longer and with more variants.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Compiles the program `name` with one more feature, written `package/feature`, and copies it to the folder `to` in the
    /// guest.
    ///
    /// # Errors
    /// The program does not compile, or the guest cannot write it.
    pub fn put_variant(&mut self, name: &str, feature: &str, to: &str) -> anyhow::Result<()> {
        let program = build::variant(&self.image.root, name, feature)?;
        let bytes = fs::read(&program).with_context(|| format!("read {}", program.display()))?;
        let guest = self.guest()?;
        run_checked(guest, &format!("mkdir -p {to}"), Duration::from_secs(60))?;
        Ok(guest.put(&format!("{to}/{name}"), &bytes, 0o755)?)
    }

    /// Runs a line of shell in the guest, and returns its output.
    ///
    /// # Errors
    /// The command fails, or runs longer than `limit`.
    pub fn sh(&mut self, line: &str, limit: Duration) -> anyhow::Result<Output> {
        run_checked(self.guest()?, line, limit)
    }

    /// Writes a file that a person may inspect after the run, into the folder of the case, and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_artefact(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.artefacts.join(name);
        fs::create_dir_all(&self.artefacts)
            .and_then(|()| fs::write(&path, bytes))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Runs a line of shell in `guest`, and returns its output.
///
/// # Errors
/// The command fails, or runs longer than `limit`.
pub(super) fn run_checked(guest: &Guest, line: &str, limit: Duration) -> anyhow::Result<Output> {
    let output = guest.sh(line, limit)?;
    ensure!(
        output.status.success(),
        "`{line}` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}
