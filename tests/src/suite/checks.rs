//! The checks that need no guest: formatting, lints, documentation, features, packaging, unit tests, dependencies, spelling,
//! the public bug reports, and the kinds of files that are tracked.

mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::build::{self, checkout};
use crate::vm::namespace::spawn_kept;
use crate::vm::progress::{Progress, Step};
use crate::vm::root::Root;

use super::Outcome;
use super::record::{Record, Verdict};
use super::run::judge_skip;
use super::skips::Skips;

/// The names of all checks, in the order in which they run.
pub const NAMES: [&str; 11] = [
    "check::tree",
    "check::formatting",
    "check::lints",
    "check::documentation",
    "check::features",
    "check::packaging",
    "check::outside",
    "check::dependencies",
    "check::spelling",
    "check::cases",
    "unit::tests",
];

/// Time limit of one tool. The first compilation of everything takes five minutes of two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The most of a tool's output that a failure shows, in bytes.
const WORDS_BYTES: usize = 8000;

/// Runs the check `name`, and returns its record; `unit::tests` returns one for each test that failed too.
#[must_use]
pub fn run(name: &str, root: &Root, skips: &Skips, progress: &Progress) -> Vec<Record> {
    let started = Instant::now();
    let step = progress.step(name);
    let result = match name {
        "check::tree" => tree::check(checkout()),
        "check::formatting" => cargo(root, &["fmt", "--all", "--check"], &[], &step),
        "check::lints" => {
            let words = format!(
                "clippy --workspace --features {} --all-targets --locked --quiet -- -D warnings",
                build::checked_features()
            );
            cargo(root, &words.split(' ').collect::<Vec<_>>(), &[], &step)
        }
        "check::documentation" => {
            let words = [
                "doc",
                "--workspace",
                "--features",
                &build::checked_features(),
                "--no-deps",
                "--locked",
                "--quiet",
            ];
            cargo(root, &words, &[("RUSTDOCFLAGS", "-D warnings")], &step)
        }
        "check::features" => features(root, &step),
        "check::packaging" => packaging(root, &step),
        // The backend in `tests/outside`, which is not in this workspace, compiles against the public API and runs.
        "check::outside" => {
            let words = "run --manifest-path tests/outside/Cargo.toml --locked --quiet";
            cargo(root, &words.split(' ').collect::<Vec<_>>(), &[], &step)
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
            let words = [
                "test",
                "--workspace",
                "--features",
                &build::checked_features(),
                "--locked",
                "--no-fail-fast",
            ];
            // With CI set, a snapshot that differs is a failure and is never overwritten.
            let told = wait(
                |log| spawn_cargo(root, &words, &[("CI", "true")], log),
                &step,
            );
            step.done();
            return match told {
                Ok(told) => unit_records(&told, started.elapsed(), skips),
                Err(words) => vec![Record::new(
                    name,
                    "",
                    Verdict::Failed,
                    started.elapsed(),
                    &words,
                )],
            };
        }
        _ => Err(format!("there is no check {name}")),
    };
    step.done();
    let (verdict, words) = match result {
        Ok(Outcome::Passed) => (Verdict::Passed, String::new()),
        Ok(Outcome::Skip(reason)) => judge_skip(skips, name, reason),
        Err(words) => (Verdict::Failed, words),
    };
    vec![Record::new(name, "", verdict, started.elapsed(), &words)]
}

/// The output of a tool, and whether it succeeded.
struct Told {
    content: bool,
    words: String,
}

impl Told {
    fn judge(self) -> Result<Outcome, String> {
        if self.content {
            Ok(Outcome::Passed)
        } else {
            Err(tail(&self.words).to_owned())
        }
    }
}

fn cargo(
    root: &Root,
    words: &[&str],
    variables: &[(&str, &str)],
    step: &Step,
) -> Result<Outcome, String> {
    wait(|log| spawn_cargo(root, words, variables, log), step)?.judge()
}

fn spawn_cargo(
    root: &Root,
    words: &[&str],
    variables: &[(&str, &str)],
    log: File,
) -> io::Result<Child> {
    let mut command = build::cargo(root, words);
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
        let mut words = vec![
            "clippy",
            "-p",
            "covalent-alloc",
            "--no-default-features",
            "--locked",
            "--quiet",
        ];
        if let Some(feature) = feature {
            words.extend(["--features", feature]);
        }
        step.detail(feature.map_or("none", String::as_str));
        // This check exists to find warnings of single features. Clippy's own arguments deny them, and not RUSTFLAGS, with
        // which cargo would compile every dependency once more.
        words.extend(["--", "-D", "warnings"]);
        cargo(root, &words, &[], step)
            .map_err(|told| format!("cargo {}:\n{told}", words.join(" ")))?;
    }
    Ok(Outcome::Passed)
}

/// The library's crates, each after its dependencies.
const LIBRARY: [&str; 3] = ["covalent-solver", "covalent-machine", "covalent-alloc"];

/// The first minor version of cargo 1 that packages several crates together where one depends on another that is not published.
const PACKAGES_TOGETHER: u32 = 90;

