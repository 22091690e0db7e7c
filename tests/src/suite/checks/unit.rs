//! Parses the results of unit tests and documentation tests from cargo's output.

use std::time::Duration;

use crate::suite::record::{Record, Verdict};
use crate::suite::run::judge_skip;
use crate::suite::skips::Skips;

use super::tools::{ToolOutput, tail};

/// Parses cargo's output of unit tests and documentation tests.
pub(super) fn records(output: &ToolOutput, took: Duration, skips: &Skips) -> Vec<Record> {
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

/// Returns the output of a test that failed, without the output of other tests.
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

/// Returns the lines that begin with `error` or state how a process ended, followed by the end of the output.
///
/// A test program can crash after its last test has passed. Cargo reports the crash in one line among the lines of hundreds of
/// tests.
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
        records(&output, Duration::ZERO, &Skips::committed().unwrap())
    }

    #[test]
    fn records_of_mixed_results_have_names_and_counts() {
        let records = records_of(false, TEST_OUTPUT);
        let seen: Vec<_> = records
            .iter()
            .map(|record| (record.name.as_str(), record.verdict, record.count))
            .collect();
        assert_eq!(
            seen,
            [
                ("unit::a::breaks", Verdict::Failed, 1),
                // This test is ignored, but the list of skips does not contain it.
                ("unit::a::waits", Verdict::Failed, 1),
                ("unit::tests", Verdict::Passed, 3),
            ]
        );
        assert_eq!(records[0].message, "thread 'a::breaks' panicked at 1 != 2");
        assert!(records[1].message.contains("needs rain"));
    }

    #[test]
    fn records_without_tests_are_a_failure() {
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
}
