//! Bytes and descriptors from one socket to another.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that go with one call; wayland-backend and libwayland send and take no more.
pub(super) const FILES_MAX: usize = 28;

/// What one call received.
#[derive(Debug)]
pub(super) struct Received {
    /// Bytes; 0 at the end.
    pub(super) bytes: usize,
    /// Whether descriptors were lost on the way.
    pub(super) truncated: bool,
}

/// Receives bytes into `into` and adds the descriptors that come with them to `files`.
pub(super) fn receive(
    socket: impl AsFd,
    into: &mut [u8],
    files: &mut VecDeque<OwnedFd>,
) -> rustix::io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = retry_on_intr(|| {
        let mut bytes = [IoSliceMut::new(into)];
        recvmsg(&socket, &mut bytes, &mut control, flags)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    Ok(Received {
        bytes: received.bytes,
        truncated: received.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// What is to be sent, and was not yet.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
}

impl Parcel {
    /// Packs bytes with at most [`FILES_MAX`] descriptors.
    pub(super) fn new(bytes: Vec<u8>, files: Vec<OwnedFd>) -> Self {
        Self { bytes, files }
    }

    /// Tells whether everything was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends as much as the socket takes.
    ///
    /// # Errors
    ///
    /// When nobody will read it any more.
    pub(super) fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        while !self.bytes.is_empty() {
            let files: Vec<BorrowedFd<'_>> = self.files.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = retry_on_intr(|| {
                sendmsg(&socket, &[IoSlice::new(&self.bytes)], &mut control, flags)
            });
            match sent {
                Ok(count) => {
                    // They went with the first byte.
                    self.files.clear();
                    self.bytes.drain(..count);
                }
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
