//! Runs a long command with a deadline. Its output is written to a log file, and an error contains the end of the log.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::namespace::spawn_bound_to_process;
use super::progress::Step;
use super::root::RootCommand;

/// The interval at which the state of a task is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The maximum number of bytes of the end of a log that an error contains.
const TAIL_BYTES: u64 = 3000;

/// The reason why a task failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The command could not be started or waited for.
    #[error("{title}: {operation}: {source}")]
    Start {
        /// The title of the task.
        title: String,
        /// The operation that failed: starting the command, or waiting for it.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The command ended with an exit status other than 0.
    #[error("{title} failed ({status}); the end of {log}:\n{tail}", log = log.display())]
    Failed {
        /// The title of the task.
        title: String,
        /// The exit status of the command.
        status: ExitStatus,
        /// The file with all output of the command.
        log: PathBuf,
        /// The last lines of the output.
        tail: String,
    },
    /// The command exceeded its deadline and was killed.
    #[error("{title} was not done after {seconds} s and was ended; the end of {log}:\n{tail}", log = log.display())]
    Deadline {
        /// The title of the task.
        title: String,
        /// The deadline in seconds.
        seconds: u64,
        /// The file with all output of the command.
        log: PathBuf,
        /// The last lines of the output.
        tail: String,
    },
}

/// A long command, its log and its deadline.
#[derive(Debug)]
pub struct Task<'a> {
    /// A short description of the task, for errors.
    pub title: &'a str,
    /// The file for stdout and stderr. Its folder is created if it is missing.
    pub log: &'a Path,
    /// The time after which the task is killed.
    pub deadline: Duration,
}

impl Task<'_> {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// The command cannot start, fails, or exceeds the deadline.
    pub fn run(&self, mut command: Command, step: &Step) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child =
            spawn_bound_to_process(command).map_err(|source| self.start_error("start", source))?;
        self.watch(child, || step.detail(&last_line(self.log)))
    }

    /// Runs `command` to its end, and calls `poll` at intervals until then.
    ///
    /// # Errors
    /// The command cannot start, fails, or exceeds the deadline.
    pub fn run_with_poll(&self, mut command: Command, poll: impl FnMut()) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child =
            spawn_bound_to_process(command).map_err(|source| self.start_error("start", source))?;
        self.watch(child, poll)
    }

    /// Runs `command` in a root file system to its end.
    ///
    /// # Errors
    /// The command cannot start, fails, or exceeds the deadline.
    pub fn run_in_root(&self, command: &mut RootCommand, step: &Step) -> Result<(), TaskError> {
        let (stdout, stderr) = self.open_log()?;
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| self.start_error("start", source))?;
        self.watch(child, || step.detail(&last_line(self.log)))
    }

    /// Creates the log, and returns two file descriptors of it: for stdout and for stderr.
    fn open_log(&self) -> Result<(File, File), TaskError> {
        let open = || {
            if let Some(folder) = self.log.parent() {
                fs::create_dir_all(folder)?;
            }
            let log = File::create(self.log)?;
            Ok((log.try_clone()?, log))
        };
        open().map_err(|source| self.start_error("open its log", source))
    }

    /// Waits for the process, and kills it at the deadline. `poll` is called at short intervals.
    fn watch(&self, mut child: Child, mut poll: impl FnMut()) -> Result<(), TaskError> {
        let started = Instant::now();
        loop {
            if let Some(status) = child
                .try_wait()
                .map_err(|source| self.start_error("wait for it", source))?
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
                // The kernel ends the namespace with its first process. The call fails only if the task has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(TaskError::Deadline {
                    title: self.title.to_owned(),
                    seconds: self.deadline.as_secs(),
                    log: self.log.to_owned(),
                    tail: tail(self.log),
                });
            }
            poll();
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Makes the error of a failed operation that is needed for the task.
    fn start_error(&self, operation: &'static str, source: io::Error) -> TaskError {
        TaskError::Start {
            title: self.title.to_owned(),
            operation,
            source,
        }
    }
}

/// Returns the last line of a log, shortened so that it fits a line of progress.
fn last_line(log: &Path) -> String {
    let text = tail(log);
    let line = text.lines().last().unwrap_or_default();
    line.chars()
        .filter(|character| !character.is_control())
        .take(60)
        .collect()
}

/// Returns the last lines of a log. If the log cannot be read, returns an empty text, because the error that the lines explain
/// matters more.
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
