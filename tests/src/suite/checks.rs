//! The checks that need no guest: formatting, lints, documentation, features, packaging, unit tests, dependencies, spelling,
//! the public bug reports, and the kinds of files that are tracked.

mod packages;
mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::build::{self, checkout};
use crate::vm::namespace::spawn_bound_to_process;
use crate::vm::progress::{Progress, Step};
use crate::vm::root::Root;

use super::Outcome;
use super::record::{Record, Verdict};
use super::run::judge_skip;
use super::skips::Skips;

/// The names of all checks, in the order in which they run.
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

/// Time limit of one tool. The first compilation of everything takes five minutes of two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The most of a tool's output that a failure shows, in bytes.
const TAIL_BYTES: usize = 8000;

/// Runs the check `name`, and returns its record; `unit::tests` returns one for each test that failed too.
#[must_use]
pub fn run(name: &str, root: &Root, skips: &Skips, progress: &Progress) -> Vec<Record> {
    let started = Instant::now();
    let step = progress.step(name);
    let result = match name {
        "check::tree" => tree::check(checkout()),
        "check::formatting" => cargo(root, &["fmt", "--all", "--check"], &[], &step),
        "check::lints" => {
            let args = format!(
                "clippy --workspace --features {} --all-targets --locked --quiet -- -D warnings",
                build::checked_features()
            );
            cargo(root, &args.split(' ').collect::<Vec<_>>(), &[], &step)
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
            cargo(root, &args, &[("RUSTDOCFLAGS", "-D warnings")], &step)
        }
        "check::features" => features(root, &step),
        "check::packaging" => packages::packaging(root, &step),
        "check::semver" => packages::semver(&step),
        // The backend in `tests/outside`, which is not in this workspace, compiles against the public API and runs.
        "check::outside" => {
            let args = "run --manifest-path tests/outside/Cargo.toml --locked --quiet";
            cargo(root, &args.split(' ').collect::<Vec<_>>(), &[], &step)
        }
        // The advisories are left out: they change from day to day, so the result for one commit would change too.
        "check::dependencies" => tool(
            "cargo-deny",
            &["check", "bans", "licenses", "sources"],
            &step,
        ),
        "check::spelling" => tool("typos", &[], &step),
        "check::cases" => cases(&step),
        "unit::tests" => {
            let args = [
                "test",
                "--workspace",
                "--features",
                &build::checked_features(),
                "--locked",
                "--no-fail-fast",
            ];
            // With CI set, a snapshot that differs is a failure and is never overwritten.
            let output = wait(
                |log| spawn_cargo(root, &args, &[("CI", "true")], log),
                &step,
            );
            step.done();
            return match output {
                Ok(output) => unit_records(&output, started.elapsed(), skips),
                Err(message) => vec![Record::new(
                    name,
                    "",
                    Verdict::Failed,
                    started.elapsed(),
                    &message,
                )],
            };
        }
        _ => Err(format!("there is no check {name}")),
    };
    step.done();
    let (verdict, message) = match result {
        Ok(Outcome::Passed) => (Verdict::Passed, String::new()),
        Ok(Outcome::Skip(reason)) => judge_skip(skips, name, reason),
        Err(message) => (Verdict::Failed, message),
    };
    vec![Record::new(name, "", verdict, started.elapsed(), &message)]
}

/// The output of a tool, and whether it succeeded.
struct ToolOutput {
    success: bool,
    text: String,
}

impl ToolOutput {
    fn judge(self) -> Result<Outcome, String> {
        if self.success {
            Ok(Outcome::Passed)
        } else {
            Err(tail(&self.text).to_owned())
        }
    }
}

fn cargo(
    root: &Root,
    args: &[&str],
    variables: &[(&str, &str)],
    step: &Step,
) -> Result<Outcome, String> {
    wait(|log| spawn_cargo(root, args, variables, log), step)?.judge()
}

fn spawn_cargo(
    root: &Root,
    args: &[&str],
    variables: &[(&str, &str)],
    log: File,
) -> io::Result<Child> {
    let mut command = build::cargo(root, args);
    for (name, value) in variables {
        command.env(name, value);
    }
    let copy = log.try_clone()?;
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
}

