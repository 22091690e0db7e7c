//! Compares the plans of every recorded machine with the reference files in `tests/reference`.
//!
//! A commit that changes a plan explains the reason and updates the file.
//! `COVALENT_REFERENCE=write cargo test -p covalent-cli --test reference` writes the files.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Map, Value};

/// A line of `jobs.txt`: a recorded machine and the options of `covalent plan`.
struct Job {
    machine: String,
    name: String,
    words: Vec<String>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

/// Splits a line at its blanks; a name with blanks is enclosed in single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn jobs() -> Vec<Job> {
    let text = fs::read_to_string(tests().join("reference/jobs.txt")).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = words(line).into_iter();
            Job {
                machine: words.next().unwrap(),
                name: words.next().unwrap(),
                words: words.collect(),
            }
        })
        .collect()
}

/// Runs `covalent plan` for a job and returns its JSON.
fn solution(job: &Job) -> Value {
    let machine = tests().join(format!("machines/{}.json", job.machine));
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_covalent"))
        .args(["plan", "--machine"])
        .arg(machine)
        .args(&job.words)
        .arg("--json")
        .env("XDG_CACHE_HOME", empty.path())
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(
        matches!(code, Some(0 | 4)),
        "{} {}: ended with {code:?}: {}",
        job.machine,
        job.name,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs all jobs in parallel and returns their JSON.
fn solutions(jobs: &[Job]) -> Vec<(&Job, Value)> {
    let next = AtomicUsize::new(0);
    let run_jobs = || {
        let mut solutions = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            solutions.push((job, solution(job)));
        }
        solutions
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run_jobs)).collect();
        let solutions = workers.into_iter().map(|worker| worker.join().unwrap());
        solutions.flatten().collect()
    })
}

/// Adds every field in which two JSON values differ to `list`.
fn differences(path: &str, expected: &Value, found: &Value, list: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(two)) => {
            let keys: BTreeMap<&String, ()> =
                one.keys().chain(two.keys()).map(|key| (key, ())).collect();
            for key in keys.into_keys() {
                let (one, two) = (one.get(key), two.get(key));
                let path = format!("{path}.{key}");
                differences(
                    &path,
                    one.unwrap_or(&Value::Null),
                    two.unwrap_or(&Value::Null),
                    list,
                );
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (number, (one, two)) in one.iter().zip(two).enumerate() {
                differences(&format!("{path}[{number}]"), one, two, list);
            }
        }
        _ if expected != found => list.push(format!("{path}: was {expected}, is {found}")),
        _ => {}
    }
}

#[test]
fn plans_of_recorded_machines_match_the_reference_files() {
    let write = std::env::var("COVALENT_REFERENCE").is_ok_and(|word| word == "write");
    let mut found: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (job, solution) in solutions(&jobs()) {
        let before = found
            .entry(job.machine.clone())
            .or_default()
            .insert(job.name.clone(), solution);
        assert!(
            before.is_none(),
            "{} {} is listed twice",
            job.machine,
            job.name
        );
    }
    let mut list = Vec::new();
    for (machine, plans) in found {
        let path = tests().join(format!("reference/plans/{machine}.json"));
        let plans = Value::Object(plans);
        if write {
            let text = serde_json::to_string_pretty(&plans).unwrap() + "\n";
            fs::write(&path, text).unwrap();
            continue;
        }
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected: Value = serde_json::from_str(&text).unwrap();
        differences(&machine, &expected, &plans, &mut list);
    }
    assert!(
        list.is_empty(),
        "{} differences:\n{}",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn recorded_machine_has_jobs_and_plans() {
    let jobs = jobs();
    for entry in fs::read_dir(tests().join("machines")).unwrap() {
        let path = entry.unwrap().path();
        let machine = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            jobs.iter().any(|job| job.machine == machine),
            "{machine} has no job in tests/reference/jobs.txt"
        );
        assert!(
            tests()
                .join(format!("reference/plans/{machine}.json"))
                .exists(),
            "{machine} has no plans in tests/reference/plans"
        );
    }
}

#[test]
fn difference_is_reported_with_its_field() {
    let mut list = Vec::new();
    let expected = serde_json::json!({ "a": [1, { "b": 2 }], "c": 3 });
    let found = serde_json::json!({ "a": [1, { "b": 4 }], "d": 5 });
    differences("m", &expected, &found, &mut list);
    assert_eq!(
        list,
        [
            "m.a[1].b: was 2, is 4",
            "m.c: was 3, is null",
            "m.d: was null, is 5"
        ]
    );
}
