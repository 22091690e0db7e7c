//! Who holds how many of the process's descriptors, and who has to go when they run short.
//!
//! All clients share the descriptors of one process. When the last ones are in use, the kernel drops what a client sends, and
//! it would be another client's loss: its later descriptors would be taken for earlier ones. So some are always kept free. A
//! client that brings the process into them is not always the one that holds most; the one that does is disconnected.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::net::Shutdown;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::backend::protocol::Interface;

use super::wire::{NO_MEMORY, Violation};
use crate::limits;

/// Interfaces whose objects hold a descriptor of the process, or several.
const HOLDERS: [&str; 4] = [
    "wl_shm_pool",
    "wl_buffer",
    "zwp_linux_buffer_params_v1",
    "wp_linux_drm_syncobj_timeline_v1",
];

/// The display's own interface, by which its object is found.
static DISPLAY: Interface = Interface {
    name: "wl_display",
    version: 1,
    requests: &[],
    events: &[],
    c_ptr: None,
};

/// Descriptors that a client sent and no message took yet.
pub(super) type Queue = Rc<RefCell<VecDeque<OwnedFd>>>;

/// The connections of all clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Rc<RefCell<HashMap<ClientId, Entry>>>);

#[derive(Debug)]
struct Entry {
    queue: Queue,
    server: Rc<UnixStream>,
    ended: bool,
}

impl Ledger {
    /// Adds a connection.
    pub(super) fn add(&self, client: ClientId, queue: Queue, server: Rc<UnixStream>) {
        let entry = Entry {
            queue,
            server,
            ended: false,
        };
        self.0.borrow_mut().insert(client, entry);
    }

    /// Takes a connection away that is closed.
    pub(super) fn remove(&self, client: &ClientId) {
        self.0.borrow_mut().remove(client);
    }

    /// Disconnects a client with an error, and closes what it sent.
    pub(super) fn end(&self, display: &DisplayHandle, client: &ClientId, why: Violation) {
        if let Some(entry) = self.0.borrow_mut().get_mut(client) {
            if std::mem::replace(&mut entry.ended, true) {
                return;
            }
            entry.queue.borrow_mut().clear();
            tracing::warn!(?client, reason = why.message, "a client is disconnected");
            let handle = display.backend_handle();
            let object = handle.object_for_protocol_id(client.clone(), &DISPLAY, 1);
            if let (Ok(object), Ok(message)) = (object, CString::new(why.message)) {
                handle.post_error(object, why.code, message);
            }
            // The end of what it reads is what makes wayland-backend clean up.
            let _ = entry.server.shutdown(Shutdown::Write);
        }
    }

    /// Makes room where a descriptor that was received is among the last ones of the process.
    pub(super) fn make_room(&self, display: &DisplayHandle, highest: Option<RawFd>) {
        if !highest.is_some_and(limits::is_scarce) {
            return;
        }
        // What one that has to go holds is free only when it is gone.
        if self.0.borrow().values().any(|entry| entry.ended) {
            return;
        }
        let handle = display.backend_handle();
        let held = |client: &ClientId, entry: &Entry| {
            let mut objects = 0_usize;
            let _ = handle.with_all_objects_for(client.clone(), |object| {
                if HOLDERS.contains(&object.interface().name) {
                    objects = objects.saturating_add(1);
                }
            });
            objects.saturating_add(entry.queue.borrow().len())
        };
        let most = self
            .0
            .borrow()
            .iter()
            .max_by_key(|(client, entry)| held(client, entry))
            .map(|(client, _)| client.clone());
        if let Some(client) = most {
            let why = Violation {
                code: NO_MEMORY,
                message: "the compositor runs out of file descriptors, and this client holds most"
                    .to_owned(),
            };
            self.end(display, &client, why);
        }
    }
}
