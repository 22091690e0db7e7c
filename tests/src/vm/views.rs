//! Compiles the kernel module `covalent_views` in the root file system, for the guest's kernel. Its source is in `tests/module`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::build::checkout;
use super::progress::Progress;
use super::root::Root;
use super::task::Task;

/// The time limit of the compilation, which takes seconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// A shell script that compiles in a temporary folder of the root file system, so that no files are left in the checkout.
const SCRIPT: &str = r#"
set -eu
release=$(ls /lib/modules)
mkdir /tmp/views
cp /src/tests/module/Kbuild /src/tests/module/covalent_views.c /tmp/views
make -s -C "/lib/modules/$release/build" M=/tmp/views modules
install -m 644 /tmp/views/covalent_views.ko /made/covalent_views.ko
"#;

/// Compiles the module into the folder that is shared with guests, and returns the module's path in the guest.
///
/// # Errors
/// The module does not compile.
pub fn build(root: &Root, share: &Path) -> anyhow::Result<PathBuf> {
    let folder = share.join("lib");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let progress = Progress::stderr();
    let step = progress.step("compile covalent_views");
    let mut command = root.command("sh");
    command
        .args(["-c", SCRIPT])
        .bind_read_only(checkout(), "/src")
        .bind(&folder, "/made");
    Task {
        title: "compile covalent_views",
        log: &share.join("covalent_views.log"),
        deadline: DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    step.done();
    Ok(PathBuf::from("/opt/covalent/lib/covalent_views.ko"))
}
