//! The parent process. It runs the rows in a child process, because drivers may crash their process, and starts a new child after
//! a crash.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use covalent_tests::interop::Row;
use covalent_tests::verdict::Verdict;

use super::rows::ParentMessage;

/// The longest time for one row. The CPU and the devices are emulated, the first row loads the Vulkan drivers, and one row
/// exchanges up to 10,000 frames.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The number of child processes that may crash before the parent gives up.
const MAX_CRASHES: usize = 50;

/// Runs all rows in child processes. Calls `print_row` with each row when it has ended.
pub(crate) fn run_rows(words: &[String], mut print_row: impl FnMut(Row)) -> Result<()> {
    let mut done: usize = 0;
    for _ in 0..MAX_CRASHES {
        let mut child = start(words, done)?;
        let outcome = forward_rows(&mut child, &mut done, &mut print_row);
        // This call fails if the child has already ended.
        let _ = child.kill();
        let status = child.wait()?;
        let Some((row, caveats)) = outcome? else {
            return Ok(());
        };
        done = done.saturating_add(1);
        print_row(crashed_row(row, caveats, status));
    }
    bail!("drivers crashed {MAX_CRASHES} child processes; the remaining rows were not run")
}

/// The behaviour and the name of the row that has begun but not ended, and the caveats of its plan.
type RowInProgress = Option<((String, String), Option<String>)>;

/// Starts the child process that runs the rows after the first `done` rows.
fn start(words: &[String], done: usize) -> Result<Child> {
    Command::new("/proc/self/exe")
        .args(words)
        .args(["--after", &done.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the child process that runs the rows")
}

/// Forwards the rows of the child until it has run all rows. If the child ended or hung before, returns the row in progress.
fn forward_rows(
    child: &mut Child,
    done: &mut usize,
    print_row: &mut impl FnMut(Row),
) -> Result<RowInProgress> {
    let lines = lines(child)?;
    let mut in_progress: RowInProgress = None;
    loop {
        let line = match lines.recv_timeout(TIMEOUT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(in_progress),
            Err(RecvTimeoutError::Disconnected) => match in_progress {
                Some(in_progress) => return Ok(Some(in_progress)),
                None => bail!("the child process ended between two rows"),
            },
        };
        // Drivers and Vulkan layers may also write to stdout. Their lines are no JSON messages.
        let Ok(message) = serde_json::from_str::<ParentMessage>(&line) else {
            eprintln!("{line}");
            continue;
        };
        match message {
            ParentMessage::Begin { behaviour, row } => in_progress = Some(((behaviour, row), None)),
            ParentMessage::Caveats(reasons) => {
                if let Some((_, caveats)) = &mut in_progress {
                    *caveats = Some(reasons);
                }
            }
            ParentMessage::End(row) => {
                in_progress = None;
                *done = done.saturating_add(1);
                print_row(row);
            }
            ParentMessage::Done => return Ok(None),
        }
    }
}

/// Reads the lines that the child prints, in a thread.
fn lines(child: &mut Child) -> Result<Receiver<String>> {
    let out = child
        .stdout
        .take()
        .context("the child's stdout is no pipe")?;
    let (send, lines) = channel();
    // The thread ends when the pipe is closed or the receiver is dropped.
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

/// Returns the result of a row during which the child process crashed or hung.
fn crashed_row(
    (behaviour, row): (String, String),
    caveats: Option<String>,
    status: ExitStatus,
) -> Row {
    let how = match status.signal() {
        Some(9) => format!(
            "the child process hung for {} s and was killed",
            TIMEOUT.as_secs()
        ),
        Some(signal) => format!("the driver ended the process by signal {signal}"),
        None => format!("the driver ended the process with {status}"),
    };
    let (verdict, reason) = match caveats {
        Some(caveats) => (
            Verdict::Skipped,
            format!(
                "the plan is possible but not guaranteed ({caveats}), and the row failed: {how}"
            ),
        ),
        None => (Verdict::Failed, how),
    };
    Row {
        behaviour,
        row,
        verdict,
        reason,
    }
}
