//! Waiting for devices that still write into a buffer which a client already committed.
//!
//! The kernel attaches such writes to the dma-buf itself (implicit fences). A commit is held back until they are done, by
//! the event loop: nothing blocks, and other surfaces go on.

use std::os::fd::{AsFd, OwnedFd};

use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use covalent_alloc::trace::{Action, Place};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// Tells whether nobody writes into the memory any more.
fn is_ready(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A descriptor that cannot be asked is not waited for: reading it will tell what is wrong.
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&at_once))).map_or(true, |ready| ready > 0)
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
        let Some(buffer) = buffer else {
            return;
        };
        buffer.committed();
        let traced = buffer.traced();
        let now = clock::now();
        traced.tell(COMPOSITOR, Action::HandOver, Place::Begin, (now, now));
        let memory = buffer.buffer();
        for index in 0..memory.memory_count() {
            let Some(fd) = memory.memory_fd(index) else {
                continue;
            };
            if is_ready(fd) {
                continue;
            }
            if self.waiting.count_of(&client) >= WAITING_MAX {
                tracing::warn!("a client queues frames without end, and is disconnected");
                let error = ProtocolError {
                    code: NO_MEMORY,
                    object_id: 1,
                    object_interface: "wl_display".to_owned(),
                    message: format!("more than {WAITING_MAX} commits wait for their buffers"),
                };
                client.kill(&self.display, error);
                return;
            }
            // The descriptor is doubled: a buffer can be committed again while it is waited for.
            match fd.try_clone_to_owned() {
                Ok(fd) => self.hold_back(surface, &client, fd, traced),
                Err(error) => tracing::warn!(%error, "a buffer is shown before it is written"),
            }
        }
    }

    fn hold_back(&mut self, surface: &WlSurface, client: &Client, fd: OwnedFd, traced: Traced) {
        let begun = clock::now();
        let barrier = Barrier::new(false);
        let number = self.waiting.next;
        self.waiting.next = number.wrapping_add(1);
        let (done, of_client) = (barrier.clone(), client.clone());
        let source = Generic::new(fd, Interest::READ, Mode::Level);
        let inserted = self.handle.insert_source(source, move |_, _, state| {
            done.signal();
            let waited = (begun, clock::now());
            traced.tell(COMPOSITOR, Action::Wait, Place::Through, waited);
            let commits = &mut state.waiting.commits;
            commits.retain(|commit| commit.number != number);
            let display = state.display.clone();
            if let Some(data) = of_client.get_data::<ClientState>() {
                data.compositor.blocker_cleared(state, &display);
            }
            Ok(PostAction::Remove)
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
            Err(error) => {
                tracing::warn!(error = %error.error, "a buffer is shown before it is written");
            }
        }
    }
}
