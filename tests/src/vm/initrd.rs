//! The guest's first file system: busybox, the modules that reach the disk and the shared folder, and a short script.

use std::path::Path;
use std::time::Duration;

use super::progress::Progress;
use super::root::Root;
use super::task::{Task, TaskError};

/// How it is packed; part of the image's recipe.
pub(crate) const SCRIPT: &str = include_str!("scripts/initrd.sh");
/// What it does; part of the image's recipe.
pub(crate) const INIT: &str = include_str!("scripts/init.sh");

/// A second.
const DEADLINE: Duration = Duration::from_secs(120);

/// Packs the file system for the kernel `release` into `folder`/initrd.
///
/// # Errors
/// Where a module or a tool is missing.
pub fn build(
    root: &Root,
    release: &str,
    folder: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<(), TaskError> {
    let step = progress.step("pack the initrd");
    let mut command = root.command("sh");
    command
        .args(["-c", SCRIPT, "initrd", release, "/run/covalent/out/initrd"])
        .env("INIT", INIT);
    command.bind(folder, "/run/covalent/out");
    Task {
        title: "pack the initrd",
        log,
        deadline: DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    step.done();
    Ok(())
}
