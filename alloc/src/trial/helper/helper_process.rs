//! A running helper process, and the refusal that is reported if the process crashes or does not reply.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use super::super::wire::WireError;
use crate::text::printable;
use covalent_machine::trial_results::{Cause, Refusal, RefusalKind};

/// The number of bytes from the end of the helper's standard error that a refusal contains.
const STDERR_TAIL_BYTES: u64 = 600;

/// How many bytes from the end of the standard error are searched for the message of a panic, which a backtrace may follow.
const STDERR_SEARCHED_BYTES: u64 = 64 << 10;

/// How many characters of the message of a panic are kept.
const PANIC_CHARACTERS: usize = 300;

/// A running helper process. It is killed on drop.
#[derive(Debug)]
pub(super) struct HelperProcess {
    pub(super) child: Child,
    pub(super) socket: OwnedFd,
    pub(super) stderr: File,
}

impl Drop for HelperProcess {
    fn drop(&mut self) {
        // The process is killed, because a process that hangs in a driver does not notice that its socket is closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the refusal of `device` for a process that did not reply: why the process ended, or that it missed the deadline.
pub(super) fn refusal_without_reply(
    mut process: HelperProcess,
    error: &WireError,
    device: &str,
    operation: &str,
    deadline: Duration,
) -> Refusal {
    let seconds = deadline.as_secs();
    let (kind, cause, what) = if matches!(error, WireError::Timeout) {
        (
            RefusalKind::Transient,
            Cause::Deadline(seconds),
            format!("no answer within {seconds} s"),
        )
    } else {
        // The process has closed its socket, so it is expected to end. If it does not end, the drop kills it.
        match wait_for_exit(&mut process.child) {
            Some(status) => exit_cause(status),
            None => (
                RefusalKind::Transient,
                Cause::Deadline(seconds),
                format!("the helper process stopped replying ({error}) and did not end"),
            ),
        }
    };
    let stderr_note = stderr_note(&mut process.stderr);
    Refusal {
        kind,
        device: device.to_owned(),
        operation: operation.to_owned(),
        cause,
        words: format!("{device}: {operation}: {what}{stderr_note}"),
    }
}

/// Returns the kind, the cause and a description of the refusal for the way in which the process ended.
fn exit_cause(status: ExitStatus) -> (RefusalKind, Cause, String) {
    /// The signal that the kernel's OOM killer sends.
    const SIGKILL: i32 = 9;
    /// The signal that an administrator or a service manager sends.
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
            "the helper process was terminated (signal 15)".to_owned(),
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

/// Waits up to two seconds for a process that is ending.
fn wait_for_exit(child: &mut Child) -> Option<ExitStatus> {
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

/// Returns the message of the first panic in the helper's standard error, or the end of the standard error if there is no panic,
/// as printable text.
fn stderr_note(stderr: &mut File) -> String {
    // Both processes share the file offset of the memfd, which is at the end of what the helper has written.
    let length = stderr.stream_position().unwrap_or_default();
    let mut text = Vec::new();
    let from = length.saturating_sub(STDERR_SEARCHED_BYTES);
    let read = stderr.seek(SeekFrom::Start(from)).and_then(|_| {
        stderr
            .take(length.min(STDERR_SEARCHED_BYTES))
            .read_to_end(&mut text)
    });
    if read.is_err() || text.is_empty() {
        return String::new();
    }
    if let Some(message) = panic_message(&String::from_utf8_lossy(&text)) {
        return format!("; it panicked: {}", printable(&message));
    }
    let tail_bytes = usize::try_from(STDERR_TAIL_BYTES).unwrap_or(usize::MAX);
    let tail = text.get(text.len().saturating_sub(tail_bytes)..);
    let tail = String::from_utf8_lossy(tail.unwrap_or_default());
    let tail = printable(&tail.trim().replace('\n', " / "));
    if tail.is_empty() {
        String::new()
    } else {
        format!("; its standard error ends with: {tail}")
    }
}

/// Returns the message and the source location of the first Rust panic. Drivers can be written in Rust in part, as NVK is. A
/// panic that reaches C ends the process and always prints a backtrace, which is left out.
fn panic_message(stderr: &str) -> Option<String> {
    let (_, panic) = stderr.split_once("panicked at ")?;
    let mut lines = panic.lines().map(str::trim);
    let (location, words) = (lines.next()?, lines.next().unwrap_or_default());
    let message = format!("{words} ({})", location.trim_end_matches(':'));
    Some(message.chars().take(PANIC_CHARACTERS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_a_panic_is_found_before_its_backtrace() {
        let text = "MESA: warning\n\nthread '<unnamed>' panicked at src/nouveau/nil/format.rs:61:9:\nassertion failed: plane < 3\nstack backtrace:\n   0: a\nthread caused non-unwinding panic. aborting.\n";
        assert_eq!(
            panic_message(text).unwrap(),
            "assertion failed: plane < 3 (src/nouveau/nil/format.rs:61:9)"
        );
        assert_eq!(panic_message("free(): invalid pointer\n"), None);
        assert_eq!(panic_message("panicked at "), None);
        let long = format!("panicked at a:\n{}", "x".repeat(1000));
        assert_eq!(panic_message(&long).unwrap().len(), PANIC_CHARACTERS);
    }
}
