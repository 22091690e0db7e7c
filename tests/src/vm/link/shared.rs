//! The state that the thread that reads the port shares with the threads that use commands.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU32;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LinkError;
use crate::wire::{Decoder, Ready, Status, Stream, ToGuest, ToHost, WINDOW_BYTES, encode};

/// The most output of one command that is buffered, in bytes.
const MAX_BUFFERED_BYTES: usize = 64 << 20;

/// What the threads that use a link share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Mutex<UnixStream>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) next: AtomicU32,
}

/// What the guest has reported so far.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) ready: Option<Result<Ready, String>>,
    pub(super) synced: u64,
    pub(super) protocol_errors: Vec<String>,
    pub(super) commands: BTreeMap<u32, CommandState>,
    pub(super) ended: Option<String>,
}

/// The state of one command in the guest.
#[derive(Debug, Default)]
pub(super) struct CommandState {
    pub(super) outputs: BTreeMap<Stream, Queue>,
    /// The number of input bytes that the guest has not acknowledged yet.
    pub(super) in_flight: usize,
    pub(super) status: Option<Status>,
}

/// The output of one stream that was received but not taken.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) bytes: VecDeque<u8>,
    /// The number of output bytes that this process has received but not acknowledged yet.
    pub(super) unacknowledged: usize,
}

impl Shared {
    /// Locks the state.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete, so the state is valid even if another thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to the guest.
    pub(super) fn send(&self, message: &ToGuest) -> Result<(), LinkError> {
        let frame = encode(message)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&frame).map_err(|error| {
            let reason = self.lock().ended.clone();
            LinkError::GuestEnded {
                reason: reason
                    .unwrap_or_else(|| format!("cannot write to the port of the guest: {error}")),
            }
        })
    }

    /// Tells the guest that `bytes` bytes of a command's output were taken, so that it sends more.
    pub(super) fn acknowledge(
        &self,
        id: u32,
        stream: Stream,
        bytes: usize,
    ) -> Result<(), LinkError> {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes > 0 => self.send(&ToGuest::Taken { id, stream, bytes }),
            _ => Ok(()),
        }
    }

    /// Waits until `look` returns a value for the current state, and returns this value.
    pub(super) fn wait<T>(
        &self,
        operation: &str,
        limit: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, LinkError> {
        let started = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            if let Some(reason) = &state.ended {
                return Err(LinkError::GuestEnded {
                    reason: reason.clone(),
                });
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(LinkError::Deadline {
                    operation: operation.to_owned(),
                    limit,
                });
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Handles the guest's messages until its port is closed.
    pub(super) fn read_messages(&self, mut reader: UnixStream) {
        let mut decoder = Decoder::default();
        let mut piece = vec![0; 128 << 10];
        let reason = loop {
            match reader.read(&mut piece) {
                Ok(0) => break "the guest closed its port".to_owned(),
                Ok(read) => decoder.push(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break format!("cannot read from the port of the guest: {error}"),
            }
            loop {
                match decoder.take::<ToHost>() {
                    Ok(Some(message)) => self.handle(message),
                    Ok(None) => break,
                    Err(error) => self.lock().protocol_errors.push(error.to_string()),
                }
            }
            self.changed.notify_all();
        };
        self.lock().ended = Some(reason);
        self.changed.notify_all();
    }

    /// Stores what a message reports.
    pub(super) fn handle(&self, message: ToHost) {
        let mut state = self.lock();
        match message {
            ToHost::Ready(ready) => state.ready = Some(Ok(ready)),
            ToHost::Refused { reason } => state.ready = Some(Err(reason)),
            ToHost::Output { id, stream, bytes } => {
                let Some(command) = state.commands.get_mut(&id) else {
                    return;
                };
                let queue = command.outputs.entry(stream).or_default();
                queue.unacknowledged += bytes.0.len();
                queue.bytes.extend(bytes.0);
                // Half of the window is acknowledged at a time. This needs few messages, and the command never has to wait.
                if queue.bytes.len() < MAX_BUFFERED_BYTES
                    && queue.unacknowledged >= WINDOW_BYTES / 2
                {
                    let unacknowledged = std::mem::take(&mut queue.unacknowledged);
                    drop(state);
                    // The call fails only if the guest has ended, which the next read reports.
                    let _ = self.acknowledge(id, stream, unacknowledged);
                }
            }
            ToHost::Taken { id, bytes } => {
                if let Some(command) = state.commands.get_mut(&id) {
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    command.in_flight = command.in_flight.saturating_sub(bytes);
                }
            }
            ToHost::Ended { id, status } => {
                if let Some(command) = state.commands.get_mut(&id) {
                    command.status = Some(status);
                }
            }
            ToHost::Synced => state.synced += 1,
            ToHost::ProtocolError { message } => state.protocol_errors.push(message),
        }
    }
}
