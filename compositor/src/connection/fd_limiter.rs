//! Keeps some file descriptors of the process free by disconnecting the client that uses the most of them.
//!
//! All clients share the file descriptors of one process. When none is free, the kernel drops the descriptors that a client
//! sends, and wayland-backend would match the client's later descriptors with the wrong messages. So a reserve is always kept
//! free. The client whose descriptor falls into the reserve may be well-behaved, so the client that uses the most descriptors is
//! disconnected instead.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::net::Shutdown;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::backend::protocol::Interface;

use super::wire::{NO_MEMORY, Violation};
use crate::descriptors;
use crate::limits::{Limit, Usage, amount};

/// The interface of `wl_display`, with which the display object of a client is looked up.
static DISPLAY: Interface = Interface {
    name: "wl_display",
    version: 1,
    requests: &[],
    events: &[],
    c_ptr: None,
};

/// The received file descriptors of a client whose messages are not complete yet.
pub(super) type FdQueue = Rc<RefCell<VecDeque<OwnedFd>>>;

/// The connections of all clients with their queued file descriptors.
#[derive(Clone, Debug, Default)]
pub(super) struct FdLimiter(Rc<RefCell<HashMap<ClientId, ClientEntry>>>);

/// A client's connection with its queued file descriptors.
#[derive(Debug)]
struct ClientEntry {
    fd_queue: FdQueue,
    server: Rc<UnixStream>,
    usage: Arc<Usage>,
    disconnected: bool,
}

impl FdLimiter {
    /// Adds a connection.
    pub(super) fn add(
        &self,
        client: ClientId,
        fd_queue: FdQueue,
        server: Rc<UnixStream>,
        usage: Arc<Usage>,
    ) {
        let entry = ClientEntry {
            fd_queue,
            server,
            usage,
            disconnected: false,
        };
        self.0.borrow_mut().insert(client, entry);
    }

    /// Removes a closed connection.
    pub(super) fn remove(&self, client: &ClientId) {
        self.0.borrow_mut().remove(client);
    }

    /// Disconnects a client with a protocol error, and closes its queued file descriptors.
    pub(super) fn disconnect(
        &self,
        display: &DisplayHandle,
        client: &ClientId,
        violation: Violation,
    ) {
        if let Some(entry) = self.0.borrow_mut().get_mut(client) {
            if std::mem::replace(&mut entry.disconnected, true) {
                return;
            }
            entry.fd_queue.borrow_mut().clear();
            tracing::warn!(
                ?client,
                reason = violation.message,
                "a client is disconnected"
            );
            let handle = display.backend_handle();
            let object = handle.object_for_protocol_id(client.clone(), &DISPLAY, 1);
            if let (Ok(object), Ok(message)) = (object, CString::new(violation.message)) {
                handle.post_error(object, violation.code, message);
            }
            // wayland-backend destroys the client when it reads the end of the stream from the socket pair.
            let _ = entry.server.shutdown(Shutdown::Write);
        }
    }

    /// Disconnects the client with the most file descriptors if `highest` is in the reserve. `highest` is the highest descriptor
    /// number that was received.
    pub(super) fn disconnect_largest_holder(
        &self,
        display: &DisplayHandle,
        highest: Option<RawFd>,
    ) {
        if !highest.is_some_and(descriptors::is_scarce) {
            return;
        }
        // The descriptors of a disconnected client become free only when wayland-backend destroys the client.
        if self.0.borrow().values().any(|entry| entry.disconnected) {
            return;
        }
        let fd_count = |entry: &ClientEntry| {
            amount(entry.fd_queue.borrow().len())
                .saturating_add(entry.usage.used(Limit::Descriptors))
        };
        let largest = self
            .0
            .borrow()
            .iter()
            .max_by_key(|(_, entry)| fd_count(entry))
            .map(|(client, _)| client.clone());
        if let Some(client) = largest {
            let violation = Violation {
                code: NO_MEMORY,
                message:
                    "the compositor runs out of file descriptors, and this client holds the most of them"
                        .to_owned(),
            };
            self.disconnect(display, &client, violation);
        }
    }
}
