//! The connection of a client. Its messages and file descriptors are checked before wayland-backend receives them.
//!
//! ```text
//!   client ══ socket ══ Connection ══ socket pair ══ wayland-backend
//!             any bytes  complete messages, each with its file descriptors
//! ```
//!
//! wayland-backend 0.3 reads a client's socket until it is empty, keeps every file descriptor that arrives, and does not notice
//! when the kernel dropped some. One client could occupy the event loop, exhaust the descriptors of all clients, or make
//! wayland-backend use the wrong descriptor. A null string where the protocol forbids it would make wayland-backend panic.
//! wayland-backend has no hook between receiving and storing. So it gets one end of a socket pair, and this module writes only
//! checked messages to the other end. One iteration of the event loop receives once from each client and dispatches for a limited
//! time, so no client can starve the others. Each batch of requests and each batch of events costs one more `recvmsg` and one
//! more `sendmsg` than without this module.

mod fd_limiter;
mod files;
mod objects;
mod pace;
mod process_count;
mod readiness;
mod shm_pools;
mod socket_io;
mod wire;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::io::Errno;
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::{Client, Display, DisplayHandle};

use self::fd_limiter::{FdLimiter, FdQueue};
use self::objects::ObjectTable;
use self::pace::{Batch, BusyClients, Pace};
use self::process_count::{ProcessCount, ProcessCounts};
use self::readiness::SocketRegistrations;
use self::socket_io::{FDS_MAX, SendBuffer, receive};
use self::wire::{MESSAGE_MAX, Violation};
use crate::event_loop::LoopHandle;
use crate::limits::{Limit, LimitExceeded, Limits, Usage, amount};
use crate::security_context::SecurityContext;
use crate::state::{ClientState, State};

pub use self::files::{FileKind, too_many_are_closing};
pub use self::readiness::expect_events;
pub use self::shm_pools::{MappedPool, ShmPools};

/// The maximum number of bytes of events that are forwarded at once.
const EVENTS_MAX: usize = 16_384;

/// The connections of all clients.
#[derive(Debug, Default)]
pub struct Connections {
    fd_limiter: FdLimiter,
    display: Option<Rc<RefCell<Display<State>>>>,
    limits: Limits,
    busy_clients: BusyClients,
    /// The number of connections of each client process.
    processes: ProcessCounts,
    connected: RefCell<HashMap<ClientId, Rc<RefCell<Connection>>>>,
}

impl Connections {
    /// Sets the limits of the clients that connect from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns the number of connected clients.
    pub fn count(&self) -> usize {
        self.connected.borrow().len()
    }

    /// Sets the display whose requests are dispatched as soon as they are forwarded, instead of in the next event-loop iteration.
    pub fn serve(&mut self, display: Rc<RefCell<Display<State>>>) {
        self.display = Some(display);
    }

    /// Disconnects a client that exceeds a limit, with the protocol error `no_memory`.
    pub(crate) fn disconnect(
        &self,
        display: &DisplayHandle,
        client: &Client,
        exceeded: LimitExceeded,
    ) {
        let violation = Violation::from(exceeded);
        self.fd_limiter.disconnect(display, &client.id(), violation);
    }

    /// Adds a client that connected, by the socket of a sandbox if it has a security context.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left, the client has disconnected, or its process has too many connections.
    pub fn add(
        &self,
        display: &mut DisplayHandle,
        handle: &LoopHandle,
        stream: UnixStream,
        security_context: Option<Arc<SecurityContext>>,
    ) -> io::Result<Client> {
        let (server, smithay_end) = UnixStream::pair()?;
        let process = rustix::net::sockopt::socket_peercred(&stream).ok();
        let pid = process.map(|process| process.pid.as_raw_nonzero().get());
        let usage = Arc::new(Usage::new(self.limits));
        let process_count = ProcessCount::add(&self.processes, pid);
        if let Err(exceeded) = usage.check(Limit::Connections, process_count.count()) {
            // wayland-backend does not know this client yet, so the error event is written here. The new socket's buffer is empty
            // and has space for it.
            let _ = (&stream).write(&wire::error_event(&exceeded.into()));
            return Err(io::Error::other(exceeded));
        }
        let shm_pools = Arc::new(ShmPools::default());
        let expects_events = Arc::new(AtomicBool::new(false));
        let data = ClientState {
            pid,
            usage: usage.clone(),
            shm_pools: shm_pools.clone(),
            security_context,
            expects_events: expects_events.clone(),
            ..ClientState::default()
        };
        let client = display.insert_client(smithay_end, Arc::new(data))?;
        let (stream, server) = (Rc::new(stream), Rc::new(server));
        let fd_queue = FdQueue::default();
        self.fd_limiter
            .add(client.id(), fd_queue.clone(), server.clone(), usage.clone());
        let connection = Connection {
            watched: None,
            client: stream,
            server,
            id: client.id(),
            display: display.clone(),
            fd_limiter: self.fd_limiter.clone(),
            objects: ObjectTable::new(usage.clone(), shm_pools),
            usage,
            expects_events,
            pace: Pace::new(self.busy_clients.clone()),
            batch: Batch::default(),
            inbound: Vec::new(),
            fd_queue,
            to_server: SendBuffer::default(),
            to_client: SendBuffer::default(),
            has_forwarded: false,
            receive_stopped: false,
            send_stopped: false,
            closed: false,
            _process_count: process_count,
        };
        let connection = Rc::new(RefCell::new(connection));
        Connection::watch(&connection, handle)?;
        self.connected.borrow_mut().insert(client.id(), connection);
        Ok(client)
    }
}

