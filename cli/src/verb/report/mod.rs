//! `covalent report`: writes one file with everything that a bug report needs, without names of people and machines.

mod redact;

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use covalent_alloc::text::printable_path;
use serde_json::{Map, Value, json};

use crate::out::{self, line};
use crate::report_part::FORMAT;
use crate::{file, input};
use redact::Redactor;

/// Write one file with everything that a bug report needs, without names of people and machines.
#[derive(Args, Debug)]
#[command(after_help = "\
The file has the recorded machine of `covalent probe --record`, the data of `covalent doctor
--record`, the matrix of `covalent matrix --json` (unverified: its trials ran, and nothing was
compared), the versions of the kernel, Mesa and Covalent, and the request of the plan that fails,
whose options follow `--`. Every verb reads its part of the file.

The name of the host, the names of users, serial numbers and MAC addresses are replaced, and what was
replaced is printed.

Examples:
  covalent report --out report.json -- --camera /dev/video0 --display /dev/dri/card0
      a report about a plan that fails
  covalent report --out report.json --no-matrix
      a report in a second, without trials
  covalent doctor --from report.json; covalent matrix --from report.json
  covalent plan --from report.json; covalent plan --machine report.json --display card0
      what the receiver of a report runs")]
pub(crate) struct Options {
    /// Write the report to this file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave out the matrix, whose trials take minutes and need idle devices.
    #[arg(long)]
    no_matrix: bool,
    /// The options of `covalent plan` with which there is no plan, or a wrong one.
    #[arg(last = true, value_name = "PLAN OPTION")]
    plan: Vec<OsString>,
}

/// The longest file of another verb that is read for the report, in bytes.
const MAXIMUM_BYTES: usize = 16 << 20;

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // The trials take minutes, so a path that cannot be written is reported before them.
    covalent_alloc::files::check(&options.out)?;
    let folder = Folder::new()?;
    let path = |name: &str| folder.0.join(name);
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut parts = Map::new();
    let mut notes = Vec::new();
    let mut add = |name: &str, part: Result<Value>| match part {
        Ok(part) => {
            parts.insert(name.to_owned(), part);
        }
        // The report is written without the data of this verb. It contains the error, which may be the bug that the user reports.
        Err(error) => notes.push(format!("{name}: {}", out::error_text(&error))),
    };
    let record = |verb: &[&str], name: &str, more: &[OsString]| {
        let path = path(name);
        let mut own = words(verb);
        own.extend([OsString::from("--record"), path.clone().into()]);
        own.extend(more.iter().cloned());
        let printed = run_verb(&own)?;
        read_json(&path).with_context(|| printed.trim().to_owned())
    };
    add("machine", record(&["probe"], "machine.json", &[]));
    add("doctor", record(&["doctor"], "doctor.json", &[]));
    if !options.plan.is_empty() {
        add("request", record(&["plan"], "request.json", &options.plan));
    }
    if !options.no_matrix {
        let matrix = run_verb(&words(&["matrix", "--json"]));
        let matrix = matrix.and_then(|text| Ok(input::json(text.as_bytes())?));
        add("matrix", matrix);
    }
    let environment = parts
        .get("machine")
        .and_then(|machine| machine.get("environment"));
    let version = |name: &str| environment.and_then(|own| own.get(name)).cloned();
    let versions = json!({
        "covalent": env!("CARGO_PKG_VERSION"),
        "kernel": version("kernel"),
        "mesa": version("mesa"),
    });
    let redactor = Redactor::of(parts.get("doctor"));
    let mut report = Map::new();
    report.insert("format".to_owned(), FORMAT.into());
    report.insert("version".to_owned(), 1.into());
    report.insert("versions".to_owned(), versions);
    report.insert("missing".to_owned(), notes.clone().into());
    report.extend(parts);
    let mut report = Value::Object(report);
    let removed = redactor.apply(&mut report);
    if let Value::Object(report) = &mut report {
        let removed: Vec<String> = removed.iter().cloned().collect();
        report.insert("removed".to_owned(), removed.into());
    }
    let text = serde_json::to_string_pretty(&report)? + "\n";
    file::write(&options.out, text.as_bytes())?;
    let mut out = out::stdout();
    for note in &notes {
        line!(out, "missing: {note}")?;
    }
    for what in &removed {
        line!(out, "removed: {what}")?;
    }
    line!(out, "written: {}", printable_path(&options.out))?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A temporary folder that only this user can read. The folder is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("covalent-report-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot create {}", printable_path(&path)))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If the folder cannot be removed, it stays among the temporary files, readable only for this user.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a verb of this program, and returns what the verb printed. An exit code of the verb for a problem that it found, such as
/// 13 of `doctor`, is no error here.
fn run_verb(words: &[OsString]) -> Result<String> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run this program again")?;
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.trim().trim_start_matches("covalent: ");
    match output.status.code() {
        // 1 is an unexpected error, and 2 is wrong usage, for example an unknown option of `covalent plan`.
        Some(1 | 2) => bail!("{error}"),
        Some(_) => {}
        None => bail!("the verb was ended ({}): {error}", output.status),
    }
    if output.stdout.len() > MAXIMUM_BYTES {
        bail!("the verb printed more than {MAXIMUM_BYTES} bytes");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads and parses a JSON file that a verb wrote.
fn read_json(path: &Path) -> Result<Value> {
    let bytes = file::read(path, MAXIMUM_BYTES)?;
    Ok(serde_json::from_slice(&bytes)?)
}
