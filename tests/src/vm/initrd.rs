//! The guest's initial RAM file system: busybox, the modules for the disk and the shared folder, and a short script. On the
//! board, it is the only file system.

use std::path::Path;
use std::time::Duration;

use super::platform::Platform;
use super::progress::Progress;
use super::root::{Root, RootCommand};
use super::task::{Task, TaskError};

/// Returns the script that packs the initial RAM file system, and the script that runs in it. Both are part of the image's key.
pub(crate) fn scripts(platform: Platform) -> [&'static str; 2] {
    match platform {
        Platform::Pc => [
            include_str!("scripts/initrd.sh"),
            include_str!("scripts/init.sh"),
        ],
        Platform::Board => [
            include_str!("scripts/board-initrd.sh"),
            include_str!("scripts/board-init.sh"),
        ],
    }
}

/// The time limit to pack the file system, which takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Packs the initial RAM file system for the kernel `release` into the file `folder`/initrd.
///
/// # Errors
/// A module or a tool is missing.
pub fn build(
    root: &Root,
    platform: Platform,
    release: &str,
    folder: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<(), TaskError> {
    let step = progress.step("pack the initrd");
    let mut command = command(root, platform, release, folder);
    Task {
        title: "pack the initrd",
        log,
        deadline: DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    step.done();
    Ok(())
}

/// Prepares the command that packs the initial RAM file system for the kernel `release` into the file `folder`/initrd.
pub(super) fn command(
    root: &Root,
    platform: Platform,
    release: &str,
    folder: &Path,
) -> RootCommand {
    let [script, init] = scripts(platform);
    let mut command = root.command("sh");
    command
        .args(["-c", script, "initrd", release, "/run/covalent/out/initrd"])
        .args(platform.early_modules())
        .env("INIT", init)
        .bind(folder, "/run/covalent/out");
    command
}
