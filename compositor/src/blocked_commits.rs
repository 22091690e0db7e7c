//! Holds back commits whose buffer is still being written by a device.
//!
//! The client sets an acquire point (explicit synchronisation), or the kernel has attached a write fence to the dma-buf (implicit
//! synchronisation). A Smithay blocker delays the commit until the point or the fence is signalled. The event loop waits for it,
//! so the compositor does not block and other surfaces continue.

use calloop::RegistrationToken;
use covalent_alloc::sync::{Access, PollableSource};
use covalent_alloc::trace::{Action, FlowPosition};
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::backend::protocol::ProtocolError;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{
    Barrier, BufferAssignment, SurfaceAttributes, add_blocker, get_children, is_sync_subsurface,
    with_states,
};

use crate::clock;
use crate::commits::{Attachment, BuffersInUse, CommitNumber, CommittedBuffer, pending_commits};
use crate::event_loop::LoopHandle;
use crate::frame_trace::{COMPOSITOR, TracedBuffer};
use crate::limits::{Charge, Limit};
use crate::state::{ClientState, State, usage_of};
use crate::syncobj::{CommitSync, Point, PointWait, take_sync_points};
use crate::transient::retry_transient;

/// The value of `wl_display.error.no_memory`, for which the bindings have no constant.
const NO_MEMORY: u32 = 2;

/// The commits that wait for an acquire point or a fence, and the buffers in use that are released by `wl_buffer.release`.
#[derive(Debug, Default)]
pub struct BlockedCommits {
    commits: Vec<BlockedCommit>,
    next: u64,
    in_use: BuffersInUse,
}

/// A commit that waits for one acquire point or fence.
#[derive(Debug)]
struct BlockedCommit {
    id: u64,
    surface: ObjectId,
    /// The number of the commit in its surface's [`PendingCommits`](crate::commits::PendingCommits).
    commit: u64,
    client: Client,
    barrier: Barrier,
    token: RegistrationToken,
    _charge: Charge,
}

impl BlockedCommits {
    /// Cancels the waits of a surface that lost its role. Commits that depend on the waiting commits, such as the parent's, are
    /// applied.
    pub fn unblock_surface(&mut self, handle: &LoopHandle, surface: &WlSurface) {
        let id = surface.id();
        self.cancel(handle, |blocked| blocked.surface == id);
    }

    /// Returns how many commits wait for fences or timeline points.
    pub fn count(&self) -> usize {
        self.commits.len()
    }

    /// Cancels the waits for which `is_obsolete` is true. Their barriers are signalled, because a barrier that is never signalled
    /// would block every later commit of the client.
    fn cancel(&mut self, handle: &LoopHandle, is_obsolete: impl Fn(&BlockedCommit) -> bool) {
        let mut clients: Vec<Client> = Vec::new();
        self.commits.retain(|blocked| {
            let over = is_obsolete(blocked);
            if over {
                handle.remove(blocked.token);
                blocked.barrier.signal();
                if !clients.contains(&blocked.client) {
                    clients.push(blocked.client.clone());
                }
            }
            !over
        });
        for client in clients {
            // The commits are applied in an idle callback: within a request they could apply state that the request itself is
            // about to change.
            handle.insert_idle(move |state| state.apply_commits(&client));
        }
    }
}

