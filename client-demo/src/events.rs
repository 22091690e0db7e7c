//! The event loop: the compositor's socket, a camera's fd, a timer and signals, none of which blocks the others.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::channel::{Event as Said, Sender, channel};
use calloop::generic::Generic;
use calloop::{Interest, Mode, PostAction};
use calloop_wayland_source::WaylandSource;
use covalent_alloc::sync::{Awaited, BehindWait, MomentSource, PointWait};
use wayland_client::{Connection, EventQueue, QueueHandle};

use crate::compositor::{Compositor, Event};

/// Why the compositor can no longer be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// No compositor to begin with.
    #[error(
        "cannot reach the compositor at {place}: {reason}; start one and set WAYLAND_DISPLAY to its socket"
    )]
    Unreachable {
        /// The socket that was tried.
        place: String,
        /// What stands in the way.
        reason: String,
    },
    /// It closed the connection.
    #[error("the compositor at {place} went away ({reason}); start it again, then this program")]
    Gone {
        /// Its socket.
        place: String,
        /// What the connection said.
        reason: String,
    },
    /// It ended the connection because of a request.
    #[error(
        "the compositor at {place} refused a request: {reason}; this is a fault of one of the two programs"
    )]
    Refused {
        /// Its socket.
        place: String,
        /// Its own words.
        reason: String,
    },
    /// It does not answer.
    #[error("the compositor at {place} did not {what} within {seconds} s; it may be stopped or busy", seconds = .deadline.as_secs())]
    Silent {
        /// Its socket.
        place: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        deadline: Duration,
    },
    /// A signal asked this program to end.
    #[error("interrupted while waiting for the compositor to {0}")]
    Interrupted(&'static str),
    /// This process cannot open another file.
    #[error(
        "this process has no file descriptor left for the compositor at {place} ({reason}); raise its limit (`ulimit -n`)"
    )]
    Scarce {
        /// The compositor's socket.
        place: String,
        /// What the kernel said, and to what.
        reason: String,
    },
    /// The event loop itself failed.
    #[error("{operation} failed: {reason}")]
    Loop {
        /// What was asked of it.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
}

fn failed(operation: &'static str) -> impl Fn(&(dyn std::error::Error + 'static)) -> EventsError {
    move |error| {
        if is_scarcity(error) {
            return EventsError::Scarce {
                place: place(),
                reason: format!("{operation}: {}", root_cause(error)),
            };
        }
        EventsError::Loop {
            operation,
            reason: error.to_string(),
        }
    }
}

/// A mark that the event loop sets when a file can be read, has failed or is gone.
#[derive(Clone, Debug, Default)]
pub struct Ready(Rc<Cell<bool>>);

impl Ready {
    /// Takes the mark away and tells whether it was there.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.replace(false)
    }
}

/// The loop that everything waits in.
pub struct Events {
    event_loop: calloop::EventLoop<'static, Compositor>,
    connection: Connection,
    handle: QueueHandle<Compositor>,
    place: String,
    interrupted: Ready,
}

impl Events {
    /// Connects to the compositor that `WAYLAND_DISPLAY` names and binds its globals.
    ///
    /// # Errors
    ///
    /// [`EventsError::Unreachable`] when nobody is there; the others when it does not behave.
    pub fn connect() -> Result<(Self, Compositor), EventsError> {
        let place = place();
        let connection =
            Connection::connect_to_env().map_err(|error| EventsError::Unreachable {
                place: place.clone(),
                reason: unreachable_reason(&place, &error),
            })?;
        Self::over(connection, place)
    }

