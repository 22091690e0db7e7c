//! The checks that need no guest: formatting, lints, documentation, features, packaging, unit tests, dependencies, spelling,
//! the public bug reports, and the kinds of files that are tracked.

mod packages;
mod tools;
mod tree;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use crate::vm::build::{self, checkout};
use crate::vm::platform::Platform;
use crate::vm::progress::Progress;
use crate::vm::root::Root;
use crate::vm::toolchain::Toolchain;

use super::Outcome;
use super::record::{Record, Verdict};
use super::run::judge_skip;
use super::skips::Skips;

use tools::{CargoEnvironment, Tools};

/// The names of all checks, in the order in which they start and are reported.
pub const NAMES: [&str; 12] = [
    "check::tree",
    "check::formatting",
    "check::lints",
    "check::documentation",
    "check::features",
    "check::packaging",
    "check::semver",
    "check::outside",
    "check::dependencies",
    "check::spelling",
    "check::cases",
    "unit::tests",
];

/// The seed of property tests. With this seed proptest draws the same cases in every run.
const PROPERTY_SEED: &str = "20261130";

/// The conditions under which a check can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckNeeds {
    /// Whether the check runs in the image's root file system.
    pub(super) root: bool,
    /// The target folder in which the check compiles. Cargo locks the folder, so a second check with the same folder would only
    /// wait.
    pub(super) folder: Option<&'static str>,
}

/// Returns what the check `name` needs. `on_host` is whether the host has the same toolchain as the image's root file system. If
/// so, checks that link no library of a backend compile on the host while the image is built.
pub(super) fn needs(name: &str, on_host: bool) -> CheckNeeds {
    let (root, folder) = match name {
        "check::tree" | "check::semver" | "check::dependencies" | "check::spelling" => {
            (false, None)
        }
        "check::formatting" => (!on_host, None),
        "check::cases" => (false, Some("target/harness")),
        "check::features" | "check::outside" if on_host => (false, Some("target/harness")),
        "check::packaging" => (!on_host, Some("packaging")),
        _ => (true, Some("target/guest")),
    };
    CheckNeeds { root, folder }
}

/// Returns the toolchain with which programs are compiled in the image's root file system.
pub(super) fn toolchain() -> &'static Toolchain {
    static FOUND: LazyLock<Toolchain> = LazyLock::new(|| Toolchain::find(Platform::Pc));
    &FOUND
}

/// Runs the check `name`, and returns its record. `unit::tests` also returns a record for each test that failed.
///
/// `root` is the image's root file system. A check that runs in it fails if `root` is `None`. With `is_full`, property tests draw
/// new cases. Otherwise they use the same cases in every run.
#[must_use]
pub fn run(
    name: &str,
    root: Option<&Root>,
    is_full: bool,
    skips: &Skips,
    progress: &Progress,
) -> Vec<Record> {
    let started = Instant::now();
    let place = if needs(name, !toolchain().is_debian()).root {
        CargoEnvironment::Root(root)
    } else {
        CargoEnvironment::Host(toolchain())
    };
    let tools = Tools::new(place, progress.step(name));
    let mut records = records(name, &tools, is_full, skips, started);
    tools.step.done();
    // The processor time is recorded for the check itself. The records of single tests have other names.
    if let Some(record) = records.iter_mut().find(|record| record.name == name) {
        record.processor_seconds = tools.processor_time().as_secs_f64();
    }
    records
}

fn records(
    name: &str,
    tools: &Tools<'_>,
    is_full: bool,
    skips: &Skips,
    started: Instant,
) -> Vec<Record> {
    let result = match name {
        "unit::tests" => {
            let args = [
                "test",
                "--workspace",
                "--features",
                &build::checked_features(),
                "--locked",
                "--no-fail-fast",
            ];
            // With CI set, a snapshot that differs is a failure and is never overwritten. With COVALENT_TEST_SHIMS set, the tests
            // of the vendors' drivers fail instead of being skipped, because the root file system has the drm-shims.
            let mut variables = vec![("CI", "true"), ("COVALENT_TEST_SHIMS", "1")];
            if !is_full {
                // With a fixed seed, a commit has the same result in every run. `cargo test` alone and `--full` draw new cases
                // each time.
                variables.push(("PROPTEST_RNG_SEED", PROPERTY_SEED));
            }
            match tools.cargo_output(&args, &variables) {
                Ok(output) => return unit::records(&output, started.elapsed(), skips),
                Err(message) => Err(message),
            }
        }
        _ => judge(name, tools),
    };
    let (verdict, message) = match result {
        Ok(Outcome::Passed) => (Verdict::Passed, String::new()),
        Ok(Outcome::Skip(reason)) => judge_skip(skips, name, reason),
        Err(message) => (Verdict::Failed, message),
    };
    vec![Record::new(name, "", verdict, started.elapsed(), &message)]
}