/// Checks that each feature of covalent-alloc compiles alone, and that the crate compiles without any.
fn features(root: &Root, step: &Step) -> Result<Outcome, String> {
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
        step.detail(feature.map_or("none", String::as_str));
        // This check exists to find warnings of single features. Clippy's own arguments deny them, and not RUSTFLAGS, with
        // which cargo would compile every dependency once more.
        args.extend(["--", "-D", "warnings"]);
        cargo(root, &args, &[], step)
            .map_err(|message| format!("cargo {}:\n{message}", args.join(" ")))?;
    }
    Ok(Outcome::Passed)
}

/// Checks that the public bug reports in `tests/cases` are answered as `tests/cases/expected` states.
///
/// Shell scripts with jq judge them. The root has no jq, so the tool is compiled for this machine.
fn cases(step: &Step) -> Result<Outcome, String> {
    let target = checkout().join("target/harness");
    let program = target.join("debug/covalent");
    let compile = |log: File| {
        let copy = log.try_clone()?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command
            .args(["build", "--locked", "--quiet", "-p", "covalent-cli"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(checkout())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy);
        spawn_bound_to_process(command)
    };
    step.detail("compiling covalent");
    wait(compile, step)?.judge()?;
    step.detail("running tests/cases");
    let judge = |log: File| {
        let copy = log.try_clone()?;
        let mut command = Command::new(checkout().join("tests/cases/run-all"));
        command
            .env("COVALENT", &program)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy);
        spawn_bound_to_process(command)
    };
    wait(judge, step)?.judge()
}

/// Runs a tool of the host; the check is skipped where the tool is not installed.
fn tool(program: &str, args: &[&str], step: &Step) -> Result<Outcome, String> {
    let installed = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match installed {
        Ok(status) if status.success() => {}
        _ => return Ok(Outcome::Skip(format!("{program} is not installed"))),
    }
    let start = |log: File| {
        let mut command = Command::new(program);
        let copy = log.try_clone()?;
        command.args(args).current_dir(checkout());
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        spawn_bound_to_process(command)
    };
    wait(start, step)?.judge()
}

