//! The connection of a client: its bytes are looked at before wayland-backend gets them, and so are its descriptors.
//!
//! ```text
//!   client ══ socket ══ Connection ══ socket pair ══ wayland-backend
//!             whatever   whole messages, each with the descriptors that it takes
//! ```
//!
//! wayland-backend 0.3 reads a client's socket until nothing is left, keeps every descriptor that comes with it, and does not
//! notice when the kernel dropped some. One client can so keep the event loop for itself, use up the descriptors of all, and
//! have another client's memory taken for what it is not; a string that is null where it may not be ends the process.
//! Nothing can be put between its reading and its keeping, so it is given a socket of the compositor's own, into which only
//! what was checked is written. A turn of the event loop takes one reception of each client, so all get their turn. The same
//! calls are made for a request as without it; an event costs one reception and one sending more.

mod carrier;
mod ledger;
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

use self::carrier::{FILES_MAX, Parcel, receive};
use self::ledger::{Ledger, Queue};
use self::wire::{MESSAGE_MAX, Objects, Violation};
use crate::state::{ClientState, State};

/// Descriptors that may wait for their messages.
///
/// Where the socket takes a part of what a client sends, its descriptors come with the first part, ahead of the bytes that name them:
/// as many as a library's buffer of 4096 bytes has requests. The smallest request is its header of 8 bytes, and one that names a
/// timeline has 12. Twice that many are no client's mistake.
const QUEUED_MAX: usize = 2 * 4096 / 8;

/// Bytes of events that are passed on at once.
const EVENTS_MAX: usize = 16_384;

/// The connections of all clients.
#[derive(Debug, Default)]
pub struct Connections {
    ledger: Ledger,
    display: Option<Rc<RefCell<Display<State>>>>,
}

impl Connections {
    /// Has requests handled as soon as they are passed on, and not when the event loop finds them.
    pub fn serve(&mut self, display: Rc<RefCell<Display<State>>>) {
        self.display = Some(display);
    }

    /// Disconnects a client that wants more than a client may have, and tells it so.
    pub(crate) fn refuse(&self, display: &DisplayHandle, client: &Client, why: String) {
        let violation = Violation {
            code: wire::NO_MEMORY,
            message: why,
        };
        self.ledger.end(display, &client.id(), violation);
    }

