//! A command that runs in the guest, as the host sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::{Event, KILL_DEADLINE, LinkError, Output};
use crate::wire::{
    Bytes, CHUNK_BYTES, SignalTarget, Status, Stream, ToGuest, WINDOW_BYTES, Window,
};

/// A command that runs in the guest. If it is dropped before the command has ended, the command is killed.
#[derive(Debug)]
pub struct Process {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
    pub(super) line: String,
    pub(super) ended: Option<Status>,
}

impl Process {
    /// Returns the command's standard input.
    #[must_use]
    pub fn input(&self) -> Input {
        Input {
            shared: Arc::clone(&self.shared),
            id: self.id,
        }
    }

    /// Sends a signal to the command's own process, or to its process group, as the interrupt key of a terminal does. A command
    /// that has ended gets no signal.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn signal(&self, signal: i32, to: SignalTarget) -> Result<(), LinkError> {
        let id = self.id;
        self.shared.send(&ToGuest::Signal { id, signal, to })
    }

    /// Kills the command and every process that it has started. [`Process::wait`] then returns its exit status.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn kill(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::Kill { id: self.id })
    }

    /// Waits up to `limit` for the command's next event, and returns it.
    ///
    /// # Errors
    /// Nothing happens within `limit` (the command continues), or the guest has ended.
    pub fn next(&mut self, limit: Duration) -> Result<Event, LinkError> {
        if let Some(status) = self.ended {
            return Ok(Event::Ended(status));
        }
        let id = self.id;
        let operation = format!("the next word of {}", self.line);
        let (event, unacknowledged) = self.shared.wait(&operation, limit, |state| {
            let command = state.commands.get_mut(&id)?;
            for (stream, queue) in &mut command.outputs {
                if !queue.bytes.is_empty() {
                    let bytes: Vec<u8> = queue.bytes.drain(..).collect();
                    let unacknowledged = std::mem::take(&mut queue.unacknowledged);
                    return Some((
                        Event::Wrote(*stream, bytes),
                        Some((*stream, unacknowledged)),
                    ));
                }
            }
            Some((Event::Ended(command.status?), None))
        })?;
        self.acknowledge(unacknowledged)?;
        if let Event::Ended(status) = event {
            self.ended = Some(status);
        }
        Ok(event)
    }

    /// Waits up to `limit` for the next line that the command writes to `stream`, and returns it without its newline. If the
    /// output ends without a newline, its last bytes count as a line. Returns `None` if the command has ended and no line is
    /// left.
    ///
    /// # Errors
    /// No line comes within `limit` (the command continues), or the guest has ended.
    pub fn line(&mut self, stream: Stream, limit: Duration) -> Result<Option<String>, LinkError> {
        let id = self.id;
        let operation = format!("a line of {}", self.line);
        let (line, unacknowledged) = self.shared.wait(&operation, limit, |state| {
            let command = state.commands.get_mut(&id)?;
            let over = command.status.is_some();
            let Some(queue) = command.outputs.get_mut(&stream) else {
                return over.then_some((None, None));
            };
            let end = queue.bytes.iter().position(|byte| *byte == b'\n');
            let length = match end {
                Some(end) => end + 1,
                None if !over => return None,
                None if queue.bytes.is_empty() => return Some((None, None)),
                None => queue.bytes.len(),
            };
            let mut bytes: Vec<u8> = queue.bytes.drain(..length).collect();
            if end.is_some() {
                bytes.pop();
            }
            let unacknowledged = std::mem::take(&mut queue.unacknowledged);
            let line = String::from_utf8_lossy(&bytes).into_owned();
            Some((Some(line), Some((stream, unacknowledged))))
        })?;
        self.acknowledge(unacknowledged)?;
        Ok(line)
    }

    /// Waits until the command has ended, and returns the output that was not read yet.
    ///
    /// # Errors
    /// The command runs longer than `limit` (it is then killed, and the error contains its output), or the guest has ended.
    pub fn wait(mut self, limit: Duration) -> Result<Output, LinkError> {
        let mut output = Output {
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: Status::Signal(0),
        };
        match self.collect(&mut output, limit) {
            Err(LinkError::Deadline { .. }) => {}
            result => return result.map(|()| output),
        }
        self.kill()?;
        self.collect(&mut output, KILL_DEADLINE)?;
        Err(LinkError::CommandDeadline {
            command: self.line.clone(),
            limit,
            output: Box::new(output),
        })
    }

    /// Collects the output of the command until it ends.
    fn collect(&mut self, output: &mut Output, limit: Duration) -> Result<(), LinkError> {
        let started = Instant::now();
        loop {
            match self.next(limit.saturating_sub(started.elapsed()))? {
                Event::Wrote(Stream::Out, bytes) => output.stdout.extend(bytes),
                Event::Wrote(Stream::Error, bytes) => output.stderr.extend(bytes),
                Event::Ended(status) => {
                    output.status = status;
                    return Ok(());
                }
            }
            // Without this check, a command that writes all the time would never exceed its limit.
            if started.elapsed() > limit {
                return Err(LinkError::Deadline {
                    operation: self.line.clone(),
                    limit,
                });
            }
        }
    }

    /// Tells the guest how many bytes of output were taken, so that it sends more.
    fn acknowledge(&self, unacknowledged: Option<(Stream, usize)>) -> Result<(), LinkError> {
        let Some((stream, bytes)) = unacknowledged else {
            return Ok(());
        };
        // If the guest has ended after its last command, the acknowledgement is not needed.
        match self.shared.acknowledge(self.id, stream, bytes) {
            Err(LinkError::GuestEnded { .. }) => Ok(()),
            result => result,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let command = self.shared.lock().commands.remove(&self.id);
        if command.is_some_and(|command| command.status.is_none()) {
            // The call fails only if the guest has ended, and then the command has ended too.
            let _ = self.kill();
        }
    }
}

/// The standard input of a command. Another thread can use it.
#[derive(Debug, Clone)]
pub struct Input {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
}

impl Input {
    /// Writes `bytes` as fast as the command reads them. Bytes for a command that has ended are discarded.
    ///
    /// # Errors
    /// The command does not read for `limit`, or the guest has ended.
    pub fn write_all(&self, bytes: &[u8], limit: Duration) -> Result<(), LinkError> {
        let id = self.id;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let is_running = self.shared.wait("the command's input", limit, |state| {
                let Some(command) = state.commands.get_mut(&id) else {
                    return Some(false);
                };
                if command.status.is_some() {
                    return Some(false);
                }
                (command.in_flight + chunk.len() <= WINDOW_BYTES).then(|| {
                    command.in_flight += chunk.len();
                    true
                })
            })?;
            if !is_running {
                return Ok(());
            }
            self.shared.send(&ToGuest::Input {
                id,
                bytes: Bytes(chunk.to_vec()),
            })?;
        }
        Ok(())
    }

    /// Closes the command's standard input.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn close(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::InputEnd { id: self.id })
    }

    /// Changes the size of the command's terminal.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn resize(&self, window: Window) -> Result<(), LinkError> {
        let id = self.id;
        self.shared.send(&ToGuest::Resize { id, window })
    }
}
