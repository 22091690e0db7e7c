//! The server's side of frame sharing: the socket, the connected readers, and the buffer that each of them holds.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::files::{PrivateSocket, SocketKind, is_peer_own_user};
use covalent_alloc::model::Layout;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use serde::Serialize;

use super::connection::{Connection, send};
use super::{
    DESCRIPTION_BYTES_MAX, Description, FDS_MAX, FrameMessage, Greeting, READERS_MAX,
    SHARED_BUFFERS, ShareError, VERSION,
};
use crate::poller::{Key, Poller, Trigger};

/// How long no connection is accepted after accept(2) has failed. Without the pause, the event loop would wake up continuously.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The report of a [`FrameServer`].
#[derive(Clone, Debug, Serialize)]
pub struct SharingReport {
    /// The path of the socket that readers connect to.
    socket: String,
    /// The number of readers that have connected so far.
    readers: u64,
    /// The number of frames that readers got, as a sum over the readers.
    frames: u64,
    /// The number of frames that connected readers missed, as a sum over the readers.
    lost: u64,
}

/// Shares frames with other processes. Its file descriptor is readable when a process has connected, sent a message or
/// disconnected; the program then calls [`serve`](Self::serve).
#[derive(Debug)]
pub struct FrameServer {
    file: PrivateSocket,
    poller: Poller,
    listening: OwnedFd,
    listening_key: Key,
    /// The time at which connections are accepted again; `None` if accepting is not paused.
    paused_until: Option<Instant>,
    /// The first message to each reader; `fds` are its file descriptors.
    description: Vec<u8>,
    fds: Vec<OwnedFd>,
    pub(super) connections: Vec<Connection>,
    readers: u64,
    frames: u64,
    lost: u64,
}

impl AsFd for FrameServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl FrameServer {
    /// Listens on a socket for readers of the frames in these buffers.
    ///
    /// # Errors
    ///
    /// [`ShareError`].
    pub fn new(path: &Path, buffers: &[Buffer], colours: Colours) -> Result<Self, ShareError> {
        let layouts = buffers.iter().map(|buffer| buffer.layout().clone());
        let fds = buffers.iter().flat_map(|buffer| {
            (0..buffer.dmabuf_count()).filter_map(|memory| buffer.dmabuf_fd(memory))
        });
        let fds = fds.map(|fd| fd.try_clone_to_owned());
        let fds: Vec<OwnedFd> = fds
            .collect::<Result<_, _>>()
            .map_err(failed("duplicating a file descriptor"))?;
        Self::listen(path, layouts.collect(), fds, colours)
    }

    /// Listens on a socket, and prepares the description of the buffers, which each reader gets first.
    pub(super) fn listen(
        path: &Path,
        layouts: Vec<Layout>,
        fds: Vec<OwnedFd>,
        colours: Colours,
    ) -> Result<Self, ShareError> {
        if fds.len() > FDS_MAX {
            return Err(ShareError::Dmabufs(fds.len()));
        }
        let description = serde_json::to_vec(&Description {
            version: VERSION,
            layouts,
            colours: colours.into(),
        })?;
        if description.len() > DESCRIPTION_BYTES_MAX {
            return Err(ShareError::Layouts(description.len()));
        }
        let mut poller = Poller::new().map_err(failed("epoll_create"))?;
        let (file, listening) = PrivateSocket::bind(path, SocketKind::Packets)?;
        let listening_key = poller
            .add(&listening, Trigger::Readable)
            .map_err(failed("epoll_ctl"))?;
        Ok(Self {
            file,
            poller,
            listening,
            listening_key,
            paused_until: None,
            description,
            fds,
            connections: Vec::new(),
            readers: 0,
            frames: 0,
            lost: 0,
        })
    }

    /// Sends the frame in the buffer at `index` to the readers. Returns how many readers hold the buffer now;
    /// [`serve`](Self::serve) returns the buffer once for each of them.
    ///
    /// A reader that still holds another frame misses this one. All readers together hold at most [`SHARED_BUFFERS`] buffers, so
    /// that the other buffers stay available to the stream. A reader that missed a frame while it held its last one gets a frame
    /// only while no reader holds a buffer. Several slow readers then hold the same buffer, and the other buffers stay available
    /// to the fast readers.
    pub fn show(&mut self, index: usize, sequence: u32, timestamp: Option<Duration>) -> usize {
        let timestamp_ns =
            timestamp.map(|timestamp| u64::try_from(timestamp.as_nanos()).unwrap_or(u64::MAX));
        let message = FrameMessage {
            index,
            sequence,
            timestamp_ns,
        };
        // Serialising numbers cannot fail.
        let message = serde_json::to_vec(&message).unwrap_or_default();
        let held_buffers = self.connections.iter().filter_map(Connection::index);
        let held_buffers =
            u32::try_from(held_buffers.collect::<BTreeSet<usize>>().len()).unwrap_or(u32::MAX);
        let mut given = 0_usize;
        self.connections.retain_mut(|connection| {
            match connection.send_frame(
                index,
                &message,
                SHARED_BUFFERS.saturating_sub(held_buffers),
            ) {
                Ok(true) => given = given.saturating_add(1),
                Ok(false) => self.lost = self.lost.saturating_add(1),
                // The disconnected reader holds no frame, so there is no buffer to return.
                Err(error) => {
                    tracing::debug!("a reader of the frames is disconnected: {error}");
                    return false;
                }
            }
            true
        });
        let frames = u64::try_from(given).unwrap_or(u64::MAX);
        self.frames = self.frames.saturating_add(frames);
        given
    }

