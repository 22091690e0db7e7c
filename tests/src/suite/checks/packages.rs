//! Checks of the library's crates as packages: they can be packaged and compiled, and their public API stays compatible.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::vm::build::{self, checkout};

use super::super::Outcome;
use super::tools::Tools;

/// The library's crates. Each crate comes after the crates on which it depends.
const LIBRARY: [&str; 3] = ["covalent-solver", "covalent-machine", "covalent-alloc"];

/// The first minor version of cargo 1 that can package several crates together if one crate depends on another that is not
/// published.
const PACKAGES_TOGETHER: u32 = 90;

/// Checks that the library's crates can be packaged, and that the packages compile.
pub(super) fn packaging(tools: &Tools<'_>) -> Result<Outcome, String> {
    let output = tools.cargo_output(&["--version"], &[])?;
    let minor = output
        .text
        .strip_prefix("cargo 1.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_some_and(|minor| minor < PACKAGES_TOGETHER) {
        let version = output.text.trim();
        return Ok(Outcome::Skip(format!(
            "{version} cannot package a crate that depends on one that is not published; cargo 1.{PACKAGES_TOGETHER} can"
        )));
    }
    // This check has its own target folder, so that every file called covalent in it was compiled from a package.
    let target = tools.target_folder().join("packaging");
    remove_unpacked(&target)
        .map_err(|error| format!("remove packages of an earlier run: {error}"))?;
    let mut args = vec!["package", "--allow-dirty", "--quiet"];
    let target = tools.seen_by_cargo(&target);
    args.extend(["--target-dir", &target]);
    args.extend(LIBRARY.iter().flat_map(|name| ["-p", *name]));
    // The compilation of the harness has already downloaded what these packages need, so cargo first runs offline. If cargo has
    // to update its index, it runs again online.
    let offline: Vec<&str> = args.iter().copied().chain(["--offline"]).collect();
    // A package is outside of the workspace, so its profile would give every dependency debug information, which this check does
    // not use.
    let profile = [("CARGO_PROFILE_DEV_DEBUG", "false")];
    tools
        .cargo(&offline, &profile)
        .or_else(|_| tools.cargo(&args, &profile))
}

/// Checks that the library's public API is compatible with that of the commit in `tests/semver-baseline`, unless the version in
/// the manifest is that of an incompatible change.
pub(super) fn semver(tools: &Tools<'_>) -> Result<Outcome, String> {
    let path = checkout().join("tests/semver-baseline");
    let text =
        fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let baseline = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .ok_or_else(|| format!("{} names no commit", path.display()))?;
    let commit = format!("{baseline}^{{commit}}");
    let is_present = Command::new("git")
        .args(["cat-file", "-e", &commit])
        .current_dir(checkout())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_present {
        return Ok(Outcome::Skip(format!(
            "this copy of the repository does not have the commit {baseline} to compare with"
        )));
    }
    let mut args = vec!["semver-checks", "--baseline-rev", baseline];
    args.extend(LIBRARY.iter().flat_map(|name| ["-p", *name]));
    tools.installed("cargo-semver-checks", &args)
}

/// Removes the sources and compiled files of these packages that cargo has from an earlier run. Cargo would use them for a
/// package of the same version even if its content has changed.
fn remove_unpacked(target: &Path) -> io::Result<()> {
    let compiled = target.join("debug/.fingerprint");
    for entry in fs::read_dir(compiled).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("covalent-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let Some(sources) = build::cargo_home().map(|home| home.join("registry/src")) else {
        return Ok(());
    };
    let Ok(registries) = fs::read_dir(&sources) else {
        return Ok(());
    };
    for registry in registries {
        let registry = registry?.path();
        for name in LIBRARY {
            let folder = registry.join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
