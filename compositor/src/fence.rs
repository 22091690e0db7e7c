//! Waiting for devices that still write into a buffer which a client already committed.
//!
//! Either the client names a point on a timeline, or the kernel attaches such writes to the dma-buf itself (implicit
//! fences). A commit is held back until they are done, by the event loop: nothing blocks, and other surfaces go on.

use calloop::{LoopHandle, RegistrationToken};
use covalent_alloc::sync::{Access, Awaited, MomentSource, Until};
use covalent_alloc::trace::{Action, Place};
use smithay::reexports::wayland_server::backend::protocol::ProtocolError;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{
    Barrier, BufferAssignment, SurfaceAttributes, add_blocker, with_states,
};

use crate::clock;
use crate::state::{ClientState, State};
use crate::steps::{COMPOSITOR, Traced};
use crate::syncobj::{Acquire, acquire};

/// Commits of one client that may wait at a time.
const WAITING_MAX: usize = 64;

/// `wl_display.error.no_memory`, which the bindings do not name.
const NO_MEMORY: u32 = 2;

/// The commits that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    commits: Vec<Commit>,
    next: u64,
}

#[derive(Debug)]
struct Commit {
    number: u64,
    surface: ObjectId,
    client: ClientId,
    token: RegistrationToken,
}

impl Waiting {
    /// Gives up on the commits of a surface that is gone.
    pub fn forget(&mut self, handle: &LoopHandle<'static, State>, surface: &WlSurface) {
        let id = surface.id();
        self.commits.retain(|commit| {
            if commit.surface == id {
                handle.remove(commit.token);
            }
            commit.surface != id
        });
    }

    /// Counts the commits that wait.
    pub fn count(&self) -> usize {
        self.commits.len()
    }

    fn count_of(&self, client: &Client) -> usize {
        let id = client.id();
        self.commits
            .iter()
            .filter(|commit| commit.client == id)
            .count()
    }
}

impl State {
    /// Holds the commit under way back until its buffer's memory is written.
    pub(crate) fn wait_for_buffer(&mut self, surface: &WlSurface) {
        let Some(client) = surface.client() else {
            return;
        };
        let buffer = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            match &attributes.pending().buffer {
                Some(BufferAssignment::NewBuffer(buffer)) => self.dmabuf.find(buffer).cloned(),
                _ => None,
            }
        });
        let acquire = acquire(surface, |buffer| self.dmabuf.find(buffer).is_some());
        let Some(buffer) = buffer else {
            return;
        };
        buffer.committed();
        let traced = buffer.traced();
        let now = clock::now();
        traced.tell(COMPOSITOR, Action::HandOver, Place::Begin, (now, now));
        match acquire {
            Acquire::Nothing => {}
            Acquire::At(point) => {
                if !point.is_signalled().unwrap_or(false) {
                    match point.wait(Until::Signalled) {
                        Ok(wait) => self.hold_back(surface, &client, wait, traced),
                        Err(error) => self.give_up_on(&client, &error.to_string()),
                    }
                }
            }
            Acquire::Implicit => {
                let waits = buffer.buffer().reservation().wait(Access::Read);
                match waits {
                    Ok(waits) => {
                        for wait in waits {
                            self.hold_back(surface, &client, wait, traced);
                        }
                    }
                    Err(error) => self.give_up_on(&client, &error.to_string()),
                }
            }
        }
    }

    /// Disconnects a client whose buffer cannot be waited for: to show it unfinished would be worse.
    fn give_up_on(&self, client: &Client, why: &str) {
        tracing::warn!(
            why,
            "a buffer cannot be waited for, and its client is disconnected"
        );
        let error = ProtocolError {
            code: NO_MEMORY,
            object_id: 1,
            object_interface: "wl_display".to_owned(),
            message: why.to_owned(),
        };
        client.kill(&self.display, error);
    }

    fn hold_back(
        &mut self,
        surface: &WlSurface,
        client: &Client,
        moment: impl Awaited + 'static,
        traced: Traced,
    ) {
        if self.waiting.count_of(client) >= WAITING_MAX {
            let why = format!("more than {WAITING_MAX} commits wait for their buffers");
            self.give_up_on(client, &why);
            return;
        }
        let begun = clock::now();
        let barrier = Barrier::new(false);
        let number = self.waiting.next;
        self.waiting.next = number.wrapping_add(1);
        let (done, of_client) = (barrier.clone(), client.clone());
        let source = MomentSource::new(moment);
        let inserted = self.handle.insert_source(source, move |(), _, state| {
            done.signal();
            let waited = (begun, clock::now());
            traced.tell(COMPOSITOR, Action::Wait, Place::Through, waited);
            let commits = &mut state.waiting.commits;
            commits.retain(|commit| commit.number != number);
            let display = state.display.clone();
            if let Some(data) = of_client.get_data::<ClientState>() {
                data.compositor.blocker_cleared(state, &display);
            }
        });
        match inserted {
            Ok(token) => {
                add_blocker(surface, barrier);
                self.waiting.commits.push(Commit {
                    number,
                    surface: surface.id(),
                    client: client.id(),
                    token,
                });
            }
            Err(error) => self.give_up_on(client, &error.error.to_string()),
        }
    }
}