    /// Returns whether [`serve`](Self::serve) has to be called because a timeout has passed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.paused_until.is_some_and(|end| Instant::now() >= end)
            || self.connections.iter().any(Connection::is_overdue)
    }

    /// Accepts readers, and receives one message of each reader that has sent one. Returns the buffers that readers have
    /// returned, once for each reader.
    ///
    /// # Errors
    ///
    /// [`ShareError::System`]. A faulty reader is no error; it is disconnected.
    pub fn serve(&mut self) -> Result<Vec<usize>, ShareError> {
        let mut returned = Vec::new();
        self.resume()?;
        // One message of each reader is received per call, so that no reader can keep this loop busy. The poller reports unread
        // messages again.
        let ready = self.poller.wait(Some(Duration::ZERO));
        for key in ready.map_err(failed("epoll_wait"))? {
            if key == self.listening_key {
                self.accept()?;
            }
            let reader = self.connections.iter().position(|own| own.key == key);
            let Some((position, connection)) =
                reader.and_then(|place| Some((place, self.connections.get_mut(place)?)))
            else {
                continue;
            };
            match connection.receive() {
                Ok(index) => returned.extend(index),
                Err(why) => {
                    tracing::info!("a reader of the frames is disconnected: {why}");
                    // Closing the socket removes it from the epoll instance.
                    returned.extend(self.connections.remove(position).index());
                }
            }
        }
        // Overdue frames are checked after the messages were received, so that a frame that was returned in time does not count
        // as overdue.
        self.connections.retain(|connection| {
            let is_overdue = connection.is_overdue();
            if is_overdue {
                tracing::info!(
                    "a reader of the frames is disconnected: the reader held a frame for too long"
                );
                returned.extend(connection.index());
            }
            !is_overdue
        });
        Ok(returned)
    }

    /// Accepts connections again if the pause is over.
    fn resume(&mut self) -> Result<(), ShareError> {
        if self.paused_until.is_some_and(|end| Instant::now() >= end) {
            self.paused_until = None;
            self.listening_key = self
                .poller
                .add(&self.listening, Trigger::Readable)
                .map_err(failed("epoll_ctl"))?;
        }
        Ok(())
    }

    /// Accepts one connection.
    fn accept(&mut self) -> Result<(), ShareError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.listening, flags) {
            Ok(socket) => {
                if let Err(error) = self.add(socket) {
                    tracing::info!("a reader of the frames is rejected: {error}");
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => {
                tracing::warn!("no reader of the frames can be accepted: {error}");
                self.poller
                    .remove(&self.listening)
                    .map_err(failed("epoll_ctl"))?;
                self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
            }
        }
        Ok(())
    }

    /// Sends the description of the buffers to a process, which becomes a reader.
    fn add(&mut self, socket: OwnedFd) -> Result<(), ShareError> {
        let is_own = is_peer_own_user(&socket).map_err(failed("getsockopt"))?;
        let refusal = if !is_own {
            Some(
                "the reader belongs to another user than the program that shares the frames"
                    .to_owned(),
            )
        } else if self.connections.len() >= READERS_MAX {
            Some(format!(
                "{READERS_MAX} readers are connected already; end one of them"
            ))
        } else {
            None
        };
        if let Some(error) = refusal {
            let error = Some(error);
            let version = VERSION;
            send(
                &socket,
                &serde_json::to_vec(&Greeting { version, error })?,
                &[],
            )
            .map_err(failed("sendmsg"))?;
            return Ok(());
        }
        send(&socket, &self.description, &self.fds).map_err(failed("sendmsg"))?;
        let key = self
            .poller
            .add(&socket, Trigger::Readable)
            .map_err(failed("epoll_ctl"))?;
        self.connections.push(Connection::new(key, socket));
        self.readers = self.readers.saturating_add(1);
        Ok(())
    }

    /// Returns the report on the readers and frames so far.
    #[must_use]
    pub fn shared(&self) -> SharingReport {
        SharingReport {
            socket: self.file.path().display().to_string(),
            readers: self.readers,
            frames: self.frames,
            lost: self.lost,
        }
    }
}

/// Returns a function that makes the error of a failed system call.
fn failed<E: Into<std::io::Error>>(call: &'static str) -> impl Fn(E) -> ShareError {
    move |error| ShareError::System {
        call,
        source: error.into(),
    }
}