/// One client's connection.
#[derive(Debug)]
struct Connection {
    /// The registrations of both sockets in the event loop.
    watched: Option<SocketRegistrations>,
    client: Rc<UnixStream>,
    server: Rc<UnixStream>,
    id: ClientId,
    display: DisplayHandle,
    fd_limiter: FdLimiter,
    objects: ObjectTable,
    usage: Arc<Usage>,
    /// Whether wayland-backend has queued events for the client.
    expects_events: Arc<AtomicBool>,
    pace: Pace,
    /// The size of the batch that was forwarded last.
    batch: Batch,
    /// The received bytes of messages that are not complete yet.
    inbound: Vec<u8>,
    fd_queue: FdQueue,
    to_server: SendBuffer,
    to_client: SendBuffer,
    /// Whether messages were forwarded to wayland-backend and are not dispatched yet.
    has_forwarded: bool,
    /// Whether the compositor no longer receives from the client.
    receive_stopped: bool,
    /// Whether the compositor no longer sends to the client.
    send_stopped: bool,
    /// Whether wayland-backend has closed its end of the socket pair.
    closed: bool,
    _process_count: ProcessCount,
}

impl Connection {
    /// Receives from the client with one `recvmsg`, and forwards the complete messages.
    fn receive_requests(&mut self) {
        if self.receive_stopped || !self.to_server.is_empty() || self.pace.is_busy() {
            return;
        }
        let length = self.inbound.len();
        self.inbound.resize(MESSAGE_MAX, 0);
        let free = self.inbound.get_mut(length..).unwrap_or_default();
        let classified_count = self.fd_queue.borrow().len();
        let received = receive(&*self.client, free, &mut self.fd_queue.borrow_mut());
        let replaced = self.replace_unknown_files(classified_count);
        let received = match (received, replaced) {
            (Ok(_), Err(violation)) => {
                self.inbound.clear();
                return self.disconnect(violation);
            }
            (received, _) => received,
        };
        match received {
            Ok(received) if received.truncated => {
                self.inbound.clear();
                self.disconnect(Violation::invalid_fds(
                    "file descriptors of this client were lost: it sent too many at once, or the compositor has no file descriptors left",
                ));
            }
            Ok(received) if received.bytes == 0 => {
                self.inbound.truncate(length);
                self.stop_receiving();
            }
            Ok(received) => {
                self.inbound.truncate(length.saturating_add(received.bytes));
                let highest = self.fd_queue.borrow().iter().map(AsRawFd::as_raw_fd).max();
                self.fd_limiter
                    .disconnect_largest_holder(&self.display, highest);
                self.forward_requests();
            }
            Err(Errno::AGAIN) => self.inbound.truncate(length),
            Err(error) => {
                tracing::debug!(client = ?self.id, %error, "receiving from a client failed");
                self.inbound.clear();
                self.stop_receiving();
            }
        }
    }

    /// Classifies the files in the queue after the first `classified_count` files, which were classified before. Replaces each
    /// file on which system calls may block by an eventfd.
    fn replace_unknown_files(&mut self, classified_count: usize) -> Result<(), Violation> {
        let mut fd_queue = self.fd_queue.borrow_mut();
        let received: Vec<OwnedFd> = fd_queue.drain(classified_count..).collect();
        let mut result = Ok(());
        for file in received {
            if FileKind::of(&file) != FileKind::Unknown {
                fd_queue.push_back(file);
                continue;
            }
            tracing::info!(
                client = ?self.id,
                "a client sent a file that is no shared memory, dma-buf, pipe or syncobj; it is not used"
            );
            let charge = self.usage.charge(Limit::UnknownFiles, 1);
            if let Err(exceeded) = &charge {
                result = Err(Violation::from(*exceeded));
            }
            files::close_by_thread(file, charge.ok());
            match files::placeholder() {
                Ok(placeholder) => fd_queue.push_back(placeholder),
                Err(_) => {
                    result = Err(Violation::invalid_fds(
                        "the compositor has no file descriptors left",
                    ));
                }
            }
        }
        result
    }