    /// Talks to the compositor at the other end of a connection; `place` names it in messages.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn over(connection: Connection, place: String) -> Result<(Self, Compositor), EventsError> {
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
            place,
            interrupted: Ready::default(),
        };
        events.watch_signals()?;
        let mut compositor = Compositor::default();
        // The first answer brings the globals, the second what these say of themselves.
        for _ in 0..2 {
            events.sync(&mut compositor)?;
        }
        Ok((events, compositor))
    }

    /// Returns the handle that objects are made with.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<Compositor> {
        self.handle.clone()
    }

    /// Returns the socket of the compositor, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Tells whether SIGINT or SIGTERM came.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.0.get()
    }

    /// Sets a mark whenever `fd` can be read, has failed or is gone.
    ///
    /// The mark stays until it is taken, so read until nothing is left.
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

    /// Says [`Event::Idle`] of the buffer at `index` when a moment is over.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn idle(&mut self, wait: BehindWait, index: usize) -> Result<(), EventsError> {
        self.tell_when(wait, "watching a buffer's fence", move || {
            Event::Idle(index)
        })
    }

    /// Says [`Event::Released`] of the buffer at `index` when a point is there.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn release(&mut self, wait: PointWait, index: usize) -> Result<(), EventsError> {
        self.tell_when(wait, "watching a release point", move || {
            Event::Released(index)
        })
    }

    /// Says [`Event::Over`] with `number` when a moment is over.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn moment(
        &mut self,
        moment: impl Awaited + 'static,
        number: u64,
    ) -> Result<(), EventsError> {
        self.tell_when(moment, "watching a moment", move || Event::Over(number))
    }

    /// Says an event once, when a moment is over.
    fn tell_when(
        &mut self,
        moment: impl Awaited + 'static,
        operation: &'static str,
        event: impl Fn() -> Event + 'static,
    ) -> Result<(), EventsError> {
        self.event_loop
            .handle()
            .insert_source(MomentSource::new(moment), move |(), _, compositor| {
                compositor.tell(event());
            })
            .map_err(|error| failed(operation)(&error))?;
        Ok(())
    }

    /// Makes a way for other threads to say [`Event::Over`] with a number.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when it cannot be watched.
    pub fn mailbox(&mut self) -> Result<Sender<u64>, EventsError> {
        let (sender, receiver) = channel();
        self.event_loop
            .handle()
            .insert_source(receiver, |said, (), compositor| {
                if let Said::Msg(number) = said {
                    compositor.tell(Event::Over(number));
                }
            })
            .map_err(|error| failed("listening to other threads")(&error))?;
        Ok(sender)
    }

    /// Waits until something happens, `timeout` at most, and gathers it.
    ///
    /// # Errors
    ///
    /// [`EventsError::Gone`] when the compositor closed the connection, [`EventsError::Refused`] when it said why.
    pub fn turn(
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

    /// Turns until `done` says so.
    ///
    /// # Errors
    ///
    /// [`EventsError::Silent`] after `deadline`, [`EventsError::Interrupted`] after a signal, and those of [`turn`](Self::turn).
    pub fn until(
        &mut self,
        compositor: &mut Compositor,
        what: &'static str,
        deadline: Duration,
        mut done: impl FnMut(&mut Compositor) -> bool,
    ) -> Result<(), EventsError> {
        let begun = Instant::now();
        while !done(compositor) {
            let Some(left) = deadline.checked_sub(begun.elapsed()) else {
                // A message whose file descriptor found no room is lost, and what follows it waits for ever.
                if let Err(error) = rustix::io::fcntl_dupfd_cloexec(&self.connection, 0) {
                    return Err(EventsError::Scarce {
                        place: self.place.clone(),
                        reason: error.to_string(),
                    });
                }
                return Err(EventsError::Silent {
                    place: self.place.clone(),
                    what,
                    deadline,
                });
            };
            if self.is_interrupted() {
                return Err(EventsError::Interrupted(what));
            }
            self.turn(compositor, Some(left))?;
        }
        Ok(())
    }

    /// Waits until the compositor has answered everything sent so far.
    ///
    /// # Errors
    ///
    /// Those of [`until`](Self::until).
    pub fn sync(&mut self, compositor: &mut Compositor) -> Result<(), EventsError> {
        let before = compositor.synced();
        self.connection.display().sync(&self.handle, ());
        self.until(compositor, "answer", ANSWER_DEADLINE, |compositor| {
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
                    // One signal is enough to end; an unread pipe must not wake the loop again.
                    Ok(PostAction::Remove)
                },
            )
            .map_err(|error| failed("listening for signals")(&error))?;
        Ok(())
    }

    fn check(&self, error: Option<&calloop::Error>) -> Result<(), EventsError> {
        if let Some(refusal) = self.connection.protocol_error() {
            return Err(EventsError::Refused {
                place: self.place.clone(),
                reason: refusal.to_string(),
            });
        }
        match error {
            Some(error) if is_scarcity(error) => Err(EventsError::Scarce {
                place: self.place.clone(),
                reason: root_cause(error),
            }),
            // Nothing but the compositor's socket can fail in the loop.
            Some(error) => Err(EventsError::Gone {
                place: self.place.clone(),
                reason: root_cause(error),
            }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Tells whether an error means that this process, or the machine, has no file descriptor left.
fn is_scarcity(error: &(dyn std::error::Error + 'static)) -> bool {
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

/// The innermost reason of an error: what the kernel said, without the words of each layer above it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How long the compositor may take to answer a request.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Names the socket that the environment leads to.
fn place() -> String {
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

fn unreachable_reason(place: &str, error: &wayland_client::ConnectError) -> String {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        return "XDG_RUNTIME_DIR is not set".to_owned();
    }
    // The library does not say what the socket answered.
    match UnixStream::connect(place) {
        Err(cause) => cause.to_string(),
        Ok(_) => error.to_string(),
    }
}