/// Checks that the library's crates can be packaged, and that the packages compile.
fn packaging(root: &Root, step: &Step) -> Result<Outcome, String> {
    let told = wait(|log| spawn_cargo(root, &["--version"], &[], log), step)?;
    let minor = told
        .words
        .strip_prefix("cargo 1.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_some_and(|minor| minor < PACKAGES_TOGETHER) {
        let words = told.words.trim();
        return Ok(Outcome::Skip(format!(
            "{words} packages no crate that needs another which is not published; 1.{PACKAGES_TOGETHER} does"
        )));
    }
    forget_unpacked().map_err(|error| format!("remove packages of an earlier run: {error}"))?;
    let mut words = vec!["package", "--allow-dirty", "--quiet"];
    // A target folder of its own, so that every file called covalent in it was compiled from a package.
    words.extend(["--target-dir", "/target/packaging"]);
    words.extend(LIBRARY.iter().flat_map(|name| ["-p", *name]));
    // Earlier checks have fetched everything, so cargo runs offline first. A cargo that insists on updating its index runs
    // again online.
    let offline: Vec<&str> = words.iter().copied().chain(["--offline"]).collect();
    cargo(root, &offline, &[], step).or_else(|_| cargo(root, &words, &[], step))
}

/// Removes the sources and compiled files that cargo has of these packages from an earlier run. Cargo takes a package of the
/// same version for the same package, whatever it contains.
fn forget_unpacked() -> io::Result<()> {
    let compiled = checkout().join("target/guest/packaging/debug/.fingerprint");
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
        spawn_kept(command)
    };
    step.detail("compiling the tool");
    wait(compile, step)?.judge()?;
    step.detail("asking it");
    let ask = |log: File| {
        let copy = log.try_clone()?;
        let mut command = Command::new(checkout().join("tests/cases/run-all"));
        command
            .env("COVALENT", &program)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy);
        spawn_kept(command)
    };
    wait(ask, step)?.judge()
}

/// Runs a tool of the host; the check is skipped where the tool is not installed.
fn tool(program: &str, words: &[&str], step: &Step) -> Result<Outcome, String> {
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
        command.args(words).current_dir(checkout());
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        spawn_kept(command)
    };
    wait(start, step)?.judge()
}

fn wait(start: impl FnOnce(File) -> io::Result<Child>, step: &Step) -> Result<Told, String> {
    let words = |error: io::Error| error.to_string();
    let mut log = tempfile::tempfile().map_err(words)?;
    let mut child = start(log.try_clone().map_err(words)?).map_err(words)?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(words)? {
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
    log.rewind().map_err(words)?;
    log.read_to_end(&mut bytes).map_err(words)?;
    Ok(Told {
        content: status.success(),
        words: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Parses cargo's output of unit tests and documentation tests.
fn unit_records(told: &Told, took: Duration, skips: &Skips) -> Vec<Record> {
    let mut records = Vec::new();
    let mut passed = 0;
    for line in told.words.lines() {
        let Some(line) = line.strip_prefix("test ") else {
            continue;
        };
        if let Some(counts) = line.strip_prefix("result: ") {
            passed += number_before(counts, " passed");
        } else if let Some((name, reason)) = line.split_once(" ... ignored") {
            let name = format!("unit::{}", name.trim());
            let reason = reason.trim_start_matches(", ").trim();
            let (verdict, words) = judge_skip(skips, &name, reason.to_owned());
            records.push(Record::new(&name, "", verdict, Duration::ZERO, &words));
        } else if let Some(name) = line.strip_suffix(" ... FAILED") {
            let name = name.trim();
            let words = words_of(&told.words, name);
            records.push(Record::new(
                &format!("unit::{name}"),
                "",
                Verdict::Failed,
                Duration::ZERO,
                &words,
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
    if !told.content && !failed {
        records.push(Record::new(
            "unit::tests",
            "",
            Verdict::Failed,
            took,
            tail(&told.words),
        ));
    } else if records.is_empty() {
        let words = "cargo found no test at all";
        records.push(Record::new("unit::tests", "", Verdict::Failed, took, words));
    }
    records
}

/// Returns the output of a test that failed.
fn words_of(all: &str, name: &str) -> String {
    let head = format!("---- {name} stdout ----\n");
    let Some((_, rest)) = all.split_once(&head) else {
        return "its words were not found".to_owned();
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

fn tail(words: &str) -> &str {
    let words = words.trim();
    let mut from = words.len().saturating_sub(WORDS_BYTES);
    while !words.is_char_boundary(from) {
        from += 1;
    }
    &words[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
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

    fn told(content: bool, words: &str) -> Vec<Record> {
        let told = Told {
            content,
            words: words.to_owned(),
        };
        unit_records(&told, Duration::ZERO, &Skips::committed().unwrap())
    }

    #[test]
    fn unit_records_count_and_name() {
        let records = told(false, TOLD);
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
        assert_eq!(records[0].words, "thread 'a::breaks' panicked at 1 != 2");
        assert!(records[1].words.contains("needs rain"));
    }

    #[test]
    fn unit_records_nothing_compiled_is_a_failure() {
        let records = told(false, "error: could not compile\n");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].verdict, Verdict::Failed);
        assert_eq!(told(true, "")[0].verdict, Verdict::Failed);
    }

    #[test]
    fn tail_never_cuts_a_character() {
        let words = "é".repeat(WORDS_BYTES);
        assert!(tail(&words).len() <= WORDS_BYTES);
    }
}