    /// Forwards one batch of complete messages, unless the socket pair is full.
    fn forward_requests(&mut self) {
        if !self.send_to_server() {
            return;
        }
        match self.take_messages() {
            Ok(Some(send_buffer)) => {
                self.to_server = send_buffer;
                self.has_forwarded = true;
                self.send_to_server();
            }
            Ok(None) => {
                self.pace.set_busy(false);
                let queued = amount(self.fd_queue.borrow().len());
                if let Err(exceeded) = self.usage.check(Limit::QueuedDescriptors, queued) {
                    self.disconnect(exceeded.into());
                }
            }
            Err(violation) => self.disconnect(violation),
        }
    }

    /// Sends the queued messages to wayland-backend; returns whether all of them were sent.
    fn send_to_server(&mut self) -> bool {
        if self.to_server.send(&*self.server).is_err() {
            // wayland-backend has disconnected the client. The client's last events still have to be forwarded.
            self.receive_stopped = true;
            self.to_server = SendBuffer::default();
            self.inbound.clear();
            self.pace.set_busy(false);
            return false;
        }
        self.to_server.is_empty()
    }

    /// Dispatches the forwarded requests. Then it forwards and dispatches further batches until the client's time in this
    /// event-loop iteration is used up.
    fn dispatch(&mut self, mut callback: impl FnMut() -> Duration) {
        while std::mem::take(&mut self.has_forwarded) {
            if !self.pace.dispatched(self.batch, callback()) {
                self.pace.set_busy(!self.inbound.is_empty());
                break;
            }
            self.forward_requests();
        }
        if self.receive_stopped {
            self.stop_receiving();
        }
    }

    /// Removes complete messages and their file descriptors from the received data, and returns them as one batch.
    fn take_messages(&mut self) -> Result<Option<SendBuffer>, Violation> {
        let mut consumed = 0_usize;
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut fd_queue = self.fd_queue.borrow_mut();
        let mut batch = Batch::default();
        loop {
            let unparsed = self.inbound.get(consumed..).unwrap_or_default();
            let Some(message) = self.objects.parse(unparsed)? else {
                break;
            };
            let next = Batch {
                messages: batch.messages.saturating_add(1),
                commits: batch.commits.saturating_add(message.is_commit.into()),
            };
            if fds.len().saturating_add(message.fds) > FDS_MAX || !self.pace.permits(next) {
                break;
            }
            batch = next;
            for _ in 0..message.fds {
                // A file descriptor arrives no later than the first byte of its message.
                let fd = fd_queue.pop_front().ok_or_else(|| {
                    Violation::invalid_fds("a message came without its file descriptor")
                })?;
                fds.push(fd);
            }
            self.objects.apply(&message)?;
            consumed = consumed.saturating_add(message.size);
        }
        if consumed == 0 {
            return Ok(None);
        }
        self.batch = batch;
        let bytes = self.inbound.drain(..consumed).collect();
        Ok(Some(SendBuffer::new(bytes, fds)))
    }

    /// Disconnects the client with a protocol error.
    fn disconnect(&mut self, violation: Violation) {
        self.fd_limiter
            .disconnect(&self.display, &self.id, violation);
        self.inbound.clear();
        self.pace.set_busy(false);
        self.stop_receiving();
    }

    /// Stops receiving from the client. After the forwarded messages wayland-backend reads the end of the stream.
    fn stop_receiving(&mut self) {
        self.receive_stopped = true;
        if self.to_server.is_empty() && !self.pace.is_busy() {
            let _ = self.server.shutdown(Shutdown::Write);
        }
    }

    /// Receives events from wayland-backend and sends them to the client as long as its socket accepts them.
    ///
    /// It receives in a loop, because the events that answer one batch of requests can be several times as long as the batch.
    fn forward_events(&mut self) {
        let mut bytes = vec![0; EVENTS_MAX];
        while !self.closed && self.to_client.is_empty() {
            let mut fds = VecDeque::new();
            match receive(&*self.server, &mut bytes, &mut fds) {
                Ok(received) if received.bytes == 0 => self.closed = true,
                Ok(received) if received.truncated => {
                    self.disconnect(Violation::invalid_fds(
                        "the compositor has no file descriptors left for the events of this client",
                    ));
                    self.send_stopped = true;
                }
                Ok(received) => {
                    let events = bytes.get(..received.bytes).unwrap_or_default();
                    if let Err(violation) = self.objects.read_events(events) {
                        self.disconnect(violation);
                    }
                    self.to_client = SendBuffer::new(events.to_vec(), fds.into());
                    self.send_to_client();
                    if received.bytes < bytes.len() {
                        // The socket is probably empty. If it is not, the event loop calls this function again.
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
    }

    /// Sends queued events to the client. If the client's socket fails, the events are discarded and nothing more is received.
    fn send_to_client(&mut self) {
        if self.send_stopped || self.to_client.send(&*self.client).is_err() {
            self.send_stopped = true;
            self.to_client = SendBuffer::default();
            self.stop_receiving();
        }
    }
}

impl Violation {
    /// Returns the protocol error for file descriptors that are lost, missing or superfluous.
    fn invalid_fds(message: &str) -> Self {
        Self {
            code: wire::INVALID_METHOD,
            message: message.to_owned(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.fd_limiter.remove(&self.id);
    }
}
