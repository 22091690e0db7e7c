//! The event loop: the compositor's socket, a camera's fd, a timer and signals, none of which blocks the others.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::channel::{Event as ChannelEvent, Sender, channel};
use calloop::generic::Generic;
use calloop::{Interest, Mode, PostAction};
use calloop_wayland_source::WaylandSource;
use covalent_alloc::sync::{PointWait, Pollable, PollableSource, SyncPointWait};
use wayland_client::{Connection, EventQueue, QueueHandle};

use crate::compositor::{Compositor, Event};

/// Why the compositor can no longer be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// There is no compositor to connect to.
    #[error(
        "cannot reach the compositor at {socket}: {reason}; start one and set WAYLAND_DISPLAY to its socket"
    )]
    Unreachable {
        /// The socket that was tried.
        socket: String,
        /// Why the connection failed.
        reason: String,
    },
    /// The compositor closed the connection.
    #[error("the compositor at {socket} went away ({reason}); start it again, then this program")]
    Gone {
        /// Its socket.
        socket: String,
        /// The error of the connection.
        reason: String,
    },
    /// The compositor sent a protocol error.
    #[error(
        "the compositor at {socket} refused a request: {reason}; this is a fault of one of the two programs"
    )]
    Refused {
        /// Its socket.
        socket: String,
        /// Its message.
        reason: String,
    },
    /// The compositor did not answer in time.
    #[error("the compositor at {socket} did not {what} within {seconds} s; it may be stopped or busy", seconds = .deadline.as_secs())]
    Timeout {
        /// Its socket.
        socket: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        deadline: Duration,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted while waiting for the compositor to {0}")]
    Interrupted(&'static str),
    /// The process has no file descriptor left.
    #[error(
        "this process has no file descriptor left for the compositor at {socket} ({reason}); raise its limit (`ulimit -n`)"
    )]
    NoFileDescriptor {
        /// The compositor's socket.
        socket: String,
        /// The operation that failed, and the error of the kernel.
        reason: String,
    },
    /// The event loop failed.
    #[error("{operation} failed: {reason}")]
    Loop {
        /// The operation.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
}

fn failed(operation: &'static str) -> impl Fn(&(dyn std::error::Error + 'static)) -> EventsError {
    move |error| {
        if is_out_of_file_descriptors(error) {
            return EventsError::NoFileDescriptor {
                socket: socket_from_environment(),
                reason: format!("{operation}: {}", root_cause(error)),
            };
        }
        EventsError::Loop {
            operation,
            reason: error.to_string(),
        }
    }
}

/// A flag that the event loop sets when a file descriptor is readable, has failed or was hung up.
#[derive(Clone, Debug, Default)]
pub struct Ready(Rc<Cell<bool>>);

impl Ready {
    /// Clears the flag and returns whether it was set.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.replace(false)
    }
}

/// The event loop.
pub struct Events {
    event_loop: calloop::EventLoop<'static, Compositor>,
    connection: Connection,
    handle: QueueHandle<Compositor>,
    socket: String,
    interrupted: Ready,
}

impl Events {
    /// Connects to the compositor that `WAYLAND_DISPLAY` names and binds its globals.
    ///
    /// # Errors
    ///
    /// [`EventsError::Unreachable`] where there is no compositor, otherwise the error of the first roundtrips.
    pub fn connect() -> Result<(Self, Compositor), EventsError> {
        let socket = socket_from_environment();
        let connection =
            Connection::connect_to_env().map_err(|error| EventsError::Unreachable {
                socket: socket.clone(),
                reason: unreachable_reason(&socket, &error),
            })?;
        Self::from_connection(connection, socket)
    }