impl State {
    /// Handles a commit before Smithay applies it: takes its buffer out of Smithay's state, takes its synchronisation points,
    /// and blocks the commit until its acquire point or fence is signalled.
    pub(crate) fn queue_commit(&mut self, surface: &WlSurface) {
        let Some(client) = surface.client() else {
            return;
        };
        let assignment = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer.take()
        });
        let buffer = match &assignment {
            Some(BufferAssignment::NewBuffer(buffer)) => Some(buffer.clone()),
            _ => None,
        };
        let dmabuf = buffer
            .as_ref()
            .and_then(|buffer| self.dmabuf.find(buffer).cloned());
        let is_supported = dmabuf.is_some() || self.syncobj.supports_shm();
        let (attachment, acquire) =
            match take_sync_points(&self.syncobj, surface, buffer.as_ref(), is_supported) {
                CommitSync::Explicit { acquire, release } => (
                    buffer.map(|buffer| CommittedBuffer::released_at_point(buffer, release)),
                    AcquireCondition::Point(acquire),
                ),
                CommitSync::Implicit | CommitSync::NoBuffer => (
                    buffer.map(|buffer| {
                        CommittedBuffer::released_by_event(buffer, &mut self.blocked_commits.in_use)
                    }),
                    AcquireCondition::ImplicitFences,
                ),
            };
        let attachment = match attachment {
            None => assignment.map(|_| Attachment::Removed),
            Some(buffer) => {
                let id = buffer.buffer().id().protocol_id();
                let pool = client
                    .get_data::<ClientState>()
                    .and_then(|data| data.shm_pools.find(id));
                Some(Attachment::Buffer(buffer.with_pool(pool)))
            }
        };
        let number = self.queue_attachment(surface, &client, attachment);
        let waits = match (acquire, &dmabuf) {
            (AcquireCondition::Point(None), _) | (AcquireCondition::ImplicitFences, None) => {
                Ok(Vec::new())
            }
            (AcquireCondition::Point(Some(point)), _) => point_waits(&point),
            (AcquireCondition::ImplicitFences, Some(dmabuf)) => {
                let reservation = dmabuf.buffer().reservation();
                retry_transient(|| reservation.wait(Access::Read))
                    .map(|waits| waits.into_iter().map(PointWait::new).collect())
                    .map_err(|error| error.to_string())
            }
        };
        let traced = dmabuf.map(|dmabuf| {
            dmabuf.count_commit();
            let traced = dmabuf.traced();
            let now = clock::now();
            traced.emit(
                COMPOSITOR,
                Action::HandOver,
                FlowPosition::Begin,
                (now, now),
            );
            traced
        });
        match waits {
            Ok(waits) => {
                for wait in waits {
                    self.block_commit(surface, &client, number, wait, traced);
                }
            }
            Err(error) => self.disconnect_client(&client, &error),
        }
    }

    /// Stores the attachment of a commit until the commit is applied. Returns the number of the commit.
    fn queue_attachment(
        &mut self,
        surface: &WlSurface,
        client: &Client,
        attachment: Option<Attachment>,
    ) -> u64 {
        let is_cached = is_sync_subsurface(surface);
        let (number, superseded, counted) = with_states(surface, |states| {
            let commits = pending_commits(states);
            let (number, superseded) = commits.push(attachment, is_cached);
            states.cached_state.get::<CommitNumber>().pending().0 = Some(number);
            (number, superseded, commits.count(&usage_of(client)))
        });
        if let Err(exceeded) = counted {
            self.connections.disconnect(&self.display, client, exceeded);
        }
        if !superseded.is_empty() {
            let id = surface.id();
            self.blocked_commits.cancel(&self.handle, |blocked| {
                blocked.surface == id && superseded.contains(&blocked.commit)
            });
        }
        if !is_cached {
            seal_subsurface_commits(surface);
        }
        number
    }

    /// Lets Smithay apply the commits of a client that are no longer blocked.
    fn apply_commits(&mut self, client: &Client) {
        let display = self.display.clone();
        if let Some(data) = client.get_data::<ClientState>() {
            data.compositor.blocker_cleared(self, &display);
        }
    }

    /// Disconnects a client whose commit cannot wait for its buffer. Showing an incomplete buffer would be worse.
    fn disconnect_client(&self, client: &Client, reason: &str) {
        tracing::warn!(
            reason,
            "a client is disconnected because one of its commits cannot wait for its buffer"
        );
        let error = ProtocolError {
            code: NO_MEMORY,
            object_id: 1,
            object_interface: "wl_display".to_owned(),
            message: format!("a commit cannot wait for its buffer: {reason}"),
        };
        client.kill(&self.display, error);
    }

    /// Blocks a commit until `wait` has ended. The client is disconnected if too many of its commits wait.
    fn block_commit(
        &mut self,
        surface: &WlSurface,
        client: &Client,
        commit: u64,
        wait: PointWait,
        traced: Option<TracedBuffer>,
    ) {
        let charge = match usage_of(client).charge(Limit::WaitingCommits, 1) {
            Ok(charge) => charge,
            Err(exceeded) => {
                self.connections.disconnect(&self.display, client, exceeded);
                return;
            }
        };
        let wait_start = clock::now();
        let barrier = Barrier::new(false);
        let id = self.blocked_commits.next;
        self.blocked_commits.next = id.wrapping_add(1);
        let (opened_barrier, waiting_client) = (barrier.clone(), client.clone());
        let inserted = self
            .handle
            .insert_source(PollableSource::new(wait), move |(), _, state| {
                opened_barrier.signal();
                if let Some(traced) = traced {
                    let waited = (wait_start, clock::now());
                    traced.emit(COMPOSITOR, Action::Wait, FlowPosition::Middle, waited);
                }
                state
                    .blocked_commits
                    .commits
                    .retain(|blocked| blocked.id != id);
                state.apply_commits(&waiting_client);
            });
        match inserted {
            Ok(token) => {
                add_blocker(surface, barrier.clone());
                self.blocked_commits.commits.push(BlockedCommit {
                    id,
                    surface: surface.id(),
                    commit,
                    client: client.clone(),
                    barrier,
                    token,
                    _charge: charge,
                });
            }
            Err(error) => self.disconnect_client(client, &error.error.to_string()),
        }
    }
}

/// The condition after which the compositor may read a commit's buffer.
enum AcquireCondition {
    /// The write fences of the dma-buf are signalled.
    ImplicitFences,
    /// The acquire point is signalled; `None` for point 0, which is always signalled.
    Point(Option<Point>),
}

/// Returns the waits for a point; empty if the point is signalled already.
fn point_waits(point: &Point) -> Result<Vec<PointWait>, String> {
    if point.is_signalled().unwrap_or(false) {
        return Ok(Vec::new());
    }
    retry_transient(|| point.wait())
        .map(|wait| vec![wait])
        .map_err(|error| error.to_string())
}

/// Marks the cached commits of all synchronised subsurfaces of a surface as part of the surface's current commit.
fn seal_subsurface_commits(surface: &WlSurface) {
    let mut below: Vec<WlSurface> = get_children(surface);
    below.retain(is_sync_subsurface);
    while let Some(child) = below.pop() {
        with_states(&child, |states| pending_commits(states).seal());
        below.extend(get_children(&child));
    }
}
