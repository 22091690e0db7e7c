//! Handles the readiness of a client connection's sockets in the event loop.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use calloop::{Interest, Readiness};
use smithay::reexports::wayland_server::Client;
use smithay::reexports::wayland_server::backend::ClientId;

use super::Connection;
use super::socket_io::SendBuffer;
use crate::event_loop::{LoopHandle, WatchAction, WatchToken};
use crate::state::{ClientState, State};

/// The registrations of a connection's two sockets.
#[derive(Debug)]
pub(super) struct SocketRegistrations {
    client: Registration,
    server: Registration,
}

/// The registration of one socket in the event loop.
#[derive(Debug)]
struct Registration {
    token: WatchToken,
    interest: Interest,
}

/// One of the two sockets of a connection.
#[derive(Clone, Copy, Debug)]
enum Socket {
    /// The socket that is connected to the client.
    Client,
    /// The end of the socket pair to wayland-backend.
    Server,
}

impl Connection {
    /// Adds both sockets to the event loop. Their callbacks keep the connection alive until it is closed.
    ///
    /// # Errors
    ///
    /// When the kernel cannot watch the sockets.
    pub(super) fn watch(connection: &Rc<RefCell<Self>>, handle: &LoopHandle) -> io::Result<()> {
        let callback = |socket| {
            let connection = connection.clone();
            move |readiness, state: &mut State| {
                let is_open = connection.borrow_mut().ready(socket, readiness, state);
                if !is_open {
                    state.remove_connection(&connection);
                }
                // Both sockets of a closed connection were removed already.
                WatchAction::Continue
            }
        };
        let (client, server) = {
            let connection = connection.borrow();
            (connection.client.clone(), connection.server.clone())
        };
        let interest = Interest::READ;
        let client = handle.watch(client, interest, callback(Socket::Client))?;
        let server = match handle.watch(server, interest, callback(Socket::Server)) {
            Ok(server) => server,
            Err(error) => {
                handle.unwatch(client);
                return Err(error);
            }
        };
        let registration = |token| Registration { token, interest };
        connection.borrow_mut().watched = Some(SocketRegistrations {
            client: registration(client),
            server: registration(server),
        });
        Ok(())
    }

    /// Handles the readiness of a socket; returns whether the connection is still open.
    fn ready(&mut self, socket: Socket, readiness: Readiness, state: &mut State) -> bool {
        self.pace.start();
        match socket {
            Socket::Client => {
                if readiness.writable && !self.to_client.is_empty() {
                    self.send_to_client();
                }
                self.receive_requests();
            }
            Socket::Server => {
                if readiness.writable && (!self.to_server.is_empty() || self.pace.is_busy()) {
                    self.forward_requests();
                }
                if readiness.readable {
                    self.drop_events_of_ended_client();
                    self.forward_events();
                }
            }
        }
        let id = self.id.clone();
        self.dispatch(|| {
            let start = Instant::now();
            state.handle_requests(&id);
            start.elapsed()
        });
        self.update(&state.handle)
    }

    /// Closes the connection of a client that wayland-backend has disconnected and that does not read its events.
    ///
    /// While events wait for the client, the server's socket is not watched for further events, so its readiness means that
    /// wayland-backend has closed the other end. epoll reports that in every iteration, so waiting for the client would keep the
    /// event loop busy. libwayland does not wait for such a client either.
    fn drop_events_of_ended_client(&mut self) {
        if !self.to_client.is_empty() {
            tracing::debug!(client = ?self.id, "a disconnected client has not read its last events");
            self.to_client = SendBuffer::default();
            self.closed = true;
        }
    }

    /// Sets the readiness for which each socket is watched; returns whether the connection is still open.
    fn update(&mut self, handle: &LoopHandle) -> bool {
        if self.closed && self.to_client.is_empty() {
            return false;
        }
        let is_busy = self.pace.is_busy();
        let client = Interest {
            readable: !self.receive_stopped && self.to_server.is_empty() && !is_busy,
            writable: !self.to_client.is_empty(),
        };
        let server = Interest {
            readable: self.to_client.is_empty(),
            // The socket pair is writable, so a busy client continues in the next iteration.
            writable: is_busy || !self.to_server.is_empty(),
        };
        let Some(watched) = &mut self.watched else {
            return true;
        };
        let client = watched.client.set(handle, client);
        let server = watched.server.set(handle, server);
        if let Err(error) = client.and(server) {
            tracing::warn!(client = ?self.id, %error, "a client is disconnected because its sockets cannot be watched");
            return false;
        }
        true
    }
}

impl Registration {
    /// Changes for which readiness the event loop watches the socket.
    fn set(&mut self, handle: &LoopHandle, interest: Interest) -> io::Result<()> {
        let before = (self.interest.readable, self.interest.writable);
        if before != (interest.readable, interest.writable) {
            handle.set_interest(self.token, interest)?;
            self.interest = interest;
        }
        Ok(())
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
        // If the client has disconnected, the other clients are not affected.
        if let Err(error) = handled {
            tracing::trace!(?client, %error, "the requests of a client cannot be dispatched");
        }
    }

    /// Forwards the events of the clients for which [`expect_events`] was called, after wayland-backend has flushed them.
    /// Otherwise the event loop would need another iteration to find them.
    pub(crate) fn forward_expected_events(&mut self) {
        let mut closed = Vec::new();
        for connection in self.connections.connected.borrow().values() {
            let mut open = connection.borrow_mut();
            if !open.expects_events.swap(false, Ordering::Relaxed) {
                continue;
            }
            open.forward_events();
            if !open.update(&self.handle) {
                closed.push(connection.clone());
            }
        }
        for connection in closed {
            self.remove_connection(&connection);
        }
    }

    /// Removes a closed connection, and stops watching its sockets.
    fn remove_connection(&mut self, connection: &Rc<RefCell<Connection>>) {
        let (id, watched) = {
            let mut connection = connection.borrow_mut();
            (connection.id.clone(), connection.watched.take())
        };
        if let Some(watched) = watched {
            self.handle.unwatch(watched.client.token);
            self.handle.unwatch(watched.server.token);
        }
        self.connections.connected.borrow_mut().remove(&id);
    }
}

/// Records that events for this client are queued, so that they are forwarded at the end of this event-loop iteration.
pub fn expect_events(client: &Client) {
    if let Some(data) = client.get_data::<ClientState>() {
        data.expects_events.store(true, Ordering::Relaxed);
    }
}
