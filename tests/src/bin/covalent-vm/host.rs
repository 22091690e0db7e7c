//! `test --on-host`: checks buffer sharing between Vulkan and the drivers of this machine, without a guest.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail, ensure};
use covalent_tests::interop::{BEHAVIOURS, Cell, Row, Table};
use covalent_tests::suite::record::Verdict;
use covalent_tests::vm::build::checkout;

/// The program that runs the checks.
const PROGRAM: &str = "covalent-interop-check";

/// The heading of this machine's column in the table.
const COLUMN: &str = "this machine";

/// Compiles the check program with the features whose libraries this machine has, runs it, and prints a table.
pub(crate) fn run(filter: Option<&str>, full: bool) -> anyhow::Result<ExitCode> {
    let wanted: Vec<&str> = BEHAVIOURS
        .into_iter()
        .filter(|name| filter.is_none_or(|word| format!("interop::{name}").contains(word)))
        .collect();
    if wanted.is_empty() {
        bail!(
            "no behaviour's name contains the word; the behaviours are {}",
            BEHAVIOURS.join(", ")
        );
    }
    let program = compile()?;
    let mut command = Command::new(&program);
    command.arg("--json").args(&wanted);
    if full {
        command.arg("--full");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    let mut rows: Vec<Row> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{PROGRAM} ended with {} and printed no rows", output.status))?;
    rows.extend(missing_rows(&wanted, &rows));
    let table = Table {
        columns: vec![(COLUMN.to_owned(), rows)],
    };
    table.keep(&checkout().join("target/suite"), "interop-host")?;
    print!("{table}");
    let failed = BEHAVIOURS
        .iter()
        .any(|name| matches!(table.cell(name, COLUMN), Cell::Failed(_)));
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Returns a skipped row for each requested behaviour of which the program reported no row, with the reason.
fn missing_rows(wanted: &[&str], rows: &[Row]) -> Vec<Row> {
    let reason = |behaviour: &str| match behaviour {
        "vulkan_and_gbm" => "libgbm's development files are not installed on this machine",
        "through_the_compositor" => {
            "--on-host does not use this machine's displays; run ./x test without it"
        }
        _ => "this machine has no devices for this behaviour",
    };
    wanted
        .iter()
        .filter(|wanted| rows.iter().all(|row| row.behaviour != **wanted))
        .map(|behaviour| Row {
            behaviour: (*behaviour).to_owned(),
            row: "any".to_owned(),
            verdict: Verdict::Skipped,
            reason: reason(behaviour).to_owned(),
        })
        .collect()
}

/// Compiles the program for the host, and returns its path.
fn compile() -> anyhow::Result<PathBuf> {
    let features = if links_gbm() {
        "vulkan,gbm"
    } else {
        eprintln!("libgbm's development files are not installed: GBM is not checked");
        "vulkan"
    };
    // `x` compiles the harness into the same folder, so most dependencies are already compiled.
    let target = checkout().join("target/harness");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(checkout())
        .args(["build", "--locked", "-p", "covalent-tests"])
        .args(["--bin", PROGRAM, "--features", features, "--target-dir"])
        .arg(&target)
        .stdin(Stdio::null())
        .status()
        .context("start cargo")?;
    ensure!(
        status.success(),
        "{PROGRAM} cannot be compiled on this machine"
    );
    Ok(target.join("debug").join(PROGRAM))
}

/// Returns whether this machine can link a program with libgbm.
fn links_gbm() -> bool {
    let Ok(scratch) = tempfile::tempdir() else {
        return false;
    };
    let source = scratch.path().join("main.c");
    if fs::write(&source, "int main(void) { return 0; }\n").is_err() {
        return false;
    }
    Command::new("cc")
        .arg(&source)
        .args(["-Wl,--no-as-needed", "-lgbm", "-o"])
        .arg(scratch.path().join("main"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
