//! The server's connection to one reader. The reader's messages are not trusted.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::{Done, FDS_MAX, MESSAGE_BYTES_MAX, SHARED_BUFFERS};
use crate::poller::Key;

/// How long a reader may hold a frame. Otherwise a stopped process would hold its buffer for ever, and the other readers would
/// miss frames.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// A connection to one reader.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: Key,
    socket: OwnedFd,
    /// The index of the buffer that the reader holds, and the time at which the reader got it.
    pub(super) held: Option<(usize, Instant)>,
    /// Whether a frame was shown while the reader held its last frame, so that the reader missed the newer one.
    is_late: bool,
}

impl Connection {
    pub(super) fn new(key: Key, socket: OwnedFd) -> Self {
        Self {
            key,
            socket,
            held: None,
            is_late: false,
        }
    }

    /// Returns the index of the buffer that the reader holds.
    pub(super) fn index(&self) -> Option<usize> {
        self.held.map(|(index, _)| index)
    }

    /// Returns whether the reader has held its buffer for longer than [`HOLD_MAX`].
    pub(super) fn is_overdue(&self) -> bool {
        self.held
            .is_some_and(|(_, since)| since.elapsed() > HOLD_MAX)
    }

    /// Sends a frame to the reader. Returns `false` if the reader misses the frame: it holds another frame, too few buffers are
    /// left, or its socket is full. `buffers_left` is the number of buffers that the readers may hold in addition to those that
    /// they hold now.
    pub(super) fn send_frame(
        &mut self,
        index: usize,
        message: &[u8],
        buffers_left: u32,
    ) -> Result<bool, Errno> {
        if self.held.is_some() {
            self.is_late = true;
            return Ok(false);
        }
        let needed = if self.is_late { SHARED_BUFFERS } else { 1 };
        if buffers_left < needed {
            return Ok(false);
        }
        match send(&self.socket, message, &[]) {
            Ok(()) => {
                self.held = Some((index, Instant::now()));
                self.is_late = false;
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Receives one message. Returns the index of the buffer that the reader returns. The error is the reason for which the
    /// server disconnects the reader.
    pub(super) fn receive(&mut self) -> Result<Option<usize>, String> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        // There is no space for file descriptors. If the reader sends any, the kernel closes them and sets MSG_CTRUNC.
        let mut control = RecvAncillaryBuffer::default();
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match rustix::net::recvmsg(&self.socket, into, &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err("the reader's message is too long, or has file descriptors".to_owned());
        }
        let message = match bytes.get(..received.bytes) {
            Some(message) if !message.is_empty() => message,
            _ => {
                return Err(
                    "the reader has closed its socket, or has sent an empty message".to_owned(),
                );
            }
        };
        let Done { done } = serde_json::from_slice(message)
            .map_err(|error| format!("the reader's message cannot be parsed: {error}"))?;
        if self.index() != Some(done) {
            return Err("the reader returned a buffer that it did not hold".to_owned());
        }
        self.held = None;
        Ok(Some(done))
    }
}

/// Sends a message with file descriptors, at most [`FDS_MAX`] of them.
pub(super) fn send(socket: &OwnedFd, message: &[u8], fds: &[OwnedFd]) -> Result<(), Errno> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS);
    }
    let message = &[IoSlice::new(message)];
    rustix::net::sendmsg(socket, message, &mut control, SendFlags::NOSIGNAL).map(drop)
}
