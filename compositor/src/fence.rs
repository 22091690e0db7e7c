//! Waiting for devices that still write into a buffer which a client already committed.
//!
//! Either the client names a point on a timeline, or the kernel attaches such writes to the dma-buf itself (implicit
//! fences). A commit is held back until they are done, by the event loop: nothing blocks, and other surfaces go on.

use calloop::{LoopHandle, RegistrationToken};
use covalent_alloc::sync::{Access, PollableSource};
use covalent_alloc::trace::{Action, Place};
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::backend::protocol::ProtocolError;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{
    Barrier, BufferAssignment, SurfaceAttributes, add_blocker, get_children, is_sync_subsurface,
    with_states,
};

use crate::clock;
use crate::owed::{Attachment, CommitNumber, OwedBuffer, UsedBuffers, commits};
use crate::state::{ClientState, State};
use crate::steps::{COMPOSITOR, Traced};
use crate::syncobj::{HandOver, Point, PointWait, hand_over};
use crate::transient::persist;

/// Commits of one client that may wait at a time.
const WAITING_MAX: usize = 64;

/// Commits of one surface that may be kept until they can be applied: behind one that waits, or cached in a synchronised subsurface
/// whose parent does not commit.
const OUTSTANDING_MAX: u64 = 1024;

/// `wl_display.error.no_memory`, which the bindings do not name.
const NO_MEMORY: u32 = 2;

/// The commits that wait, and the buffers of all commits that are in use.
#[derive(Debug, Default)]
pub struct Waiting {
    commits: Vec<Waiter>,
    next: u64,
    used: UsedBuffers,
}

/// One thing that a commit waits for.
#[derive(Debug)]
struct Waiter {
    id: u64,
    surface: ObjectId,
    /// The number of the commit among those of its surface.
    commit: u64,
    client: Client,
    barrier: Barrier,
    token: RegistrationToken,
}

impl Waiting {
    /// Ends the waiting of a surface that shows nothing any more. Whoever waits with it, such as its parent, goes on.
    pub fn forget(&mut self, handle: &LoopHandle<'static, State>, surface: &WlSurface) {
        let id = surface.id();
        self.cancel(handle, |waiter| waiter.surface == id);
    }

    /// Counts the commits that wait.
    pub fn count(&self) -> usize {
        self.commits.len()
    }

    fn count_of(&self, client: &Client) -> usize {
        let id = client.id();
        self.commits
            .iter()
            .filter(|waiter| waiter.client.id() == id)
            .count()
    }

    /// Ends the waiting of those that nothing depends on any more. Their barriers open: one that nobody can open would hold
    /// up every later commit of the client.
    fn cancel(&mut self, handle: &LoopHandle<'static, State>, is_over: impl Fn(&Waiter) -> bool) {
        let mut clients: Vec<Client> = Vec::new();
        self.commits.retain(|waiter| {
            let over = is_over(waiter);
            if over {
                handle.remove(waiter.token);
                waiter.barrier.signal();
                if !clients.contains(&waiter.client) {
                    clients.push(waiter.client.clone());
                }
            }
            !over
        });
        for client in clients {
            // Not from within a request: other commits may be applied by it.
            handle.insert_idle(move |state| state.apply_commits(&client));
        }
    }
}

