//! The process that watches: drivers may end the one that tries, which then goes on behind the row that ended it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use covalent_tests::interop::Row;
use covalent_tests::verdict::Verdict;

use super::rows::Told;

/// How long one row may take: processor and devices are emulated, Vulkan's drivers load in the first, and one hands 10,000 frames over.
const TIMEOUT: Duration = Duration::from_secs(900);

/// How many times a process that tries may end before its time.
const DEATHS: usize = 50;

/// Tries all rows in processes of their own, one after another, and gives each on as it ends.
pub(crate) fn watch(words: &[String], mut give: impl FnMut(Row)) -> Result<()> {
    let mut done: usize = 0;
    for _ in 0..DEATHS {
        let mut child = start(words, done)?;
        let outcome = listen(&mut child, &mut done, &mut give);
        // It may have ended by itself.
        let _ = child.kill();
        let status = child.wait()?;
        let Some((row, doubt)) = outcome? else {
            return Ok(());
        };
        done = done.saturating_add(1);
        give(ended(row, doubt, status));
    }
    bail!("drivers ended this check {DEATHS} times")
}

/// A row that was begun and is not over, with the doubts that stand against it.
type Open = Option<((String, String), Option<String>)>;

fn start(words: &[String], done: usize) -> Result<Child> {
    Command::new("/proc/self/exe")
        .args(words)
        .args(["--after", &done.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the process that tries")
}

/// Gives rows on until all are done; the row that is open where the process ended before.
fn listen(child: &mut Child, done: &mut usize, give: &mut impl FnMut(Row)) -> Result<Open> {
    let lines = lines(child)?;
    let mut open: Open = None;
    loop {
        let line = match lines.recv_timeout(TIMEOUT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(open),
            Err(RecvTimeoutError::Disconnected) => match open {
                Some(open) => return Ok(Some(open)),
                None => bail!("the process that tries ended between two rows"),
            },
        };
        // Drivers and layers write to stdout too.
        let Ok(told) = serde_json::from_str::<Told>(&line) else {
            eprintln!("{line}");
            continue;
        };
        match told {
            Told::Begin { behaviour, row } => open = Some(((behaviour, row), None)),
            Told::Doubt(words) => {
                if let Some((_, doubt)) = &mut open {
                    *doubt = Some(words);
                }
            }
            Told::End(row) => {
                open = None;
                *done = done.saturating_add(1);
                give(row);
            }
            Told::Done => return Ok(None),
        }
    }
}

fn lines(child: &mut Child) -> Result<Receiver<String>> {
    let out = child.stdout.take().context("no pipe")?;
    let (send, lines) = channel();
    // It ends with the pipe, or when nobody listens any more.
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

/// What a row is worth whose process ended in it.
fn ended((behaviour, row): (String, String), doubt: Option<String>, status: ExitStatus) -> Row {
    let how = match status.signal() {
        Some(9) => format!("it hung for {} s and was killed", TIMEOUT.as_secs()),
        Some(signal) => format!("the driver ended the process by signal {signal}"),
        None => format!("the driver ended the process with {status}"),
    };
    let (verdict, reason) = match doubt {
        Some(doubt) => (
            Verdict::Skipped,
            format!("possible ({doubt}), and not this time: {how}"),
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