    /// Uses an existing connection; `socket` names the compositor in messages.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn from_connection(
        connection: Connection,
        socket: String,
    ) -> Result<(Self, Compositor), EventsError> {
        let queue: EventQueue<Compositor> = connection.new_event_queue();
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        let event_loop = calloop::EventLoop::try_new()
            .map_err(|error| failed("making an event loop")(&error))?;
        WaylandSource::new(connection.clone(), queue)
            .insert(event_loop.handle())
            .map_err(|error| failed("watching the compositor's socket")(&error))?;
        let mut events = Self {
            event_loop,
            connection,
            handle,
            socket,
            interrupted: Ready::default(),
        };
        events.watch_signals()?;
        let mut compositor = Compositor::default();
        // The first roundtrip receives the globals, the second their events.
        for _ in 0..2 {
            events.roundtrip(&mut compositor)?;
        }
        Ok((events, compositor))
    }

    /// Returns the queue handle with which objects are created.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<Compositor> {
        self.handle.clone()
    }

    /// Returns the compositor's socket, for messages.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Returns whether SIGINT or SIGTERM arrived.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.0.get()
    }

    /// Watches `fd`: the returned flag is set whenever it is readable, has failed or was hung up.
    ///
    /// The flag stays set until it is taken, so read until nothing is left.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the fd cannot be watched.
    pub fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<Ready, EventsError> {
        let fd: OwnedFd = fd
            .try_clone_to_owned()
            .map_err(|error| failed("duplicating a file descriptor")(&error))?;
        let ready = Ready::default();
        let mark = ready.clone();
        self.event_loop
            .handle()
            .insert_source(
                Generic::new(fd, Interest::READ, Mode::Level),
                move |_, _, _| {
                    mark.0.set(true);
                    Ok(PostAction::Continue)
                },
            )
            .map_err(|error| failed("watching a file descriptor")(&error))?;
        Ok(ready)
    }

    /// Queues [`Event::BufferIdle`] for the buffer at `index` when the fence of `wait` is signalled.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn watch_fence(&mut self, wait: SyncPointWait, index: usize) -> Result<(), EventsError> {
        self.push_event_when(wait, "watching a buffer's fence", move || {
            Event::BufferIdle(index)
        })
    }

    /// Queues [`Event::Released`] for the buffer at `index` when a release point is signalled.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn watch_release_point(
        &mut self,
        wait: PointWait,
        index: usize,
    ) -> Result<(), EventsError> {
        self.push_event_when(wait, "watching a release point", move || {
            Event::Released(index)
        })
    }

    /// Queues [`Event::Completed`] with `number` when a fence or point is signalled.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn watch_completion(
        &mut self,
        wait: impl Pollable + 'static,
        number: u64,
    ) -> Result<(), EventsError> {
        self.push_event_when(wait, "watching a fence", move || Event::Completed(number))
    }

    /// Queues an event once, when a fence or point is signalled.
    fn push_event_when(
        &mut self,
        wait: impl Pollable + 'static,
        operation: &'static str,
        event: impl Fn() -> Event + 'static,
    ) -> Result<(), EventsError> {
        self.event_loop
            .handle()
            .insert_source(PollableSource::new(wait), move |(), _, compositor| {
                compositor.push_event(event());
            })
            .map_err(|error| failed(operation)(&error))?;
        Ok(())
    }

    /// Returns a channel through which other threads queue [`Event::Completed`] with a number.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn completion_sender(&mut self) -> Result<Sender<u64>, EventsError> {
        let (sender, receiver) = channel();
        self.event_loop
            .handle()
            .insert_source(receiver, |message, (), compositor| {
                if let ChannelEvent::Msg(number) = message {
                    compositor.push_event(Event::Completed(number));
                }
            })
            .map_err(|error| failed("listening to other threads")(&error))?;
        Ok(sender)
    }

    /// Waits for events, `timeout` at most, and dispatches them.
    ///
    /// # Errors
    ///
    /// [`EventsError::Gone`] where the compositor closed the connection, [`EventsError::Refused`] where it sent a protocol error.
    pub fn dispatch(
        &mut self,
        compositor: &mut Compositor,
        timeout: Option<Duration>,
    ) -> Result<(), EventsError> {
        match self.event_loop.dispatch(timeout, compositor) {
            Ok(()) => self.check(None),
            Err(calloop::Error::IoError(error))
                if error.kind() == std::io::ErrorKind::Interrupted =>
            {
                Ok(())
            }
            Err(error) => self.check(Some(&error)),
        }
    }

    /// Dispatches events until `done` returns true.
    ///
    /// # Errors
    ///
    /// [`EventsError::Timeout`] after `deadline`, [`EventsError::Interrupted`] after a signal, and those of [`dispatch`](Self::dispatch).
    pub fn dispatch_until(
        &mut self,
        compositor: &mut Compositor,
        what: &'static str,
        deadline: Duration,
        mut done: impl FnMut(&mut Compositor) -> bool,
    ) -> Result<(), EventsError> {
        let begun = Instant::now();
        while !done(compositor) {
            let Some(left) = deadline.checked_sub(begun.elapsed()) else {
                // A message is lost when its file descriptor cannot be received. Then the answer never comes, and this is the cause.
                if let Err(error) = rustix::io::fcntl_dupfd_cloexec(&self.connection, 0) {
                    return Err(EventsError::NoFileDescriptor {
                        socket: self.socket.clone(),
                        reason: error.to_string(),
                    });
                }
                return Err(EventsError::Timeout {
                    socket: self.socket.clone(),
                    what,
                    deadline,
                });
            };
            if self.is_interrupted() {
                return Err(EventsError::Interrupted(what));
            }
            self.dispatch(compositor, Some(left))?;
        }
        Ok(())
    }

    /// Waits until the compositor has answered everything sent so far.
    ///
    /// # Errors
    ///
    /// Those of [`until`](Self::dispatch_until).
    pub fn roundtrip(&mut self, compositor: &mut Compositor) -> Result<(), EventsError> {
        let before = compositor.synced();
        self.connection.display().sync(&self.handle, ());
        self.dispatch_until(compositor, "answer", ANSWER_DEADLINE, |compositor| {
            compositor.synced() != before
        })
    }

    fn watch_signals(&mut self) -> Result<(), EventsError> {
        let pipe = |error: std::io::Error| failed("listening for signals")(&error);
        let (reader, writer) = UnixStream::pair().map_err(pipe)?;
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let writer = writer.try_clone().map_err(pipe)?;
            signal_hook::low_level::pipe::register(signal, writer).map_err(pipe)?;
        }
        let mark = self.interrupted.clone();
        self.event_loop
            .handle()
            .insert_source(
                Generic::new(reader, Interest::READ, Mode::Level),
                move |_, _, _| {
                    mark.0.set(true);
                    // One signal ends the program; the unread pipe must not wake the loop again.
                    Ok(PostAction::Remove)
                },
            )
            .map_err(|error| failed("listening for signals")(&error))?;
        Ok(())
    }

    fn check(&self, error: Option<&calloop::Error>) -> Result<(), EventsError> {
        if let Some(refusal) = self.connection.protocol_error() {
            return Err(EventsError::Refused {
                socket: self.socket.clone(),
                reason: refusal.to_string(),
            });
        }
        match error {
            Some(error) if is_out_of_file_descriptors(error) => {
                Err(EventsError::NoFileDescriptor {
                    socket: self.socket.clone(),
                    reason: root_cause(error),
                })
            }
            // Only the compositor's socket can fail in the loop.
            Some(error) => Err(EventsError::Gone {
                socket: self.socket.clone(),
                reason: root_cause(error),
            }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Returns whether an error means that the process or the machine has no file descriptor left.
fn is_out_of_file_descriptors(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        if let Some(number) = number {
            let errno = rustix::io::Errno::from_raw_os_error(number);
            return matches!(
                errno,
                rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM
            );
        }
        cause = error.source();
    }
    false
}

/// Returns the innermost cause of an error, without the messages of the layers above it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How long the compositor may take to answer a request.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Returns the socket that the environment names.
fn socket_from_environment() -> String {
    if let Some(fd) = std::env::var_os("WAYLAND_SOCKET") {
        return format!("file descriptor {}", fd.to_string_lossy());
    }
    let display = std::env::var_os("WAYLAND_DISPLAY").unwrap_or_else(|| "wayland-0".into());
    let directory = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    std::path::Path::new(&directory)
        .join(display)
        .display()
        .to_string()
}

fn unreachable_reason(socket: &str, error: &wayland_client::ConnectError) -> String {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        return "XDG_RUNTIME_DIR is not set".to_owned();
    }
    // wayland-client drops the error of connect(), so connect again to read it.
    match UnixStream::connect(socket) {
        Err(cause) => cause.to_string(),
        Ok(_) => error.to_string(),
    }
}
