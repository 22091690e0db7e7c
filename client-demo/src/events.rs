//! The event loop. It polls the compositor's socket, a camera's fd, a timer and signals, and blocks on none of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use covalent_alloc::sync::{PollFor, Pollable, SyncPointWait, TimelineEventfd};
use signal_hook::consts::{SIGINT, SIGTERM};
use wayland_client::backend::WaylandError;
use wayland_client::{Connection, DispatchError, EventQueue, QueueHandle};

use crate::completions::{CompletionReceiver, CompletionSender, completion_channel};
use crate::compositor::{Compositor, Event};
pub use crate::events_error::EventsError;
use crate::events_error::{
    failed, is_out_of_file_descriptors, root_cause, socket_from_environment, unreachable_reason,
};
use crate::poller::{Key, Poller, Trigger};
use crate::signal_pipe::SignalPipe;

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

/// A file descriptor that the event loop watches, until [`Events::unwatch`].
#[derive(Debug)]
pub struct SourceId(Key);

/// What the event loop does when a file descriptor is ready.
enum Action {
    /// Reads and dispatches the compositor's events.
    Dispatch,
    /// Sets the flag that [`Events::watch`] returned.
    Mark(Ready),
    /// Reads the signal's pipe until it is empty, and sets the flag that [`Events::watch_signal`] returned.
    Signal(Rc<SignalPipe>, Ready),
    /// Sets the flag of [`Events::is_interrupted`] and removes the source. SIGINT or SIGTERM ends the program, and the bytes that
    /// stay in the signal's pipe must not wake the loop again.
    Interrupt,
    /// Queues the event that the function creates from the number, and removes the source.
    Once(fn(u64) -> Event, u64),
    /// Queues [`Event::Released`] each time that the file descriptor is ready.
    Release(usize),
    /// Queues [`Event::Completed`] for each number that other threads sent.
    Complete(CompletionReceiver),
}

/// A watched file descriptor, and what is done when it is ready.
struct Source {
    fd: Box<dyn AsFd>,
    action: Action,
}

/// The event loop. A wait that adds or removes no file descriptor costs one system call, see [`poller`](crate::poller).
pub struct Events {
    poller: Poller,
    sources: BTreeMap<Key, Source>,
    connection: Connection,
    queue: EventQueue<Compositor>,
    handle: QueueHandle<Compositor>,
    socket: String,
    interrupted: Ready,
}

impl Events {
    /// Connects to the compositor that `WAYLAND_DISPLAY` names and binds its globals.
    ///
    /// # Errors
    ///
    /// [`EventsError::Unreachable`] if there is no compositor, otherwise the error of the first roundtrips.
    pub fn connect() -> Result<(Self, Compositor), EventsError> {
        let socket = socket_from_environment();
        let connection =
            Connection::connect_to_env().map_err(|error| EventsError::Unreachable {
                socket: socket.clone(),
                reason: unreachable_reason(&socket, &error),
            })?;
        Self::from_connection(connection, socket)
    }

    /// Uses an existing connection. `socket` is the compositor's name in messages.
    ///
    /// # Errors
    ///
    /// The errors of [`connect`](Self::connect).
    pub fn from_connection(
        connection: Connection,
        socket: String,
    ) -> Result<(Self, Compositor), EventsError> {
        let queue: EventQueue<Compositor> = connection.new_event_queue();
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        let poller = Poller::new().map_err(|error| failed("epoll_create")(&error))?;
        let mut events = Self {
            poller,
            sources: BTreeMap::new(),
            connection,
            queue,
            handle,
            socket,
            interrupted: Ready::default(),
        };
        let connection = events.connection.clone();
        let watching = "watching the compositor's socket";
        events.add(connection, Trigger::Readable, Action::Dispatch, watching)?;
        events.watch_signals()?;
        let mut compositor = Compositor::default();
        // The first roundtrip receives the globals, the second their events.
        for _ in 0..2 {
            events.roundtrip(&mut compositor)?;
        }
        compositor.use_listed_formats();
        Ok((events, compositor))
    }

