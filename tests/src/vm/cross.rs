//! Cross-compiles for the board, in a root file system whose programs have the architecture of this machine.
//!
//! Only the programs that a board runs are compiled: the tool, its helper for trial imports, and the guest's first process. The
//! programs link only with the C library, because GBM and Vulkan would need Mesa for the board's architecture.

use std::path::PathBuf;

use super::build::{BuildError, PROFILE, cargo_for, compile, target};
use super::platform::Platform;
use super::root::Root;

/// The packages of the workspace that contain the board's programs.
const PACKAGES: [&str; 2] = ["covalent-cli", "covalent-tests"];

/// The programs that a board runs.
const PROGRAMS: [&str; 3] = ["covalent", "covalent-prove", "covalent-guest"];

/// Compiles the board's programs with `features` (as `package/feature`), and returns the folder that is shared with the board.
/// The programs are in its subfolder `bin`.
///
/// # Errors
/// The compiler fails, or a file cannot be copied.
pub fn binaries(root: &Root, features: &[&str]) -> Result<PathBuf, BuildError> {
    let triple = Platform::Board.triple();
    let mut args = vec![
        "build",
        "--profile",
        PROFILE,
        "--locked",
        "--target",
        triple,
        "--no-default-features",
    ];
    args.extend(PACKAGES.iter().flat_map(|name| ["--package", *name]));
    args.extend(PROGRAMS.iter().flat_map(|name| ["--bin", *name]));
    let list = features.join(",");
    if !list.is_empty() {
        args.extend(["--features", &list]);
    }
    let mut command = cargo_for(root, Platform::Board, &args);
    command.env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
        "aarch64-linux-gnu-gcc",
    );
    // The host's compiler settings are for the host's processors. This variable takes precedence over them.
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "");
    compile(root, command, &target(Platform::Board)?, &list)
}
