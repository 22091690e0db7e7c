//! Receives and sends bytes together with file descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The maximum number of file descriptors in one call, as in wayland-backend and libwayland.
pub(super) const FDS_MAX: usize = 28;

/// The result of one `recvmsg`.
#[derive(Debug)]
pub(super) struct Received {
    /// The number of bytes; 0 at the end of the stream.
    pub(super) bytes: usize,
    /// Whether the kernel dropped file descriptors (`MSG_CTRUNC`).
    pub(super) truncated: bool,
}

/// Receives bytes into `into` and appends the file descriptors that arrive with them to `fds`.
pub(super) fn receive(
    socket: impl AsFd,
    into: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> rustix::io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = retry_on_intr(|| {
        let mut bytes = [IoSliceMut::new(into)];
        recvmsg(&socket, &mut bytes, &mut control, flags)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Received {
        bytes: received.bytes,
        truncated: received.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Bytes and file descriptors that are not sent yet.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl SendBuffer {
    /// Creates a buffer of bytes to send together with at most [`FDS_MAX`] file descriptors.
    pub(super) fn new(bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Self {
        Self { bytes, fds }
    }

    /// Returns whether everything was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends as much as the socket accepts.
    ///
    /// # Errors
    ///
    /// When the peer has closed the connection.
    pub(super) fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        while !self.bytes.is_empty() {
            let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = retry_on_intr(|| {
                sendmsg(&socket, &[IoSlice::new(&self.bytes)], &mut control, flags)
            });
            match sent {
                Ok(count) => {
                    // The kernel has sent all descriptors with the first byte.
                    self.fds.clear();
                    self.bytes.drain(..count);
                }
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