    /// Takes a client that connected.
    ///
    /// # Errors
    ///
    /// When the process has no descriptors left, or the client is gone already.
    pub fn add(
        &self,
        display: &mut DisplayHandle,
        handle: &LoopHandle<'static, State>,
        stream: UnixStream,
    ) -> io::Result<Client> {
        let (server, theirs) = UnixStream::pair()?;
        let process = rustix::net::sockopt::socket_peercred(&stream).ok();
        let data = ClientState {
            pid: process.map(|process| process.pid.as_raw_nonzero().get()),
            ..ClientState::default()
        };
        let client = display.insert_client(theirs, Arc::new(data))?;
        let server = Rc::new(server);
        let queue = Queue::default();
        self.ledger.add(client.id(), queue.clone(), server.clone());
        let connection = Connection {
            client: Generic::new(stream, Interest::READ, Mode::Level),
            server: Generic::new(server, Interest::READ, Mode::Level),
            id: client.id(),
            display: display.clone(),
            ledger: self.ledger.clone(),
            objects: Objects::new(),
            inbound: Vec::new(),
            queue,
            to_server: Parcel::default(),
            to_client: Parcel::default(),
            passed_on: false,
            silent: false,
            deaf: false,
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
    /// Handles what was passed on of a client's requests.
    fn handle_requests(&mut self, client: &ClientId) {
        let Some(display) = self.connections.display.clone() else {
            return;
        };
        let handled = display
            .borrow_mut()
            .backend()
            .dispatch_single_client(self, client.clone());
        // A client that is gone is no fault of the others'.
        if let Err(error) = handled {
            tracing::trace!(?client, %error, "no request was handled");
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
    ledger: Ledger,
    objects: Objects,
    /// What was received and is no whole message yet.
    inbound: Vec<u8>,
    queue: Queue,
    to_server: Parcel,
    to_client: Parcel,
    /// Something was passed on that is to be handled.
    passed_on: bool,
    /// Nothing of what the client says counts any more.
    silent: bool,
    /// The client hears nothing any more.
    deaf: bool,
    /// wayland-backend let go of the client.
    closed: bool,
}

impl Connection {
    /// Receives once from the client, and passes on what is whole.
    fn hear(&mut self) {
        if self.silent || !self.to_server.is_empty() {
            return;
        }
        let held = self.inbound.len();
        self.inbound.resize(MESSAGE_MAX, 0);
        let free = self.inbound.get_mut(held..).unwrap_or_default();
        let received = receive(self.client.get_ref(), free, &mut self.queue.borrow_mut());
        match received {
            Ok(received) if received.truncated => {
                self.inbound.clear();
                self.refuse(Violation::descriptors(
                    "descriptors were lost: too many came at once, or the compositor has none left",
                ));
            }
            Ok(received) if received.bytes == 0 => {
                self.inbound.truncate(held);
                self.fall_silent();
            }
            Ok(received) => {
                self.inbound.truncate(held.saturating_add(received.bytes));
                let highest = self.queue.borrow().iter().map(AsRawFd::as_raw_fd).max();
                self.ledger.make_room(&self.display, highest);
                self.pass_on();
            }
            Err(Errno::AGAIN) => self.inbound.truncate(held),
            Err(error) => {
                tracing::debug!(client = ?self.id, %error, "a connection is broken");
                self.inbound.clear();
                self.fall_silent();
            }
        }
    }

    /// Passes whole messages on, as long as the socket takes them.
    fn pass_on(&mut self) {
        loop {
            if self.to_server.send(&**self.server.get_ref()).is_err() {
                // wayland-backend ended the client; what it said last is still to come.
                self.silent = true;
                self.to_server = Parcel::default();
                return;
            }
            if !self.to_server.is_empty() {
                return;
            }
            match self.pack() {
                Ok(Some(parcel)) => {
                    self.to_server = parcel;
                    self.passed_on = true;
                }
                Ok(None) => break,
                Err(violation) => return self.refuse(violation),
            }
        }
        if self.queue.borrow().len() > QUEUED_MAX {
            self.refuse(Violation::descriptors(
                "descriptors came that no message takes",
            ));
        }
    }

    /// Takes whole messages, with the descriptors that belong to them, from what was received.
    fn pack(&mut self) -> Result<Option<Parcel>, Violation> {
        let mut taken = 0_usize;
        let mut files: Vec<OwnedFd> = Vec::new();
        let mut queue = self.queue.borrow_mut();
        let handle = self.display.backend_handle();
        let id = &self.id;
        let made_here = |object: u32| -> Option<&'static Interface> {
            [WlBuffer::interface(), WlDataOffer::interface()]
                .into_iter()
                .find(|interface| {
                    handle
                        .object_for_protocol_id(id.clone(), interface, object)
                        .is_ok()
                })
        };
        while let Some(rest) = self.inbound.get(taken..) {
            let Some(message) = self.objects.read(rest, made_here)? else {
                break;
            };
            if files.len().saturating_add(message.descriptors) > FILES_MAX {
                break;
            }
            for _ in 0..message.descriptors {
                // They come with the first byte of their message, or before it.
                let file = queue.pop_front().ok_or_else(|| {
                    Violation::descriptors("a message came without its descriptor")
                })?;
                files.push(file);
            }
            taken = taken.saturating_add(message.size);
        }
        if taken == 0 {
            return Ok(None);
        }
        let bytes = self.inbound.drain(..taken).collect();
        Ok(Some(Parcel::new(bytes, files)))
    }

    /// Ends the client with an error.
    fn refuse(&mut self, violation: Violation) {
        self.ledger.end(&self.display, &self.id, violation);
        self.inbound.clear();
        self.fall_silent();
    }

    /// Stops listening to the client; wayland-backend reads the end after what was passed on.
    fn fall_silent(&mut self) {
        self.silent = true;
        if self.to_server.is_empty() {
            let _ = self.server.get_ref().shutdown(Shutdown::Write);
        }
    }

    /// Receives from wayland-backend, and tells the client, as long as that takes it.
    ///
    /// What one reception of requests is answered with can be several times as long.
    fn tell(&mut self) {
        let mut bytes = vec![0; EVENTS_MAX];
        while !self.closed && self.to_client.is_empty() {
            let mut files = VecDeque::new();
            match receive(&**self.server.get_ref(), &mut bytes, &mut files) {
                Ok(received) if received.bytes == 0 => self.closed = true,
                Ok(received) if received.truncated => {
                    self.refuse(Violation::descriptors(
                        "the compositor has no descriptors left for what it sends",
                    ));
                    self.deaf = true;
                }
                Ok(received) => {
                    let said = bytes.get(..received.bytes).unwrap_or_default();
                    self.to_client = Parcel::new(said.to_vec(), files.into());
                    self.send_to_client();
                    if received.bytes < bytes.len() {
                        // That was all; and if it was not, the event loop comes again.
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
    }

    fn send_to_client(&mut self) {
        if self.deaf || self.to_client.send(self.client.get_ref()).is_err() {
            self.deaf = true;
            self.to_client = Parcel::default();
            self.fall_silent();
        }
    }

    /// Says what is waited for next, and whether that is something else than before.
    fn arm(&mut self) -> bool {
        let mut changed = false;
        let mut set = |held: &mut Interest, readable, writable| {
            changed |= (held.readable, held.writable) != (readable, writable);
            *held = Interest { readable, writable };
        };
        let hears = !self.silent && self.to_server.is_empty();
        set(&mut self.client.interest, hears, !self.to_client.is_empty());
        let tells = self.to_client.is_empty();
        set(&mut self.server.interest, tells, !self.to_server.is_empty());
        changed
    }
}

impl Violation {
    /// Ends a client because of its descriptors.
    fn descriptors(message: &str) -> Self {
        Self {
            code: wire::INVALID_METHOD,
            message: message.to_owned(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ledger.remove(&self.id);
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
        let (mut of_client, mut of_server) = (false, false);
        self.client.process_events(readiness, token, |_, _| {
            of_client = true;
            Ok(PostAction::Continue)
        })?;
        self.server.process_events(readiness, token, |_, _| {
            of_server = true;
            Ok(PostAction::Continue)
        })?;
        if of_client {
            if !self.to_client.is_empty() {
                self.send_to_client();
            }
            self.hear();
        }
        if of_server {
            if !self.to_server.is_empty() {
                self.pass_on();
                if self.silent {
                    self.fall_silent();
                }
            }
            self.tell();
        }
        if std::mem::take(&mut self.passed_on) {
            callback((), &mut ());
        }
        if self.closed && self.to_client.is_empty() {
            return Ok(PostAction::Remove);
        }
        Ok(if self.arm() {
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
