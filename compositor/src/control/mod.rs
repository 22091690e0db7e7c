//! The control socket, from which `covalent watch` reads the state of the compositor.
//!
//! ```text
//!   accept ──▶ credentials ──▶ request ──▶ snapshot ──▶ (interval) ──▶ snapshot …
//!      │            │             │            └ previous one not read: skipped; closed after IDLE_MAX without traffic
//!      └ too many   └ another user's: closed   └ not valid: an error, closed
//! ```
//!
//! A snapshot of the state is collected when a peer requests one. Without peers, the compositor only counts the frames and stores
//! their times.

mod counter;
mod holdings;
mod peer;
mod snapshot;

use std::collections::HashMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use calloop::generic::Generic;
use calloop::timer::TimeoutAction;
use calloop::{Interest, Mode, PostAction, RegistrationToken};
use covalent_alloc::files::{PrivateSocket, SocketKind, is_peer_own_user};
use covalent_protocols::control::{INTERVAL_MIN_MS, NAME_PREFIX};

use self::peer::{ConnectionEnded, Peer};
use crate::clock;
use crate::descriptors;
use crate::event_loop::TimerToken;
use crate::state::State;

pub use counter::{FrameCounter, PresentedFrames, SurfaceCounter};

/// The maximum number of connections to the control socket.
pub const PEERS_MAX: usize = 8;

/// The time without traffic after which a connection is closed if it requested no interval, or has not read its reply.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// How long no connection is accepted when file descriptors are scarce.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The control socket and its connections.
#[derive(Debug, Default)]
pub struct Control {
    file: Option<PrivateSocket>,
    listening: Option<RegistrationToken>,
    peers: HashMap<u64, ConnectedPeer>,
    last_id: u64,
}

/// A connection to the control socket, with its registrations in the event loop.
#[derive(Debug)]
struct ConnectedPeer {
    peer: Peer,
    token: RegistrationToken,
    /// The timer that closes an idle connection.
    idle: TimerToken,
    /// The timer that replies to a request that was received less than the shortest interval after the last reply.
    deferred: Option<TimerToken>,
    /// The interval that the peer requested, and its timer.
    interval_timer: Option<(Duration, TimerToken)>,
}

impl Control {
    /// Returns the path of the socket; `None` if there is none.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(PrivateSocket::path)
    }

    /// Returns the number of connections to the control socket.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }
}

/// A number that identifies a client. Unlike a process id, it is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNumber(pub u32);

impl Default for ClientNumber {
    /// Returns the next unused client number.
    fn default() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }
}

/// Returns the path of the control socket, which is in the directory of the Wayland socket. `wayland_socket` is a name in
/// `directory` or an absolute path.
pub fn default_path(directory: &Path, wayland_socket: &str) -> Option<PathBuf> {
    let name = Path::new(wayland_socket).file_name()?.to_str()?;
    Some(directory.join(format!("{NAME_PREFIX}{name}")))
}

impl State {
    /// Opens the control socket.
    ///
    /// # Errors
    ///
    /// When it cannot be bound, or cannot be added to the event loop.
    pub fn open_control(&mut self, path: &Path) -> anyhow::Result<()> {
        let (file, listening) =
            PrivateSocket::bind(path, SocketKind::Stream).context("opening the control socket")?;
        let listening = UnixListener::from(listening);
        let source = Generic::new(listening, Interest::READ, Mode::Level);
        let inserted = self.handle.insert_source(source, |_, listening, state| {
            Ok(state.accept_peer(listening))
        });
        let token = inserted.map_err(|error| {
            anyhow::anyhow!(
                "the control socket cannot be added to the event loop: {}",
                error.error
            )
        })?;
        self.control.listening = Some(token);
        self.control.file = Some(file);
        Ok(())
    }