fn wait(start: impl FnOnce(File) -> io::Result<Child>, step: &Step) -> Result<ToolOutput, String> {
    let describe = |error: io::Error| error.to_string();
    let mut log = tempfile::tempfile().map_err(describe)?;
    let mut child = start(log.try_clone().map_err(describe)?).map_err(describe)?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(describe)? {
            break status;
        }
        if started.elapsed() > LIMIT {
            // The process may have ended in the meantime; then the kill fails.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "it took longer than {} s and was ended",
                LIMIT.as_secs()
            ));
        }
        step.alive();
        thread::sleep(Duration::from_millis(50));
    };
    let mut bytes = Vec::new();
    log.rewind().map_err(describe)?;
    log.read_to_end(&mut bytes).map_err(describe)?;
    Ok(ToolOutput {
        success: status.success(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Parses cargo's output of unit tests and documentation tests.
fn unit_records(output: &ToolOutput, took: Duration, skips: &Skips) -> Vec<Record> {
    let mut records = Vec::new();
    let mut passed = 0;
    for line in output.text.lines() {
        let Some(line) = line.strip_prefix("test ") else {
            continue;
        };
        if let Some(counts) = line.strip_prefix("result: ") {
            passed += number_before(counts, " passed");
        } else if let Some((name, reason)) = line.split_once(" ... ignored") {
            let name = format!("unit::{}", name.trim());
            let reason = reason.trim_start_matches(", ").trim();
            let (verdict, message) = judge_skip(skips, &name, reason.to_owned());
            records.push(Record::new(&name, "", verdict, Duration::ZERO, &message));
        } else if let Some(name) = line.strip_suffix(" ... FAILED") {
            let name = name.trim();
            let message = failure_output(&output.text, name);
            records.push(Record::new(
                &format!("unit::{name}"),
                "",
                Verdict::Failed,
                Duration::ZERO,
                &message,
            ));
        }
    }
    let failed = records
        .iter()
        .any(|record| record.verdict == Verdict::Failed);
    if passed > 0 {
        records.push(Record {
            count: passed,
            ..Record::new("unit::tests", "", Verdict::Passed, took, "")
        });
    }
    if !output.success && !failed {
        records.push(Record::new(
            "unit::tests",
            "",
            Verdict::Failed,
            took,
            &with_errors_first(&output.text),
        ));
    } else if records.is_empty() {
        let message = "cargo ran no test";
        records.push(Record::new(
            "unit::tests",
            "",
            Verdict::Failed,
            took,
            message,
        ));
    }
    records
}

/// Returns the output of a test that failed.
fn failure_output(all: &str, name: &str) -> String {
    let head = format!("---- {name} stdout ----\n");
    let Some((_, rest)) = all.split_once(&head) else {
        return "the test's output was not found".to_owned();
    };
    let end = ["\n---- ", "\nfailures:\n"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
        .unwrap_or(rest.len());
    tail(&rest[..end]).to_owned()
}

fn number_before(text: &str, word: &str) -> usize {
    text.split_once(word)
        .and_then(|(before, _)| before.rsplit([' ', ';']).next()?.parse().ok())
        .unwrap_or(0)
}

/// Returns the lines that begin with `error` or name how a process ended, and then the output's tail.
///
/// A test program can crash after its last test has passed. Cargo states that in one line, with hundreds of tests around it.
fn with_errors_first(text: &str) -> String {
    let is_cause = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("error") || line.starts_with("process didn't exit successfully")
    };
    let causes: Vec<&str> = text.lines().filter(is_cause).collect();
    format!("{}\n{}", causes.join("\n"), tail(text))
        .trim_start()
        .to_owned()
}

fn tail(text: &str) -> &str {
    let text = text.trim();
    let mut from = text.len().saturating_sub(TAIL_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_OUTPUT: &str = "\
running 3 tests
test a::works ... ok
test a::breaks ... FAILED
test a::waits ... ignored, needs rain

failures:

---- a::breaks stdout ----
thread 'a::breaks' panicked at 1 != 2

failures:
    a::breaks

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn records_of(success: bool, text: &str) -> Vec<Record> {
        let output = ToolOutput {
            success,
            text: text.to_owned(),
        };
        unit_records(&output, Duration::ZERO, &Skips::committed().unwrap())
    }

    #[test]
    fn unit_records_of_mixed_results_have_names_and_counts() {
        let records = records_of(false, TEST_OUTPUT);
        let seen: Vec<_> = records
            .iter()
            .map(|record| (record.name.as_str(), record.verdict, record.count))
            .collect();
        assert_eq!(
            seen,
            [
                ("unit::a::breaks", Verdict::Failed, 1),
                // This test is ignored, and the list of skips does not have it.
                ("unit::a::waits", Verdict::Failed, 1),
                ("unit::tests", Verdict::Passed, 3),
            ]
        );
        assert_eq!(records[0].message, "thread 'a::breaks' panicked at 1 != 2");
        assert!(records[1].message.contains("needs rain"));
    }

    #[test]
    fn unit_records_without_tests_are_a_failure() {
        let records = records_of(false, "error: could not compile\n");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].verdict, Verdict::Failed);
        assert_eq!(records_of(true, "")[0].verdict, Verdict::Failed);
    }

    #[test]
    fn crash_after_the_last_test_is_reported_before_the_output() {
        let text = "     Running tests/vulkan.rs\n\ntest a ... ok\ntest result: ok. 1 passed\n\n\
            error: test failed, to rerun pass `-p covalent-alloc --test vulkan`\n\n\
            Caused by:\n  process didn't exit successfully: `vulkan` (signal: 11, SIGSEGV: invalid memory reference)\n";
        let records = records_of(false, text);
        let failed: Vec<_> = records
            .iter()
            .filter(|record| record.verdict == Verdict::Failed)
            .collect();
        assert_eq!(failed.len(), 1);
        let lines: Vec<&str> = failed[0].message.lines().take(2).collect();
        assert!(lines[0].contains("--test vulkan"), "{lines:?}");
        assert!(lines[1].contains("SIGSEGV"), "{lines:?}");
    }

    #[test]
    fn tail_of_multibyte_text_keeps_whole_characters() {
        let text = "é".repeat(TAIL_BYTES);
        assert!(tail(&text).len() <= TAIL_BYTES);
    }
}