    /// Returns the queue handle with which objects are created.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<Compositor> {
        self.handle.clone()
    }

    /// Returns the path of the compositor's socket, for messages.
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
    /// The flag stays set until [`Ready::take`]. Read `fd` until it is empty, because a wait returns immediately while `fd` is
    /// readable.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the fd cannot be watched.
    pub fn watch(&mut self, fd: BorrowedFd<'_>) -> Result<Ready, EventsError> {
        let fd = fd
            .try_clone_to_owned()
            .map_err(|error| failed("duplicating a file descriptor")(&error))?;
        let ready = Ready::default();
        let action = Action::Mark(ready.clone());
        self.add(fd, Trigger::Readable, action, "watching a file descriptor")?;
        Ok(ready)
    }

    /// Watches a signal. The returned flag is set when the signal arrives.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the signal cannot be watched.
    pub fn watch_signal(&mut self, signal: i32) -> Result<Ready, EventsError> {
        let operation = "listening for a signal";
        let pipe = SignalPipe::new(&[signal]).map_err(|error| failed(operation)(&error))?;
        let pipe = Rc::new(pipe);
        let ready = Ready::default();
        let action = Action::Signal(Rc::clone(&pipe), ready.clone());
        self.add(pipe, Trigger::Readable, action, operation)?;
        Ok(ready)
    }

    /// Queues [`Event::BufferIdle`] for the buffer at `index` when the fence of `wait` is signalled.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the fence cannot be watched.
    pub fn watch_fence(&mut self, wait: SyncPointWait, index: usize) -> Result<(), EventsError> {
        let idle = |index| Event::BufferIdle(usize::try_from(index).unwrap_or(usize::MAX));
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        self.push_event_when(wait, "watching a buffer's fence", Action::Once(idle, index))
    }

    /// Queues [`Event::Released`] for the buffer at `index` each time that `eventfd` reports a signalled release point, until
    /// [`unwatch`](Self::unwatch).
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the eventfd cannot be watched.
    pub fn watch_release_points(
        &mut self,
        eventfd: Rc<TimelineEventfd>,
        index: usize,
    ) -> Result<SourceId, EventsError> {
        let action = Action::Release(index);
        let operation = "watching release points";
        self.add(eventfd, Trigger::Increment, action, operation)
            .map(SourceId)
    }

    /// Queues [`Event::Completed`] with `number` when a fence or point is signalled.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the fence or point cannot be watched.
    pub fn watch_completion(
        &mut self,
        wait: impl Pollable + 'static,
        number: u64,
    ) -> Result<(), EventsError> {
        let action = Action::Once(Event::Completed, number);
        self.push_event_when(wait, "watching a fence", action)
    }

    /// Ends the watch of a file descriptor.
    pub fn unwatch(&mut self, source: SourceId) {
        self.remove(source.0);
    }

    /// Executes `action`, which queues an event, once the fence or point of `wait` is signalled.
    fn push_event_when(
        &mut self,
        wait: impl Pollable + 'static,
        operation: &'static str,
        action: Action,
    ) -> Result<(), EventsError> {
        let trigger = match wait.poll_for() {
            PollFor::Input => Trigger::Readable,
            PollFor::Output => Trigger::Writable,
        };
        self.add(wait, trigger, action, operation).map(|_| ())
    }

    /// Returns a channel through which other threads queue [`Event::Completed`] with a number.
    ///
    /// # Errors
    ///
    /// [`EventsError::Loop`] when the channel's eventfd cannot be created or watched.
    pub fn completion_sender(&mut self) -> Result<CompletionSender, EventsError> {
        let operation = "listening to other threads";
        let (sender, receiver) = completion_channel().map_err(|error| failed(operation)(&error))?;
        let fd = receiver.eventfd();
        self.add(
            fd,
            Trigger::Increment,
            Action::Complete(receiver),
            operation,
        )?;
        Ok(sender)
    }

    /// Watches a file descriptor. `operation` names the purpose in the error.
    fn add(
        &mut self,
        fd: impl AsFd + 'static,
        trigger: Trigger,
        action: Action,
        operation: &'static str,
    ) -> Result<Key, EventsError> {
        let key = self
            .poller
            .add(&fd, trigger)
            .map_err(|error| failed(operation)(&error))?;
        let fd = Box::new(fd);
        self.sources.insert(key, Source { fd, action });
        Ok(key)
    }

    /// Stops watching a file descriptor.
    fn remove(&mut self, key: Key) {
        let Some(source) = self.sources.remove(&key) else {
            return;
        };
        if let Err(error) = self.poller.remove(&source.fd) {
            tracing::warn!("epoll_ctl(EPOLL_CTL_DEL) failed: {error}");
        }
    }

    /// Waits for events, for `timeout` at most, and dispatches them.
    ///
    /// # Errors
    ///
    /// [`EventsError::Gone`] if the compositor closed the connection, [`EventsError::Refused`] if it sent a protocol error.
    pub fn dispatch(
        &mut self,
        compositor: &mut Compositor,
        timeout: Option<Duration>,
    ) -> Result<(), EventsError> {
        self.flush(compositor)?;
        let ready = match self.poller.wait(timeout) {
            Ok(ready) => ready,
            Err(error) => return self.check(Some(&error)),
        };
        for key in ready {
            self.act(key, compositor)?;
        }
        self.flush(compositor)?;
        self.check(None)
    }

    /// Handles a file descriptor that is ready.
    fn act(&mut self, key: Key, compositor: &mut Compositor) -> Result<(), EventsError> {
        // The action of an earlier event of the same wait may have removed this source.
        let Some(source) = self.sources.get(&key) else {
            return Ok(());
        };
        match &source.action {
            Action::Dispatch => return self.read_events(compositor),
            Action::Mark(ready) => ready.0.set(true),
            Action::Signal(pipe, ready) => {
                ready.0.set(true);
                pipe.clear();
            }
            Action::Interrupt => {
                self.interrupted.0.set(true);
                self.remove(key);
            }
            Action::Once(event, number) => {
                compositor.push_event(event(*number));
                self.remove(key);
            }
            Action::Release(index) => compositor.push_event(Event::Released(*index)),
            Action::Complete(receiver) => {
                for number in receiver.numbers() {
                    compositor.push_event(Event::Completed(number));
                }
            }
        }
        Ok(())
    }

    /// Sends the queued requests to the compositor. It makes no system call if no request is queued.
    fn flush(&mut self, compositor: &mut Compositor) -> Result<(), EventsError> {
        match self.connection.flush() {
            Ok(()) => Ok(()),
            // The socket's send buffer is full. The next flush sends the remaining requests.
            Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Ok(())
            }
            Err(error) => {
                // The compositor may have sent a protocol error before it closed the connection.
                self.read_events(compositor)?;
                self.check(Some(&error))
            }
        }
    }

    /// Reads and dispatches the compositor's events. The caller has found the socket readable.
    fn read_events(&mut self, compositor: &mut Compositor) -> Result<(), EventsError> {
        // prepare_read is called only when the socket is readable, because cancelling a prepared read costs a system call. That
        // is safe, because no other thread reads events.
        let read = self
            .connection
            .prepare_read()
            .map_or(Ok(0), |guard| guard.read());
        match read {
            Ok(_) => {}
            Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return self.check(Some(&error)),
        }
        match self.queue.dispatch_pending(compositor) {
            Ok(_) => Ok(()),
            Err(DispatchError::Backend(error)) => self.check(Some(&error)),
            Err(error) => self.check(Some(&error)),
        }
    }

    /// Dispatches events until `done` returns true.
    ///
    /// # Errors
    ///
    /// [`EventsError::Timeout`] after `deadline`, [`EventsError::Interrupted`] after a signal, and those of
    /// [`dispatch`](Self::dispatch).
    pub fn dispatch_until(
        &mut self,
        compositor: &mut Compositor,
        what: &'static str,
        deadline: Duration,
        mut done: impl FnMut(&mut Compositor) -> bool,
    ) -> Result<(), EventsError> {
        let started_at = Instant::now();
        while !done(compositor) {
            let Some(left) = deadline.checked_sub(started_at.elapsed()) else {
                // A message is lost if its file descriptor cannot be received. If this process has no free file descriptor, this
                // is why the answer did not arrive.
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

    /// Waits until the compositor has processed all requests that were sent so far (`wl_display.sync`).
    ///
    /// # Errors
    ///
    /// The errors of [`dispatch_until`](Self::dispatch_until).
    pub fn roundtrip(&mut self, compositor: &mut Compositor) -> Result<(), EventsError> {
        let before = compositor.synced();
        self.connection.display().sync(&self.handle, ());
        self.dispatch_until(compositor, "answer", ANSWER_DEADLINE, |compositor| {
            compositor.synced() != before
        })
    }

    /// Watches SIGINT and SIGTERM, which end the program.
    fn watch_signals(&mut self) -> Result<(), EventsError> {
        let operation = "listening for signals";
        let pipe = SignalPipe::new(&[SIGINT, SIGTERM]);
        let pipe = pipe.map_err(|error| failed(operation)(&error))?;
        self.add(pipe, Trigger::Readable, Action::Interrupt, operation)
            .map(|_| ())
    }

    /// Returns the protocol error that the compositor has sent, or else the error of the connection.
    fn check(&self, error: Option<&(dyn std::error::Error + 'static)>) -> Result<(), EventsError> {
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
            // The event loop returns no other error: only the compositor's socket can fail.
            Some(error) => Err(EventsError::Gone {
                socket: self.socket.clone(),
                reason: root_cause(error),
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// How long the compositor may take to answer a request.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
