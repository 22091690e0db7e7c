//! A command in the guest, from the host's side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::{Event, KILL_DEADLINE, LinkError, Output};
use crate::wire::{
    Bytes, CHUNK_BYTES, SignalTarget, Status, Stream, ToGuest, WINDOW_BYTES, Window,
};

/// A command that was started in the guest. Dropped before its end, it is ended.
#[derive(Debug)]
pub struct Process {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
    pub(super) line: String,
    pub(super) ended: Option<Status>,
}

impl Process {
    /// The command's standard input.
    #[must_use]
    pub fn input(&self) -> Input {
        Input {
            shared: Arc::clone(&self.shared),
            id: self.id,
        }
    }

    /// Sends a signal to the command's own process, or to its group as an interrupt key does. One that has ended
    /// meanwhile gets none.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn signal(&self, signal: i32, to: SignalTarget) -> Result<(), LinkError> {
        let id = self.id;
        self.shared.send(&ToGuest::Signal { id, signal, to })
    }

    /// Ends the command and all that it has started, at once. [`Process::wait`] tells of it.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn kill(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::Kill { id: self.id })
    }

    /// What the command does next, at the latest after `limit`.
    ///
    /// # Errors
    /// Where nothing happens within `limit` (the command goes on), or the guest is gone.
    pub fn next(&mut self, limit: Duration) -> Result<Event, LinkError> {
        if let Some(status) = self.ended {
            return Ok(Event::Ended(status));
        }
        let id = self.id;
        let operation = format!("the next word of {}", self.line);
        let (event, owed) = self.shared.wait(&operation, limit, |state| {
            let kept = state.commands.get_mut(&id)?;
            for (stream, queue) in &mut kept.outputs {
                if !queue.bytes.is_empty() {
                    let bytes: Vec<u8> = queue.bytes.drain(..).collect();
                    let owed = std::mem::take(&mut queue.owed);
                    return Some((Event::Wrote(*stream, bytes), Some((*stream, owed))));
                }
            }
            Some((Event::Ended(kept.status?), None))
        })?;
        self.settle(owed)?;
        if let Event::Ended(status) = event {
            self.ended = Some(status);
        }
        Ok(event)
    }

    /// The next line that the command writes to `stream`, without its end; the rest before the end of the command
    /// counts as a line. `None` where the command has ended and no line is left.
    ///
    /// # Errors
    /// Where there is none within `limit` (the command goes on), or the guest is gone.
    pub fn line(&mut self, stream: Stream, limit: Duration) -> Result<Option<String>, LinkError> {
        let id = self.id;
        let operation = format!("a line of {}", self.line);
        let (line, owed) = self.shared.wait(&operation, limit, |state| {
            let kept = state.commands.get_mut(&id)?;
            let over = kept.status.is_some();
            let Some(queue) = kept.outputs.get_mut(&stream) else {
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
            let owed = std::mem::take(&mut queue.owed);
            let line = String::from_utf8_lossy(&bytes).into_owned();
            Some((Some(line), Some((stream, owed))))
        })?;
        self.settle(owed)?;
        Ok(line)
    }

    /// Waits for the command's end and gives what nobody has taken yet of its output.
    ///
    /// # Errors
    /// Where it runs longer than `limit`; then it has been ended, and the error holds its output. Where the guest is
    /// gone.
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
            // A command that never stops writing would otherwise never meet its deadline.
            if started.elapsed() > limit {
                return Err(LinkError::Deadline {
                    operation: self.line.clone(),
                    limit,
                });
            }
        }
    }

    fn settle(&self, owed: Option<(Stream, usize)>) -> Result<(), LinkError> {
        let Some((stream, bytes)) = owed else {
            return Ok(());
        };
        // The guest ends by itself after its last command's last word; then nobody waits for this.
        match self.shared.grant(self.id, stream, bytes) {
            Err(LinkError::Gone { .. }) => Ok(()),
            result => result,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let kept = self.shared.lock().commands.remove(&self.id);
        if kept.is_some_and(|kept| kept.status.is_none()) {
            // Where the guest is gone, so is the command.
            let _ = self.kill();
        }
    }
}

/// A command's standard input, for a thread of its own.
#[derive(Debug, Clone)]
pub struct Input {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
}

impl Input {
    /// Writes `bytes`, as fast as the command reads them. Bytes for a command that has ended are lost, as in a pipe.
    ///
    /// # Errors
    /// Where the command does not read for `limit`, or the guest is gone.
    pub fn write_all(&self, bytes: &[u8], limit: Duration) -> Result<(), LinkError> {
        let id = self.id;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let wanted = self.shared.wait("the command's input", limit, |state| {
                let Some(kept) = state.commands.get_mut(&id) else {
                    return Some(false);
                };
                if kept.status.is_some() {
                    return Some(false);
                }
                (kept.under_way + chunk.len() <= WINDOW_BYTES).then(|| {
                    kept.under_way += chunk.len();
                    true
                })
            })?;
            if !wanted {
                return Ok(());
            }
            self.shared.send(&ToGuest::Input {
                id,
                bytes: Bytes(chunk.to_vec()),
            })?;
        }
        Ok(())
    }

    /// Says that no more input comes.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn close(&self) -> Result<(), LinkError> {
        self.shared.send(&ToGuest::InputEnd { id: self.id })
    }

    /// Changes the size of the command's terminal.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn resize(&self, window: Window) -> Result<(), LinkError> {
        let id = self.id;
        self.shared.send(&ToGuest::Resize { id, window })
    }
}
