//! A long command: watched, with a deadline, its words kept in a log and its last ones shown when it fails.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::namespace::spawn_kept;
use super::progress::Step;
use super::root::RootCommand;

/// How often a task is looked at. Short beside the steps, long beside the cost of looking.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How much of a log's end an error shows.
const TAIL_BYTES: u64 = 3000;

/// Why a task did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It could not be started or watched.
    #[error("{title}: {operation}: {source}")]
    Start {
        /// What the task is.
        title: String,
        /// What was tried.
        operation: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{title} failed ({status}); the end of {log}:\n{tail}", log = log.display())]
    Failed {
        /// What the task is.
        title: String,
        /// How it ended.
        status: ExitStatus,
        /// Where all its words are.
        log: PathBuf,
        /// Its last words.
        tail: String,
    },
    /// It took too long and was ended.
    #[error("{title} was not done after {seconds} s and was ended; the end of {log}:\n{tail}", log = log.display())]
    Deadline {
        /// What the task is.
        title: String,
        /// How long it was let run.
        seconds: u64,
        /// Where all its words are.
        log: PathBuf,
        /// Its last words.
        tail: String,
    },
}

/// What to run, and how it is watched.
#[derive(Debug)]
pub struct Task<'a> {
    /// What it is, in a few words, for errors.
    pub title: &'a str,
    /// The file that takes its stdout and stderr. Its folder is made where it is missing.
    pub log: &'a Path,
    /// When to end it.
    pub deadline: Duration,
}

impl Task<'_> {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// Where it cannot start, fails, or takes longer than the deadline.
    pub fn run(&self, mut command: Command, step: &Step) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child = spawn_kept(command).map_err(|source| self.start("start", source))?;
        self.watch(child, || step.detail(&last_line(self.log)))
    }

    /// Runs `command` to its end and calls `look` every now and then meanwhile.
    ///
    /// # Errors
    /// Where it cannot start, fails, or takes longer than the deadline.
    pub fn run_looking(&self, mut command: Command, look: impl FnMut()) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child = spawn_kept(command).map_err(|source| self.start("start", source))?;
        self.watch(child, look)
    }

    /// Runs `command` in a root to its end.
    ///
    /// # Errors
    /// Where it cannot start, fails, or takes longer than the deadline.
    pub fn run_in_root(&self, command: &mut RootCommand, step: &Step) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| self.start("start", source))?;
        self.watch(child, || step.detail(&last_line(self.log)))
    }

    fn open_log(&self) -> Result<(File, File), TaskError> {
        let open = || {
            if let Some(folder) = self.log.parent() {
                fs::create_dir_all(folder)?;
            }
            let log = File::create(self.log)?;
            Ok((log.try_clone()?, log))
        };
        open().map_err(|source| self.start("open its log", source))
    }

    fn watch(&self, mut child: Child, mut look: impl FnMut()) -> Result<(), TaskError> {
        let started = Instant::now();
        loop {
            if let Some(status) = child
                .try_wait()
                .map_err(|source| self.start("wait for it", source))?
            {
                if status.success() {
                    return Ok(());
                }
                return Err(TaskError::Failed {
                    title: self.title.to_owned(),
                    status,
                    log: self.log.to_owned(),
                    tail: tail(self.log),
                });
            }
            if started.elapsed() > self.deadline {
                // The namespace ends with its first process; a task that has just ended by itself is as good.
                let _ = child.kill();
                let _ = child.wait();
                return Err(TaskError::Deadline {
                    title: self.title.to_owned(),
                    seconds: self.deadline.as_secs(),
                    log: self.log.to_owned(),
                    tail: tail(self.log),
                });
            }
            look();
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn start(&self, operation: &'static str, source: io::Error) -> TaskError {
        TaskError::Start {
            title: self.title.to_owned(),
            operation,
            source,
        }
    }
}

/// The last line of a log, short enough for a line of progress.
fn last_line(log: &Path) -> String {
    let text = tail(log);
    let line = text.lines().last().unwrap_or_default();
    line.chars()
        .filter(|character| !character.is_control())
        .take(60)
        .collect()
}

/// The last lines of a log. An unreadable one has none: the error that it would explain matters more.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(length_bytes.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(25);
    lines[first..].join("\n")
}
