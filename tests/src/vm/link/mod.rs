//! The host's end of the virtio-serial port to the guest: starts commands in the guest, and buffers their output.
//!
//! A thread reads the port, so a busy host never blocks the guest. The output of each command is buffered up to a limit. When the
//! limit is reached, this command waits, and the other commands continue.

mod process;
mod shared;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

pub use process::{Input, Process};
use shared::{CommandState, Shared};

use crate::wire::{Exec, Prepare, Ready, Status, Stream, ToGuest, WireError};

/// The longest time for which bytes may stay unread in the port. The guest's event loop never blocks, so if it takes longer, the
/// guest hangs.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// The time limit until a killed command has ended.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// The reason why a request to the guest's first process failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The guest or its first process has ended.
    #[error("the guest has ended: {reason}")]
    GuestEnded {
        /// How the stream from the guest ended.
        reason: String,
    },
    /// A time limit has passed.
    #[error("{operation} took longer than {} s", .limit.as_secs_f32())]
    Deadline {
        /// The operation that took too long.
        operation: String,
        /// The time limit that has passed.
        limit: Duration,
    },
    /// A command ran longer than its time limit and was killed.
    #[error("{command} ran longer than {} s and was ended; its last output: {}", .limit.as_secs_f32(), output_tail(.output))]
    CommandDeadline {
        /// The command line of the killed command.
        command: String,
        /// The time limit that has passed.
        limit: Duration,
        /// The command's output until then, and its exit status.
        output: Box<Output>,
    },
    /// The guest could not be prepared.
    #[error("the guest cannot be prepared: {reason}")]
    Refused {
        /// The guest's error message.
        reason: String,
    },
    /// A message could not be encoded.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The socket to the port could not be set up.
    #[error("prepare the port to the guest: {0}")]
    Port(#[source] io::Error),
}

/// The output of a command, and its exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, or the output of the terminal.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status or signal.
    pub status: Status,
}

impl Output {
    /// Returns standard output as text, without white space at the end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// An event of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The command has written bytes to a stream.
    Wrote(Stream, Vec<u8>),
    /// The command has ended; no event follows.
    Ended(Status),
}

/// The connection to a guest's first process. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Starts to read messages from the socket `port`.
    ///
    /// # Errors
    /// The port cannot be set up.
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
            .spawn(move || listener.read_messages(reader))
            .map_err(LinkError::Port)?;
        Ok(Self { shared })
    }

    /// Sends the first message to the guest, which prepares it, and waits until the guest is ready.
    ///
    /// # Errors
    /// The guest cannot be prepared, or does not answer within `limit`.
    pub fn prepare(&self, prepare: Prepare, limit: Duration) -> Result<Ready, LinkError> {
        self.shared.send(&ToGuest::Prepare(prepare))?;
        let answer = self
            .shared
            .wait("the guest's start", limit, |state| state.ready.take())?;
        answer.map_err(|reason| LinkError::Refused { reason })
    }

    /// Starts a command. If the program does not exist, the command ends with status 127, as in a shell.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn start(&self, exec: Exec) -> Result<Process, LinkError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let line = exec
            .argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        self.shared
            .lock()
            .commands
            .insert(id, CommandState::default());
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
    /// The guest has ended, or the command runs longer than `limit`; then the command is killed.
    pub fn run(&self, exec: Exec, input: &[u8], limit: Duration) -> Result<Output, LinkError> {
        let process = self.start(exec)?;
        let feeder = process.input();
        thread::scope(|scope| {
            // A command need not read its input, so one thread writes the input while another thread waits for the end of the
            // command.
            scope.spawn(move || {
                let fed = feeder.write_all(input, limit);
                fed.and_then(|()| feeder.close())
            });
            process.wait(limit)
        })
    }

    /// Writes all files of the guest to its disk and to the shared folder.
    ///
    /// # Errors
    /// The guest has ended, or takes longer than `limit`.
    pub fn sync(&self, limit: Duration) -> Result<(), LinkError> {
        let before = self.shared.lock().synced;
        self.shared.send(&ToGuest::Sync)?;
        self.shared
            .wait("writing everything to disk", limit, |state| {
                (state.synced > before).then_some(())
            })
    }

    /// Asks the guest to power off.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn power_off(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::PowerOff)
    }

    /// Returns the messages that the guest could not handle since the last call.
    #[must_use]
    pub fn protocol_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().protocol_errors)
    }

    /// Returns whether the guest has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.lock().ended.is_some()
    }
}

/// Returns the end of stderr, or of stdout if stderr is empty.
fn output_tail(output: &Output) -> String {
    const TAIL_BYTES: usize = 500;
    let all = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    let tail = &all[all.len().saturating_sub(TAIL_BYTES)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}
