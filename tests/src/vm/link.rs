//! The host's end of the port: starts commands in the guest and keeps what they write until somebody takes it.
//!
//! A thread of its own reads the port, so a guest is never held up by a host that does something else. What a command
//! writes is kept here, up to a bound; then the command waits, and the other commands do not.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{
    Bytes, CHUNK_BYTES, Decoder, Exec, Prepare, Ready, Status, Stream, ToGuest, ToHost,
    WINDOW_BYTES, Whom, Window, WireError, encode,
};

/// How much of one output is kept for who has not taken it yet.
const KEPT_BYTES: usize = 64 << 20;

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

#[derive(Debug)]
struct Shared {
    writer: Mutex<UnixStream>,
    state: Mutex<State>,
    changed: Condvar,
    next: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Result<Ready, String>>,
    synced: u64,
    complaints: Vec<String>,
    commands: BTreeMap<u32, Kept>,
    gone: Option<String>,
}

/// What is kept of one command.
#[derive(Debug, Default)]
struct Kept {
    outputs: BTreeMap<Stream, Queue>,
    /// Bytes of input under way.
    under_way: usize,
    status: Option<Status>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// What the guest has not been told is taken.
    owed: usize,
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

/// A command that was started in the guest. Dropped before its end, it is ended.
#[derive(Debug)]
pub struct Process {
    shared: Arc<Shared>,
    id: u32,
    line: String,
    ended: Option<Status>,
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
    pub fn signal(&self, signal: i32, to: Whom) -> Result<(), LinkError> {
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
    shared: Arc<Shared>,
    id: u32,
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is whole; a thread that died in between has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &ToGuest) -> Result<(), LinkError> {
        let frame = encode(message)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&frame).map_err(|error| {
            let reason = self.lock().gone.clone();
            LinkError::Gone {
                reason: reason.unwrap_or_else(|| format!("write to its port: {error}")),
            }
        })
    }

    fn grant(&self, id: u32, stream: Stream, bytes: usize) -> Result<(), LinkError> {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes > 0 => self.send(&ToGuest::Taken { id, stream, bytes }),
            _ => Ok(()),
        }
    }

    /// Waits until `look` finds what it looks for in the state.
    fn wait<T>(
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
            if let Some(reason) = &state.gone {
                return Err(LinkError::Gone {
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

    fn listen(&self, mut reader: UnixStream) {
        let mut decoder = Decoder::default();
        let mut piece = vec![0; 128 << 10];
        let reason = loop {
            match reader.read(&mut piece) {
                Ok(0) => break "it closed its port".to_owned(),
                Ok(read) => decoder.push(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break format!("read its port: {error}"),
            }
            loop {
                match decoder.take::<ToHost>() {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => break,
                    Err(error) => self.lock().complaints.push(error.to_string()),
                }
            }
            self.changed.notify_all();
        };
        self.lock().gone = Some(reason);
        self.changed.notify_all();
    }

    fn hear(&self, message: ToHost) {
        let mut state = self.lock();
        match message {
            ToHost::Ready(ready) => state.ready = Some(Ok(ready)),
            ToHost::Refused { reason } => state.ready = Some(Err(reason)),
            ToHost::Output { id, stream, bytes } => {
                let Some(kept) = state.commands.get_mut(&id) else {
                    return;
                };
                let queue = kept.outputs.entry(stream).or_default();
                queue.owed += bytes.0.len();
                queue.bytes.extend(bytes.0);
                // In halves of the window: fewer messages, and never a pause.
                if queue.bytes.len() < KEPT_BYTES && queue.owed >= WINDOW_BYTES / 2 {
                    let owed = std::mem::take(&mut queue.owed);
                    drop(state);
                    // Where this fails the guest is gone, and the next read says so.
                    let _ = self.grant(id, stream, owed);
                }
            }
            ToHost::Taken { id, bytes } => {
                if let Some(kept) = state.commands.get_mut(&id) {
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    kept.under_way = kept.under_way.saturating_sub(bytes);
                }
            }
            ToHost::Ended { id, status } => {
                if let Some(kept) = state.commands.get_mut(&id) {
                    kept.status = Some(status);
                }
            }
            ToHost::Synced => state.synced += 1,
            ToHost::Complaint { words } => state.complaints.push(words),
        }
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
