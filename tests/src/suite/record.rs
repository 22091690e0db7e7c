//! The results of a run: a line for a person, a file for programs, and records by which `--resume` skips what has passed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use crate::verdict::Verdict;

/// The result of a case or check, or of several unit tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The name of the case or check.
    pub name: String,
    /// A description of the guest that the case needed; empty if it needed none.
    pub guest: String,
    /// The verdict on the case or check.
    pub verdict: Verdict,
    /// The number of tests whose result this record contains.
    pub count: usize,
    /// The duration in seconds.
    pub seconds: f64,
    /// The processor time in seconds of the programs that a check has run; 0 for cases. On a busy machine it varies less than the
    /// duration.
    #[serde(default)]
    pub processor_seconds: f64,
    /// The reason of a failure or skip.
    #[serde(rename = "words")]
    pub message: String,
    /// The number of checks within a case that were skipped and have an entry in a committed list.
    #[serde(default)]
    pub skipped_checks: usize,
}

impl Record {
    /// Creates a record of one case or check.
    #[must_use]
    pub fn new(name: &str, guest: &str, verdict: Verdict, took: Duration, message: &str) -> Self {
        Self {
            name: name.to_owned(),
            guest: guest.to_owned(),
            verdict,
            count: 1,
            seconds: took.as_secs_f64(),
            processor_seconds: 0.0,
            message: message.to_owned(),
            skipped_checks: 0,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        write!(formatter, "{verdict:<8}{}", self.name)?;
        if self.count != 1 {
            write!(formatter, " ({})", self.count)?;
        }
        write!(formatter, "  {:.1} s", self.seconds)?;
        if self.processor_seconds >= 1.0 {
            write!(
                formatter,
                "  ({:.0} s of processors)",
                self.processor_seconds
            )?;
        }
        if self.skipped_checks != 0 {
            write!(formatter, "  ({} checks skipped)", self.skipped_checks)?;
        }
        match self.verdict {
            Verdict::Passed => Ok(()),
            Verdict::Skipped => write!(formatter, "  because {}", self.message),
            Verdict::Failed => {
                for line in self.message.lines() {
                    write!(formatter, "\n        {line}")?;
                }
                Ok(())
            }
        }
    }
}

/// The results of a whole run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// The state of the source tree: its commit, and a digest of the changes since.
    pub tree: String,
    /// Whether `--full` was given.
    pub full: bool,
    /// The versions of kernel, Mesa and QEMU in the guest.
    pub versions: BTreeMap<String, String>,
    /// The accelerator of the guest's CPU.
    pub accelerator: String,
    /// The results in the order in which they ended.
    pub records: Vec<Record>,
}

impl Summary {
    /// Returns the number of tests with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.records
            .iter()
            .filter(|record| record.verdict == verdict)
            .map(|record| record.count)
            .sum()
    }

    /// Returns the number of checks that were skipped within cases.
    #[must_use]
    pub fn skipped_checks(&self) -> usize {
        self.records
            .iter()
            .map(|record| record.skipped_checks)
            .sum()
    }

    /// Writes the summary to a file. An existing file is replaced by a rename.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.persist(path)?;
        Ok(())
    }

    /// Reads a summary; returns `None` if the file is missing or cannot be parsed.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} passed, {} failed, {} skipped",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped)
        )?;
        // A case in which some checks were skipped has passed. The line states how many were skipped.
        match self.skipped_checks() {
            0 => Ok(()),
            count => write!(
                formatter,
                "; within cases {count} checks skipped, all of them expected"
            ),
        }
    }
}

/// Returns the state of the source tree in `folder`: its commit, followed by a digest of all changed and new files. If git is not
/// available, the digest covers all files.
///
/// # Errors
/// A file cannot be read.
pub fn tree(folder: &Path) -> io::Result<String> {
    let git = |args: &[&str]| -> Option<Vec<u8>> {
        let mut command = Command::new("git");
        let output = command.arg("-C").arg(folder).args(args).output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let commit = git(&["rev-parse", "HEAD"]);
    let changed = git(&["diff", "--no-ext-diff", "--binary", "HEAD"]);
    let added = git(&["ls-files", "-z", "--others", "--exclude-standard"]);
    let mut digest = Sha256::new();
    let (name, added) = match (commit, changed, added) {
        (Some(commit), Some(changed), Some(added)) => {
            let name = String::from_utf8_lossy(&commit).trim().to_owned();
            if changed.is_empty() && added.is_empty() {
                return Ok(name);
            }
            digest.update(&changed);
            (name, added)
        }
        _ => {
            let files = Command::new("find")
                .current_dir(folder)
                .args([
                    "-path", "./target", "-prune", "-o", "-path", "./.git", "-prune",
                ])
                .args(["-o", "-type", "f", "-print0"])
                .output()?;
            ("no-commit".to_owned(), files.stdout)
        }
    };
    let mut names: Vec<&[u8]> = added
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    for name in names {
        digest.update(name);
        digest.update([0]);
        let path: PathBuf = folder.join(std::ffi::OsStr::new(&*String::from_utf8_lossy(name)));
        let mut file = File::open(path)?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => digest.update(&chunk[..read]),
            }
        }
    }
    let digest: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{name}+{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_records_with_counts_adds_them() {
        let record = |verdict, count| Record {
            count,
            ..Record::new("a", "", verdict, Duration::ZERO, "")
        };
        let summary = Summary {
            records: vec![
                record(Verdict::Passed, 7),
                record(Verdict::Failed, 1),
                record(Verdict::Skipped, 2),
                record(Verdict::Passed, 1),
            ],
            ..Summary::default()
        };
        assert_eq!(summary.to_string(), "8 passed, 1 failed, 2 skipped");
        let mut partly = summary;
        partly.records[0].skipped_checks = 3;
        partly.records[3].skipped_checks = 2;
        assert_eq!(
            partly.to_string(),
            "8 passed, 1 failed, 2 skipped; within cases 5 checks skipped, all of them expected"
        );
    }

    #[test]
    fn summary_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/summary.json");
        let summary = Summary {
            tree: "t".to_owned(),
            records: vec![Record::new(
                "a",
                "virtio",
                Verdict::Skipped,
                Duration::from_secs(2),
                "none",
            )],
            ..Summary::default()
        };
        summary.write(&path).unwrap();
        assert_eq!(Summary::read(&path).unwrap().records, summary.records);
        fs::write(&path, "{").unwrap();
        assert!(Summary::read(&path).is_none());
    }

    #[test]
    fn tree_with_a_changed_file_differs() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let before = tree(folder.path()).unwrap();
        assert_eq!(tree(folder.path()).unwrap(), before);
        fs::write(folder.path().join("a"), "2").unwrap();
        assert_ne!(tree(folder.path()).unwrap(), before);
    }
}