impl State {
    /// Takes the commit under way: what it attached is kept until the commit is applied, and the commit is held back until its
    /// buffer's memory is written.
    pub(crate) fn take_commit(&mut self, surface: &WlSurface) {
        let Some(client) = surface.client() else {
            return;
        };
        let assigned = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer.take()
        });
        let buffer = match &assigned {
            Some(BufferAssignment::NewBuffer(buffer)) => Some(buffer.clone()),
            _ => None,
        };
        let memory = buffer
            .as_ref()
            .and_then(|buffer| self.dmabuf.find(buffer).cloned());
        let is_supported = memory.is_some() || self.syncobj.supports_shm();
        let (attachment, acquire) =
            match hand_over(&self.syncobj, surface, buffer.as_ref(), is_supported) {
                HandOver::Points { acquire, release } => (
                    buffer.map(|buffer| OwedBuffer::by_point(buffer, release)),
                    Acquire::At(acquire),
                ),
                HandOver::Implicit | HandOver::Nothing => (
                    buffer.map(|buffer| OwedBuffer::by_event(buffer, &mut self.waiting.used)),
                    Acquire::Implicit,
                ),
            };
        let attachment = match attachment {
            None => assigned.map(|_| Attachment::Removed),
            Some(owed) => Some(Attachment::Buffer(owed)),
        };
        let number = self.keep(surface, &client, attachment);
        let waits = match (acquire, &memory) {
            (Acquire::At(None), _) | (Acquire::Implicit, None) => Ok(Vec::new()),
            (Acquire::At(Some(point)), _) => waits_for_point(&point),
            (Acquire::Implicit, Some(memory)) => {
                let reservation = memory.buffer().reservation();
                persist(|| reservation.wait(Access::Read))
                    .map(|waits| waits.into_iter().map(PointWait::new).collect())
                    .map_err(|error| error.to_string())
            }
        };
        let traced = memory.map(|memory| {
            memory.count_commit();
            let traced = memory.traced();
            let now = clock::now();
            traced.tell(COMPOSITOR, Action::HandOver, Place::Begin, (now, now));
            traced
        });
        match waits {
            Ok(waits) => {
                for wait in waits {
                    self.hold_back(surface, &client, number, wait, traced);
                }
            }
            Err(error) => self.give_up_on(&client, &error),
        }
    }

    /// Keeps what a commit attached until it is applied; returns its number among those of the surface.
    fn keep(
        &mut self,
        surface: &WlSurface,
        client: &Client,
        attachment: Option<Attachment>,
    ) -> u64 {
        let is_cached = is_sync_subsurface(surface);
        let (number, superseded, outstanding) = with_states(surface, |states| {
            let commits = commits(states);
            let (number, superseded) = commits.push(attachment, is_cached);
            states.cached_state.get::<CommitNumber>().pending().0 = Some(number);
            (number, superseded, commits.outstanding())
        });
        if outstanding > OUTSTANDING_MAX {
            let why = format!("more than {OUTSTANDING_MAX} commits of a surface wait");
            self.give_up_on(client, &why);
        }
        if !superseded.is_empty() {
            let id = surface.id();
            self.waiting.cancel(&self.handle, |waiter| {
                waiter.surface == id && superseded.contains(&waiter.commit)
            });
        }
        if !is_cached {
            seal_cached(surface);
        }
        number
    }

    fn apply_commits(&mut self, client: &Client) {
        let display = self.display.clone();
        if let Some(data) = client.get_data::<ClientState>() {
            data.compositor.blocker_cleared(self, &display);
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
        commit: u64,
        wait: PointWait,
        traced: Option<Traced>,
    ) {
        if self.waiting.count_of(client) >= WAITING_MAX {
            let why = format!("more than {WAITING_MAX} commits wait for their buffers");
            self.give_up_on(client, &why);
            return;
        }
        let begun = clock::now();
        let barrier = Barrier::new(false);
        let id = self.waiting.next;
        self.waiting.next = id.wrapping_add(1);
        let (done, of_client) = (barrier.clone(), client.clone());
        let inserted = self
            .handle
            .insert_source(PollableSource::new(wait), move |(), _, state| {
                done.signal();
                if let Some(traced) = traced {
                    let waited = (begun, clock::now());
                    traced.tell(COMPOSITOR, Action::Wait, Place::Through, waited);
                }
                state.waiting.commits.retain(|waiter| waiter.id != id);
                state.apply_commits(&of_client);
            });
        match inserted {
            Ok(token) => {
                add_blocker(surface, barrier.clone());
                self.waiting.commits.push(Waiter {
                    id,
                    surface: surface.id(),
                    commit,
                    client: client.clone(),
                    barrier,
                    token,
                });
            }
            Err(error) => self.give_up_on(client, &error.error.to_string()),
        }
    }
}

/// From when on a commit's buffer may be read.
enum Acquire {
    /// The buffer's own fences tell.
    Implicit,
    /// From a point on; at once where there is none.
    At(Option<Point>),
}

/// What has to be waited for until a point is signalled: nothing where it is.
fn waits_for_point(point: &Point) -> Result<Vec<PointWait>, String> {
    if point.is_signalled().unwrap_or(false) {
        return Ok(Vec::new());
    }
    persist(|| point.wait())
        .map(|wait| vec![wait])
        .map_err(|error| error.to_string())
}

/// Notes that what is cached in the synchronised subsurfaces below a surface belongs to the commit under way.
fn seal_cached(surface: &WlSurface) {
    let mut below: Vec<WlSurface> = get_children(surface);
    below.retain(is_sync_subsurface);
    while let Some(child) = below.pop() {
        with_states(&child, |states| commits(states).seal());
        below.extend(get_children(&child));
    }
}
