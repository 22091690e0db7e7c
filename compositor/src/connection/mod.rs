//! The connection of a client. Its messages and file descriptors are checked before wayland-backend receives them.
//!
//! ```text
//!   client ══ socket ══ Connection ══ socket pair ══ wayland-backend
//!             any bytes  complete messages, each with its file descriptors
//! ```
//!
//! wayland-backend 0.3 reads a client's socket until it is empty, keeps every file descriptor that arrives, and does not notice
//! when the kernel dropped some. One client could occupy the event loop, exhaust the descriptors of all clients, or make
//! wayland-backend use the wrong descriptor. A null string where the protocol forbids it would panic. wayland-backend has no
//! hook between receiving and storing, so it gets one end of a socket pair, and this module writes only checked messages to
//! the other end. One iteration of the event loop receives once from each client, so no client can starve the others. A
//! request needs as many system calls as without this module; an event needs one `recvmsg` and one `sendmsg` more.

mod fd_limiter;
mod socket_io;
mod wire;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use calloop::generic::Generic;
use calloop::{
    EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, Token, TokenFactory,
};
use rustix::io::Errno;
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::backend::protocol::Interface;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_data_offer::WlDataOffer;
use smithay::reexports::wayland_server::{Client, Display, DisplayHandle, Resource};

use self::fd_limiter::{FdLimiter, FdQueue};
use self::socket_io::{FDS_MAX, SendBuffer, receive};
use self::wire::{MESSAGE_MAX, ObjectTable, Violation};
use crate::state::{ClientState, State};

/// The largest number of file descriptors of a client that no message has taken yet.
///
/// When the socket accepts only a part of what a client sends, the descriptors arrive with the first part, before the messages
/// that take them. There can be as many as requests fit into libwayland's buffer of 4096 bytes; the smallest request is a
/// header of 8 bytes. The limit is twice that number, which a correct client does not reach.
const QUEUED_FDS_MAX: usize = 2 * 4096 / 8;

/// The largest number of bytes of events that are forwarded at once.
const EVENTS_MAX: usize = 16_384;

/// The connections of all clients.
#[derive(Debug, Default)]
pub struct Connections {
    fd_limiter: FdLimiter,
    display: Option<Rc<RefCell<Display<State>>>>,
}

impl Connections {
    /// Sets the display whose requests are dispatched as soon as they are forwarded, instead of in the next event-loop iteration.
    pub fn serve(&mut self, display: Rc<RefCell<Display<State>>>) {
        self.display = Some(display);
    }

    /// Disconnects a client that exceeds a limit, with the error `no_memory` and the message `reason`.
    pub(crate) fn disconnect(&self, display: &DisplayHandle, client: &Client, reason: String) {
        let violation = Violation {
            code: wire::NO_MEMORY,
            message: reason,
        };
        self.fd_limiter.disconnect(display, &client.id(), violation);
    }

    /// Adds a client that connected.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left, or the client has disconnected.
    pub fn add(
        &self,
        display: &mut DisplayHandle,
        handle: &LoopHandle<'static, State>,
        stream: UnixStream,
    ) -> io::Result<Client> {
        let (server, smithay_end) = UnixStream::pair()?;
        let process = rustix::net::sockopt::socket_peercred(&stream).ok();
        let data = ClientState {
            pid: process.map(|process| process.pid.as_raw_nonzero().get()),
            ..ClientState::default()
        };
        let client = display.insert_client(smithay_end, Arc::new(data))?;
        let server = Rc::new(server);
        let fd_queue = FdQueue::default();
        self.fd_limiter
            .add(client.id(), fd_queue.clone(), server.clone());
        let connection = Connection {
            client: Generic::new(stream, Interest::READ, Mode::Level),
            server: Generic::new(server, Interest::READ, Mode::Level),
            id: client.id(),
            display: display.clone(),
            fd_limiter: self.fd_limiter.clone(),
            objects: ObjectTable::new(),
            inbound: Vec::new(),
            fd_queue,
            to_server: SendBuffer::default(),
            to_client: SendBuffer::default(),
            has_forwarded: false,
            receive_stopped: false,
            send_stopped: false,
            closed: false,
        };
        let id = client.id();
        handle
            .insert_source(connection, move |(), (), state| state.handle_requests(&id))
            .map_err(|error| io::Error::other(error.error.to_string()))?;
        Ok(client)
    }
}