fn judge(name: &str, tools: &Tools<'_>) -> Result<Outcome, String> {
    match name {
        "check::tree" => tree::check(checkout()),
        "check::formatting" => tools.cargo(&["fmt", "--all", "--check"], &[]),
        "check::lints" => {
            let args = format!(
                "clippy --workspace --features {} --all-targets --locked --quiet -- -D warnings",
                build::checked_features()
            );
            tools.cargo(&args.split(' ').collect::<Vec<_>>(), &[])
        }
        "check::documentation" => {
            let args = [
                "doc",
                "--workspace",
                "--features",
                &build::checked_features(),
                "--no-deps",
                "--locked",
                "--quiet",
            ];
            tools.cargo(&args, &[("RUSTDOCFLAGS", "-D warnings")])
        }
        "check::features" => features(tools),
        "check::packaging" => packages::packaging(tools),
        "check::semver" => packages::semver(tools),
        // The backend in `tests/outside` is not in this workspace. It must compile against the public API and run.
        "check::outside" => {
            let args = "run --manifest-path tests/outside/Cargo.toml --locked --quiet";
            tools.cargo(&args.split(' ').collect::<Vec<_>>(), &[])
        }
        // Advisories are not checked: they change from day to day, so the result for one commit would change too.
        "check::dependencies" => {
            tools.installed("cargo-deny", &["check", "bans", "licenses", "sources"])
        }
        "check::spelling" => tools.installed("typos", &[]),
        "check::cases" => cases(tools),
        _ => Err(format!("there is no check {name}")),
    }
}

/// Checks that covalent-alloc compiles with each feature alone, and without any feature.
fn features(tools: &Tools<'_>) -> Result<Outcome, String> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        features: BTreeMap<String, Vec<String>>,
    }
    let path = checkout().join("alloc/Cargo.toml");
    let text =
        fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let alone = manifest.features.keys().filter(|name| *name != "default");
    for feature in std::iter::once(None).chain(alone.map(Some)) {
        let mut args = vec![
            "clippy",
            "-p",
            "covalent-alloc",
            "--no-default-features",
            "--locked",
            "--quiet",
        ];
        if let Some(feature) = feature {
            args.extend(["--features", feature]);
        }
        tools.step.detail(feature.map_or("none", String::as_str));
        // This check finds warnings that occur with a single feature. They are denied by Clippy's arguments and not by RUSTFLAGS,
        // because a change of RUSTFLAGS would make cargo compile every dependency again.
        args.extend(["--", "-D", "warnings"]);
        tools
            .cargo(&args, &[])
            .map_err(|message| format!("cargo {}:\n{message}", args.join(" ")))?;
    }
    Ok(Outcome::Passed)
}

/// Checks that the public bug reports in `tests/cases` and `tests/reports` get the answers in the file `expected` of each report.
///
/// Shell scripts compare the answers with jq. The image's root file system has no jq. The scripts therefore run on the host, and
/// the tool `covalent` is compiled for the host.
fn cases(tools: &Tools<'_>) -> Result<Outcome, String> {
    let target = checkout().join("target/harness");
    let program = target.join("debug/covalent");
    let mut compile = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    // The selected packages determine the features of dependencies. With the harness selected too, the build of the tool can use
    // crates that `x` has already compiled for the harness: serde and the solver.
    compile
        .args(["build", "--locked", "--quiet", "-p", "covalent-cli"])
        .args([
            "-p",
            "covalent-tests",
            "--features",
            "covalent-tests/harness",
        ])
        .args(["--bin", "covalent", "--bin", "covalent-prove"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(checkout());
    tools.step.detail("compiling covalent");
    tools.host(compile)?.judge()?;
    tools.step.detail("running tests/cases and tests/reports");
    let mut judge = Command::new(checkout().join("tests/cases/run-all"));
    judge.env("COVALENT", &program);
    tools.host(judge)?.judge()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_of_a_check_in_the_root_without_one_fails_and_says_so() {
        let skips = Skips::committed().unwrap();
        for name in ["check::lints", "check::documentation", "unit::tests"] {
            assert!(needs(name, true).root, "{name}");
            let records = run(name, None, false, &skips, &Progress::silent());
            assert_eq!(records[0].verdict, Verdict::Failed, "{name}");
            assert!(records[0].message.contains("root"), "{name}");
        }
    }

    #[test]
    fn needs_without_the_hosts_toolchain_include_the_root_for_all_that_compiles_there() {
        for name in ["formatting", "features", "packaging", "outside"] {
            let name = format!("check::{name}");
            assert!(needs(&name, false).root, "{name}");
            assert!(!needs(&name, true).root, "{name}");
        }
    }

    #[test]
    fn run_of_an_unknown_check_is_a_failure_with_its_name() {
        let skips = Skips::committed().unwrap();
        let records = run("check::weather", None, false, &skips, &Progress::silent());
        assert_eq!(records.len(), 1);
        assert!(records[0].message.contains("check::weather"));
    }
}
