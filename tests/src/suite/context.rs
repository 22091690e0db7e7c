//! What a case works with: a guest that is booted when it is first needed, and a place for what a person should see.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::interop::{Row, Skips};
use crate::vm::accel::Accelerator;
use crate::vm::build;
use crate::vm::guest::{Boot, Guest};
use crate::vm::image::Image;
use crate::vm::link::Output;

use super::{Needs, Outcome};

/// The process on the host that holds the guest of the running case, for who ends it from outside.
pub(super) type GuestProcessId = Arc<Mutex<Option<u32>>>;

/// What a case works with.
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

    /// Says for which case the context is now.
    pub(super) fn begin(&mut self, folder: &Path, case: &str) {
        self.artefacts = folder.join(case.replace("::", "-"));
        self.skipped_checks = 0;
    }

    /// How many checks within this case were skipped as a list expects.
    pub(super) fn skipped_checks(&self) -> usize {
        self.skipped_checks
    }

    /// Judges what a program has tried in this guest, and counts what it has skipped.
    ///
    /// # Errors
    /// Those of [`Skips::judge`].
    pub fn judge(&mut self, skips: &Skips, rows: &[Row]) -> anyhow::Result<Outcome> {
        let skipped = skips
            .judge(self.needs.config.name(), rows)
            .map_err(anyhow::Error::msg)?;
        self.skipped_checks = self.skipped_checks.saturating_add(skipped);
        Ok(Outcome::Passed)
    }

    /// The guest; booted now where none runs.
    ///
    /// # Errors
    /// Where it does not boot. A guest that this machine cannot have ends the case as skipped.
    pub fn guest(&mut self) -> anyhow::Result<&Guest> {
        match self.guest.take() {
            Some(guest) if !guest.is_gone() => Ok(self.guest.insert(guest)),
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

    /// A guest that no other case has used.
    ///
    /// # Errors
    /// Those of [`TestContext::guest`].
    pub fn fresh_guest(&mut self) -> anyhow::Result<&Guest> {
        self.discard();
        self.guest()
    }

    /// Ends the guest at once; the next use boots another.
    pub fn discard(&mut self) {
        *self
            .guest_process
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.guest = None;
    }

    /// Switches the guest off, and fails where it had to be ended from outside.
    ///
    /// # Errors
    /// Those of [`Guest::stop`].
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

    /// What this context boots; for cases that boot guests of their own.
    #[must_use]
    pub fn boot(&self) -> Boot {
        let mut boot = Boot::new(self.needs.config, &self.share);
        boot.machine.memory = self.needs.memory;
        boot.machine.size = self.needs.size;
        boot.machine.contiguous_mebibytes = self.needs.contiguous_mebibytes;
        boot.accelerator = self.needs.counted.then_some(Accelerator::Counted);
        boot
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> &'image Image {
        self.image
    }

    /// The folder with the programs that this context's guests have.
    #[must_use]
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// Whether `--full` was asked for: then a case may look longer and wider.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The folder to share with a guest in which the project's programs are compiled with other features.
    ///
    /// # Errors
    /// Where they do not compile.
    pub fn programs(&self, features: &[&str]) -> anyhow::Result<PathBuf> {
        Ok(build::programs(self.image, features)?)
    }

    /// Runs a line of shell that has to succeed.
    ///
    /// # Errors
    /// Where it fails, with its words, or runs longer than `limit`.
    pub fn sh(&mut self, line: &str, limit: Duration) -> anyhow::Result<Output> {
        run_checked(self.guest()?, line, limit)
    }

    /// Keeps a file for a person to look at after the run, in a folder of the case's own.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.artefacts.join(name);
        fs::create_dir_all(&self.artefacts)
            .and_then(|()| fs::write(&path, bytes))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Runs a line of shell that has to succeed, in a guest that is at hand.
///
/// # Errors
/// Where it fails, with its words, or runs longer than `limit`.
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
