//! The host's end of the port: starts commands in the guest and keeps what they write until somebody takes it.
//!
//! A thread of its own reads the port, so a guest is never held up by a host that does something else. What a command
//! writes is kept here, up to a bound; then the command waits, and the other commands do not.

mod process;
mod shared;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

pub use process::{Input, Process};
use shared::{Kept, Shared};

use crate::wire::{Exec, Prepare, Ready, Status, Stream, ToGuest, WireError};

/// How long the guest may leave bytes in the port unread. Its loop never blocks, so this is a guest that hangs.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// How long a command that was killed may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// What can go wrong between the host and the guest's first process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The guest has ended, or its first process has.
    #[error("the guest is gone: {reason}")]
    Gone {
        /// What ended the stream.
        reason: String,
    },
    /// It took too long.
    #[error("{operation} took longer than {} s", .limit.as_secs_f32())]
    Deadline {
        /// What was waited for.
        operation: String,
        /// How long.
        limit: Duration,
    },
    /// A command took too long; it was ended.
    #[error("{command} ran longer than {} s and was ended; its last words: {}", .limit.as_secs_f32(), last_words(.output))]
    CommandDeadline {
        /// The command's line.
        command: String,
        /// How long it was let run.
        limit: Duration,
        /// What it had written until then, and how it ended.
        output: Box<Output>,
    },
    /// The guest could not be made ready.
    #[error("the guest cannot be made ready: {reason}")]
    Refused {
        /// Why, in the guest's words.
        reason: String,
    },
    /// A message could not be written down.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The port could not be prepared.
    #[error("prepare the port to the guest: {0}")]
    Port(#[source] io::Error),
}

/// What a command has written, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, or what the terminal showed.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: Status,
}

impl Output {
    /// Standard output as text, without the last line's end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// What a command does, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has written this.
    Wrote(Stream, Vec<u8>),
    /// It has ended; nothing follows.
    Ended(Status),
}

/// The connection to a guest's first process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Begins to listen on `port`.
    ///
    /// # Errors
    /// Where the port cannot be set up.
    pub fn new(port: UnixStream) -> Result<Self, LinkError> {
        port.set_write_timeout(Some(WRITE_DEADLINE))
            .map_err(LinkError::Port)?;
        let reader = port.try_clone().map_err(LinkError::Port)?;
        let shared = Arc::new(Shared {
            writer: Mutex::new(port),
            state: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU32::new(1),
        });
        let listener = Arc::clone(&shared);
        thread::Builder::new()
            .name("guest".to_owned())
            .spawn(move || listener.listen(reader))
            .map_err(LinkError::Port)?;
        Ok(Self { shared })
    }

    /// Makes the guest ready.
    ///
    /// # Errors
    /// Where it cannot be, or does not answer within `limit`.
    pub fn prepare(&self, prepare: Prepare, limit: Duration) -> Result<Ready, LinkError> {
        self.shared.send(&ToGuest::Prepare(prepare))?;
        let answer = self
            .shared
            .wait("the guest's start", limit, |state| state.ready.take())?;
        answer.map_err(|reason| LinkError::Refused { reason })
    }

    /// Starts a command. Whether its program exists shows in how it ends: status 127 where it does not, as in a shell.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start(&self, exec: Exec) -> Result<Process, LinkError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let line = exec
            .argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        self.shared.lock().commands.insert(id, Kept::default());
        let process = Process {
            shared: Arc::clone(&self.shared),
            id,
            line,
            ended: None,
        };
        self.shared.send(&ToGuest::Start { id, exec })?;
        Ok(process)
    }

    /// Runs a command to its end with `input` as its standard input.
    ///
    /// # Errors
    /// Where the guest is gone, or the command runs longer than `limit`; then it has been ended.
    pub fn run(&self, exec: Exec, input: &[u8], limit: Duration) -> Result<Output, LinkError> {
        let process = self.start(exec)?;
        let feeder = process.input();
        thread::scope(|scope| {
            // A command need not read its input, so who waits for its end cannot be who writes.
            scope.spawn(move || {
                let fed = feeder.write_all(input, limit);
                fed.and_then(|()| feeder.close())
            });
            process.wait(limit)
        })
    }

    /// Writes all that the guest has kept back to disk and to the shared folder.
    ///
    /// # Errors
    /// Where the guest is gone or takes longer than `limit`.
    pub fn sync(&self, limit: Duration) -> Result<(), LinkError> {
        let before = self.shared.lock().synced;
        self.shared.send(&ToGuest::Sync)?;
        self.shared
            .wait("writing everything to disk", limit, |state| {
                (state.synced > before).then_some(())
            })
    }

    /// Asks the guest to switch itself off.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn power_off(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::PowerOff)
    }

    /// What the guest did not understand, since the last call.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().complaints)
    }

    /// Whether the guest has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.shared.lock().gone.is_some()
    }
}

fn last_words(output: &Output) -> String {
    const WORDS_BYTES: usize = 500;
    let all = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    let tail = &all[all.len().saturating_sub(WORDS_BYTES)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}
