//! A helper process that runs, and what became of one that does not answer.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use super::super::wire::WireError;
use crate::text::printable;
use covalent_machine::trial_results::{Cause, Refusal, RefusalKind};

/// How much of the helper's last words is kept, in bytes.
const LAST_WORDS: u64 = 600;

/// A process that runs. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) socket: OwnedFd,
    pub(super) words: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that is stuck in a driver does not see that its socket is closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what became of a process that did not answer.
pub(super) fn died(
    mut running: Running,
    error: &WireError,
    who: &str,
    operation: &str,
    deadline: Duration,
) -> Refusal {
    let seconds = deadline.as_secs();
    let (kind, cause, what) = if matches!(error, WireError::Late) {
        (
            RefusalKind::Transient,
            Cause::Deadline(seconds),
            format!("no answer within {seconds} s"),
        )
    } else {
        // It closed its socket, so it is ending; one that does not is made to.
        match ended(&mut running.child) {
            Some(status) => told(status),
            None => (
                RefusalKind::Transient,
                Cause::Deadline(seconds),
                format!("it stopped talking ({error}) and did not end"),
            ),
        }
    };
    let last = last_words(&mut running.words);
    let said = if last.is_empty() {
        String::new()
    } else {
        format!("; its last words: {last}")
    };
    Refusal {
        kind,
        device: who.to_owned(),
        operation: operation.to_owned(),
        cause,
        words: format!("{who}: {operation}: {what}{said}"),
    }
}

fn told(status: ExitStatus) -> (RefusalKind, Cause, String) {
    /// What the kernel sends when memory is short, and what an administrator sends.
    const SIGKILL: i32 = 9;
    const SIGTERM: i32 = 15;
    const SIGABRT: i32 = 6;
    match (status.signal(), status.code()) {
        (Some(SIGKILL), _) => (
            RefusalKind::Transient,
            Cause::Signal(SIGKILL),
            "the helper process was killed (signal 9), as the kernel does when memory is short"
                .to_owned(),
        ),
        (Some(SIGTERM), _) => (
            RefusalKind::Transient,
            Cause::Signal(SIGTERM),
            "the helper process was told to end (signal 15)".to_owned(),
        ),
        (Some(SIGABRT), _) => (
            RefusalKind::Structural,
            Cause::Signal(SIGABRT),
            "the driver aborted the helper process".to_owned(),
        ),
        (Some(signal), _) => (
            RefusalKind::Structural,
            Cause::Signal(signal),
            format!("the driver crashed the helper process (signal {signal})"),
        ),
        (None, code) => {
            let code = code.unwrap_or_default();
            (
                RefusalKind::Structural,
                Cause::Exit(code),
                format!("the helper process ended with code {code}"),
            )
        }
    }
}

/// Waits a little for a process that is ending.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    const TRIES: u32 = 200;
    for _ in 0..TRIES {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
    None
}

/// Returns the end of what the helper said, made printable.
fn last_words(words: &mut File) -> String {
    // Both processes write and read at one place of the file, which is where the helper's words end.
    let length = words.stream_position().unwrap_or_default();
    let mut text = Vec::new();
    let from = length.saturating_sub(LAST_WORDS);
    let read = words
        .seek(SeekFrom::Start(from))
        .and_then(|_| words.take(length.min(LAST_WORDS)).read_to_end(&mut text));
    match read {
        Ok(_) => printable(&String::from_utf8_lossy(&text).trim().replace('\n', " / ")),
        Err(_) => String::new(),
    }
}