    /// Accepts one connection.
    fn accept_peer(&mut self, listening: &UnixListener) -> PostAction {
        if descriptors::is_full(listening) {
            return self.pause_control();
        }
        let stream = match listening.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return PostAction::Continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket cannot be accepted");
                return self.pause_control();
            }
        };
        if let Err(error) = self.add_peer(stream) {
            tracing::debug!(%error, "a connection to the control socket is closed");
        }
        PostAction::Continue
    }

    /// Stops accepting connections for a while. Otherwise the event loop would wake up continuously.
    fn pause_control(&self) -> PostAction {
        let Some(token) = self.control.listening else {
            return PostAction::Continue;
        };
        self.handle.add_timer(ACCEPT_PAUSE, move |state| {
            if let Err(error) = state.handle.enable(&token) {
                tracing::warn!(%error, "the control socket cannot accept connections any more");
            }
            TimeoutAction::Drop
        });
        PostAction::Disable
    }

    /// Adds a connection to the control socket.
    ///
    /// # Errors
    ///
    /// When the peer belongs to another user, there are too many peers, or the socket cannot be added to the event loop.
    pub fn add_peer(&mut self, stream: UnixStream) -> anyhow::Result<()> {
        anyhow::ensure!(
            is_peer_own_user(&stream)?,
            "the connected program belongs to another user"
        );
        stream.set_nonblocking(true)?;
        let stream = Rc::new(stream);
        let now = clock::now();
        let mut peer = Peer::new(stream.clone(), now);
        if self.control.peers.len() >= PEERS_MAX {
            let why = format!(
                "{PEERS_MAX} programs are connected to the control socket already; end one of them"
            );
            // The connection is closed even if the error cannot be sent.
            let _ = peer.refuse(&why, now);
            anyhow::bail!(why);
        }
        self.control.last_id = self.control.last_id.wrapping_add(1);
        let id = self.control.last_id;
        // The socket is edge-triggered. Otherwise unread requests of a peer that has not read its reply would wake up the event
        // loop continuously.
        let source = Generic::new(stream, Interest::BOTH, Mode::Edge);
        let token = self
            .handle
            .insert_source(source, move |_, _, state| Ok(state.serve_peer(id)))
            .map_err(|error| anyhow::anyhow!("{}", error.error))?;
        let idle = self
            .handle
            .add_timer(IDLE_MAX, move |state| state.check_idle_peer(id));
        let connected = ConnectedPeer {
            peer,
            token,
            idle,
            deferred: None,
            interval_timer: None,
        };
        self.control.peers.insert(id, connected);
        Ok(())
    }

    /// Sends and receives bytes, and answers the peer's request.
    fn serve_peer(&mut self, id: u64) -> PostAction {
        let Some(connected) = self.control.peers.get_mut(&id) else {
            return PostAction::Remove;
        };
        match connected.peer.exchange(clock::now()) {
            Ok(()) => {}
            Err(ConnectionEnded) => {
                self.remove_peer(id);
                return PostAction::Remove;
            }
        }
        self.answer_peer(id);
        if self.control.peers.contains_key(&id) {
            PostAction::Continue
        } else {
            PostAction::Remove
        }
    }

    /// Answers the request of a peer immediately, or as soon as the shortest interval has passed.
    fn answer_peer(&mut self, id: u64) {
        let now = clock::now();
        let Some(connected) = self.control.peers.get(&id) else {
            return;
        };
        // A request that is answered by the timer of the shortest interval must not be answered earlier because of another
        // request.
        let is_deferred = connected.deferred.is_some();
        if !connected.peer.is_due || connected.peer.has_output() || is_deferred {
            return;
        }
        let shortest = Duration::from_millis(INTERVAL_MIN_MS.into());
        let wait = connected.peer.replied_at.map_or(Duration::ZERO, |at| {
            at.saturating_add(shortest).saturating_sub(now)
        });
        if wait.is_zero() {
            self.send_snapshot(id);
            return;
        }
        let timer = self.handle.add_timer(wait, move |state| {
            let is_due = state.control.peers.get_mut(&id).is_some_and(|connected| {
                connected.deferred = None;
                // The interval timer may have answered the request.
                connected.peer.is_due
            });
            if is_due {
                state.send_snapshot(id);
            }
            TimeoutAction::Drop
        });
        if let Some(connected) = self.control.peers.get_mut(&id) {
            connected.deferred = Some(timer);
        }
    }

    /// Sends a snapshot to a peer, and starts the interval timer if the request asks for repeated snapshots.
    fn send_snapshot(&mut self, id: u64) {
        let Some(connected) = self.control.peers.get_mut(&id) else {
            return;
        };
        let Some(request) = connected.peer.request else {
            return;
        };
        // A peer that has not read the last reply gets no further one. Otherwise it could make the compositor queue replies
        // without limit.
        if connected.peer.has_output() {
            connected.peer.skipped = connected.peer.skipped.saturating_add(1);
            return;
        }
        let snapshot = self.snapshot(request.holdings);
        let Some(connected) = self.control.peers.get_mut(&id) else {
            return;
        };
        if connected.peer.send(snapshot, clock::now()) == Err(ConnectionEnded) {
            self.remove_peer(id);
            return;
        }
        let interval = request
            .interval_ms
            .map(|ms| Duration::from_millis(ms.into()));
        if connected.interval_timer.map(|(interval, _)| interval) != interval {
            if let Some((_, token)) = connected.interval_timer.take() {
                self.handle.remove_timer(token);
            }
            if let Some(interval) = interval {
                self.start_interval_timer(id, interval);
            }
        }
        // The next request may have been received together with the one that was just answered.
        self.answer_peer(id);
    }

    /// Starts the timer that sends repeated snapshots to a peer.
    fn start_interval_timer(&mut self, id: u64, interval: Duration) {
        let token = self.handle.add_timer(interval, move |state| {
            state.send_snapshot(id);
            TimeoutAction::ToDuration(interval)
        });
        if let Some(connected) = self.control.peers.get_mut(&id) {
            connected.interval_timer = Some((interval, token));
        }
    }

    /// Closes a connection that is idle for [`IDLE_MAX`]. A peer that gets repeated snapshots and reads them is not idle.
    fn check_idle_peer(&mut self, id: u64) -> TimeoutAction {
        let Some(connected) = self.control.peers.get(&id) else {
            return TimeoutAction::Drop;
        };
        let peer = &connected.peer;
        let has_interval = connected.interval_timer.is_some();
        let is_stalled = peer.has_output() || !has_interval;
        let idle = clock::now().saturating_sub(peer.active_at);
        if is_stalled && idle >= IDLE_MAX {
            tracing::debug!(
                id,
                "a connection to the control socket is closed because it is idle"
            );
            self.remove_peer(id);
            return TimeoutAction::Drop;
        }
        TimeoutAction::ToDuration(if is_stalled {
            IDLE_MAX.saturating_sub(idle).max(Duration::from_millis(1))
        } else {
            IDLE_MAX
        })
    }

    /// Closes a connection, and removes its timers.
    fn remove_peer(&mut self, id: u64) {
        if let Some(connected) = self.control.peers.remove(&id) {
            // One of these sources may be the one whose callback runs now; calloop then removes it after the callback.
            self.handle.remove(connected.token);
            self.handle.remove_timer(connected.idle);
            let interval_timer = connected.interval_timer.map(|(_, token)| token);
            for timer in connected.deferred.into_iter().chain(interval_timer) {
                self.handle.remove_timer(timer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_path_has_the_name_of_the_wayland_socket() {
        let path = |name| default_path(Path::new("/run/user/7"), name);
        let expected = PathBuf::from("/run/user/7/covalent-wayland-1");
        assert_eq!(path("wayland-1"), Some(expected.clone()));
        assert_eq!(path("/tmp/wayland-1"), Some(expected));
        assert_eq!(path("/"), None);
    }
}
