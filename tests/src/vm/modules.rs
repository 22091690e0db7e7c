//! Compiles the kernel modules that Debian's kernel lacks, from Debian's source package, for the kernel of the root file system.

use std::path::Path;
use std::time::Duration;

use super::platform::Platform;
use super::progress::Progress;
use super::root::Root;
use super::task::{Task, TaskError};

/// Returns the script that compiles the modules. The script is part of the image's key.
pub(crate) fn script(platform: Platform) -> &'static str {
    match platform {
        Platform::Pc => include_str!("scripts/modules.sh"),
        Platform::Board => include_str!("scripts/board-modules.sh"),
    }
}

/// Returns the names of the modules, as modprobe accepts them.
#[must_use]
pub fn names(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Pc => &[
            "vkms",
            "cma_heap",
            "v4l2-mem2mem",
            "vim2m",
            "vicodec",
            "vimc",
            "sw_sync",
        ],
        Platform::Board => &["dma-heap", "system_heap", "cma_heap", "board_camera"],
    }
}

/// The time limit of the compilation, which takes twenty seconds on two cores. The limit allows for a machine that is fifteen
/// times slower.
const BUILD_DEADLINE: Duration = Duration::from_secs(600);
/// The time limit of the installation, which takes seconds.
const INSTALL_DEADLINE: Duration = Duration::from_secs(120);

/// Compiles the modules for the kernel `release` into the folder `output`.
///
/// # Errors
/// The compiler fails or exceeds its deadline.
pub fn build(
    root: &Root,
    platform: Platform,
    release: &str,
    output: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<(), TaskError> {
    let step = progress.step("compile kernel modules");
    let mut command = root.command("sh");
    command
        .args([
            "-c",
            script(platform),
            "modules",
            release,
            "/run/covalent/modules",
        ])
        .bind(output, "/run/covalent/modules");
    Task {
        title: "compile kernel modules",
        log,
        deadline: BUILD_DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    step.done();
    Ok(())
}

/// Installs the modules from the folder `built` in the root file system, and checks with `modinfo` that each module is built for
/// this kernel. It may be called again for the same modules.
///
/// # Errors
/// A module is missing or was built for another kernel.
pub fn install(
    root: &Root,
    platform: Platform,
    release: &str,
    built: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<(), TaskError> {
    let step = progress.step("install kernel modules");
    let mut command = root.command("sh");
    command
        .args(["-c", INSTALL, "install", release])
        .args(names(platform));
    command
        .bind_read_only(built, "/run/covalent/modules")
        .writable();
    Task {
        title: "install kernel modules",
        log,
        deadline: INSTALL_DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    step.done();
    Ok(())
}

pub(crate) const INSTALL: &str = r#"
set -eu
release=$1
shift
rm -rf "/lib/modules/$release/extra"
cp -r /run/covalent/modules/extra "/lib/modules/$release/extra"
depmod "$release"
for module in "$@"; do
    magic=$(modinfo -k "$release" -F vermagic "$module")
    case $magic in
    "$release "*) echo "$module: $magic" ;;
    *)
        echo "$module is built for '$magic', not for $release"
        exit 1
        ;;
    esac
done
"#;
