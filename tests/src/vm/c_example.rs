//! Compiles the example of the C interface with `cc` in the root file system.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::build::{BuildError, PROFILE, checkout, file_error, is_newer, target};
use super::platform::Platform;
use super::root::Root;

/// The name of the source file and of the program.
pub(super) const NAME: &str = "capture";

/// Compiles the example of the C interface against the library that cargo has compiled, and puts it into the folder of the
/// programs.
pub(super) fn build(root: &Root, share: &Path) -> Result<(), BuildError> {
    const SOURCE: &str = "alloc/capi/examples/capture.c";
    const HEADER: &str = "alloc/capi/include/covalent.h";
    let target = target(Platform::Pc)?;
    let library = target.join(PROFILE).join("libcovalent.a");
    let program = share.join("bin").join(NAME);
    let sources = [SOURCE, HEADER].map(|path| checkout().join(path));
    if is_newer(&program, &library) && sources.iter().all(|source| is_newer(&program, source)) {
        return Ok(());
    }
    // A running guest holds the old program open, so the new program is renamed to its path.
    let new = share.join("new");
    let in_root = |path: &Path| {
        let inside = path.strip_prefix(&target).unwrap_or(path);
        Path::new("/target").join(inside)
    };
    let mut command = root.command("cc");
    command
        .args([
            "-std=c11",
            "-D_DEFAULT_SOURCE",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-Ialloc/capi/include", SOURCE, "-o"])
        .arg(in_root(&new))
        .arg(in_root(&library))
        // The library contains every backend, so the example must link with these libraries.
        .args(["-lgbm", "-lm"])
        .workdir("/src")
        .bind(checkout(), "/src")
        .bind(&target, "/target");
    let mut compiler = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(file_error("start cc in", root.folder()))?;
    let status = compiler
        .wait()
        .map_err(file_error("wait for cc in", root.folder()))?;
    if !status.success() {
        return Err(BuildError::Compile);
    }
    fs::rename(&new, &program).map_err(file_error("move to", &program))
}