impl State {
    /// Dispatches the forwarded requests of a client.
    fn handle_requests(&mut self, client: &ClientId) {
        let Some(display) = self.connections.display.clone() else {
            return;
        };
        let handled = display
            .borrow_mut()
            .backend()
            .dispatch_single_client(self, client.clone());
        // A client that has disconnected must not affect the others.
        if let Err(error) = handled {
            tracing::trace!(?client, %error, "the requests of a client cannot be dispatched");
        }
    }
}

/// One client's connection.
#[derive(Debug)]
struct Connection {
    client: Generic<UnixStream>,
    server: Generic<Rc<UnixStream>>,
    id: ClientId,
    display: DisplayHandle,
    fd_limiter: FdLimiter,
    objects: ObjectTable,
    /// Received bytes that are not a complete message yet.
    inbound: Vec<u8>,
    fd_queue: FdQueue,
    to_server: SendBuffer,
    to_client: SendBuffer,
    /// Messages were forwarded and are not dispatched yet.
    has_forwarded: bool,
    /// Nothing more is received from the client.
    receive_stopped: bool,
    /// Nothing more is sent to the client.
    send_stopped: bool,
    /// wayland-backend has closed its end.
    closed: bool,
}

impl Connection {
    /// Receives once from the client and forwards the complete messages.
    fn receive_requests(&mut self) {
        if self.receive_stopped || !self.to_server.is_empty() {
            return;
        }
        let length = self.inbound.len();
        self.inbound.resize(MESSAGE_MAX, 0);
        let free = self.inbound.get_mut(length..).unwrap_or_default();
        let received = receive(self.client.get_ref(), free, &mut self.fd_queue.borrow_mut());
        match received {
            Ok(received) if received.truncated => {
                self.inbound.clear();
                self.disconnect(Violation::invalid_fds(
                    "file descriptors were lost: too many came at once, or the compositor has no file descriptors left",
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

    /// Forwards complete messages as long as the socket accepts them.
    fn forward_requests(&mut self) {
        loop {
            if self.to_server.send(&**self.server.get_ref()).is_err() {
                // wayland-backend has disconnected the client; its last events are still to be forwarded.
                self.receive_stopped = true;
                self.to_server = SendBuffer::default();
                return;
            }
            if !self.to_server.is_empty() {
                return;
            }
            match self.take_messages() {
                Ok(Some(send_buffer)) => {
                    self.to_server = send_buffer;
                    self.has_forwarded = true;
                }
                Ok(None) => break,
                Err(violation) => return self.disconnect(violation),
            }
        }
        if self.fd_queue.borrow().len() > QUEUED_FDS_MAX {
            self.disconnect(Violation::invalid_fds(
                "file descriptors came that no message takes",
            ));
        }
    }

    /// Takes complete messages and their file descriptors from the received bytes.
    fn take_messages(&mut self) -> Result<Option<SendBuffer>, Violation> {
        let mut consumed = 0_usize;
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut fd_queue = self.fd_queue.borrow_mut();
        let handle = self.display.backend_handle();
        let id = &self.id;
        let server_interface = |object: u32| -> Option<&'static Interface> {
            [WlBuffer::interface(), WlDataOffer::interface()]
                .into_iter()
                .find(|interface| {
                    handle
                        .object_for_protocol_id(id.clone(), interface, object)
                        .is_ok()
                })
        };
        while let Some(rest) = self.inbound.get(consumed..) {
            let Some(message) = self.objects.read(rest, server_interface)? else {
                break;
            };
            if fds.len().saturating_add(message.fds) > FDS_MAX {
                break;
            }
            for _ in 0..message.fds {
                // A descriptor arrives with the first byte of its message or before it.
                let fd = fd_queue.pop_front().ok_or_else(|| {
                    Violation::invalid_fds("a message came without its file descriptor")
                })?;
                fds.push(fd);
            }
            consumed = consumed.saturating_add(message.size);
        }
        if consumed == 0 {
            return Ok(None);
        }
        let bytes = self.inbound.drain(..consumed).collect();
        Ok(Some(SendBuffer::new(bytes, fds)))
    }

    /// Disconnects the client with a protocol error.
    fn disconnect(&mut self, violation: Violation) {
        self.fd_limiter
            .disconnect(&self.display, &self.id, violation);
        self.inbound.clear();
        self.stop_receiving();
    }

    /// Stops receiving from the client. wayland-backend reads the end of the stream after the forwarded messages.
    fn stop_receiving(&mut self) {
        self.receive_stopped = true;
        if self.to_server.is_empty() {
            let _ = self.server.get_ref().shutdown(Shutdown::Write);
        }
    }

    /// Receives events from wayland-backend and sends them to the client as long as its socket accepts them.
    ///
    /// This loops because the events that answer one batch of requests can be several times as long as the batch.
    fn forward_events(&mut self) {
        let mut bytes = vec![0; EVENTS_MAX];
        while !self.closed && self.to_client.is_empty() {
            let mut fds = VecDeque::new();
            match receive(&**self.server.get_ref(), &mut bytes, &mut fds) {
                Ok(received) if received.bytes == 0 => self.closed = true,
                Ok(received) if received.truncated => {
                    self.disconnect(Violation::invalid_fds(
                        "the compositor has no file descriptors left for the events of this client",
                    ));
                    self.send_stopped = true;
                }
                Ok(received) => {
                    let events = bytes.get(..received.bytes).unwrap_or_default();
                    self.to_client = SendBuffer::new(events.to_vec(), fds.into());
                    self.send_to_client();
                    if received.bytes < bytes.len() {
                        // The socket is probably empty. If it is not, the event loop calls this again.
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
    }

    fn send_to_client(&mut self) {
        if self.send_stopped || self.to_client.send(self.client.get_ref()).is_err() {
            self.send_stopped = true;
            self.to_client = SendBuffer::default();
            self.stop_receiving();
        }
    }

    /// Updates which readiness the event loop polls for; returns whether it changed.
    fn update_interest(&mut self) -> bool {
        let mut changed = false;
        let mut set = |interest: &mut Interest, readable, writable| {
            changed |= (interest.readable, interest.writable) != (readable, writable);
            *interest = Interest { readable, writable };
        };
        let reads_client = !self.receive_stopped && self.to_server.is_empty();
        set(
            &mut self.client.interest,
            reads_client,
            !self.to_client.is_empty(),
        );
        let reads_server = self.to_client.is_empty();
        set(
            &mut self.server.interest,
            reads_server,
            !self.to_server.is_empty(),
        );
        changed
    }
}

impl Violation {
    /// The protocol error for file descriptors that are lost, missing or superfluous.
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

impl EventSource for Connection {
    type Event = ();
    type Metadata = ();
    type Ret = ();
    type Error = io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> io::Result<PostAction>
    where
        F: FnMut((), &mut ()),
    {
        let (mut client_ready, mut server_ready) = (false, false);
        self.client.process_events(readiness, token, |_, _| {
            client_ready = true;
            Ok(PostAction::Continue)
        })?;
        self.server.process_events(readiness, token, |_, _| {
            server_ready = true;
            Ok(PostAction::Continue)
        })?;
        if client_ready {
            if !self.to_client.is_empty() {
                self.send_to_client();
            }
            self.receive_requests();
        }
        if server_ready {
            if !self.to_server.is_empty() {
                self.forward_requests();
                if self.receive_stopped {
                    self.stop_receiving();
                }
            }
            self.forward_events();
        }
        if std::mem::take(&mut self.has_forwarded) {
            callback((), &mut ());
        }
        if self.closed && self.to_client.is_empty() {
            return Ok(PostAction::Remove);
        }
        Ok(if self.update_interest() {
            PostAction::Reregister
        } else {
            PostAction::Continue
        })
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.client.register(poll, factory)?;
        self.server.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.client.reregister(poll, factory)?;
        self.server.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.client.unregister(poll)?;
        self.server.unregister(poll)
    }
}
