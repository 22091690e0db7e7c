//! The reader's side of frame sharing. Each message is checked before its data is used.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::{Buffer, Descriptor};
use covalent_alloc::model::Layout;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::{
    DESCRIPTION_BYTES_MAX, Description, Done, FDS_MAX, FrameMessage, FrameReadError, Greeting,
    MESSAGE_BYTES_MAX, VERSION,
};

/// How long the other process may take to describe its buffers.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Reads the frames that a [`FrameServer`](super::FrameServer) of another process shares. Its file descriptor is readable when a
/// frame has arrived and when the other process has closed the connection.
#[derive(Debug)]
pub struct FrameReader {
    socket: OwnedFd,
    buffers: Vec<Buffer>,
    colours: Colours,
}

impl AsFd for FrameReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl FrameReader {
    /// Connects to the socket of a server, and imports the server's buffers. It waits for five seconds at most.
    ///
    /// # Errors
    ///
    /// [`FrameReadError`]; [`FrameReadError::Ended`] only if the server closes the connection before it has described its
    /// buffers.
    pub fn connect(path: &Path) -> Result<Self, FrameReadError> {
        let connecting = |error: Errno| FrameReadError::Connect {
            path: path.to_owned(),
            source: error.into(),
        };
        let address = SocketAddrUnix::new(path).map_err(connecting)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
            .map_err(failed("socket"))?;
        rustix::net::connect(&socket, &address).map_err(connecting)?;
        if !is_readable_within(&socket, ANSWER_DEADLINE)? {
            return Err(FrameReadError::Timeout {
                path: path.to_owned(),
                seconds: ANSWER_DEADLINE.as_secs(),
            });
        }
        let (bytes, fds) = receive_description(&socket)?;
        let Description {
            layouts, colours, ..
        } = parse_description(&bytes)?;
        Ok(Self {
            socket,
            buffers: import(&layouts, fds)?,
            colours: colours.into(),
        })
    }

    /// Returns the buffers. Map each buffer once and keep the mapping, because mapping it again for each frame takes longer than
    /// reading the frame.
    #[must_use]
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the colour encoding of the pixels.
    #[must_use]
    pub fn colours(&self) -> Colours {
        self.colours
    }

    /// Returns the next frame; `None` if none has arrived yet.
    ///
    /// While this process holds a frame, it misses newer frames. The server disconnects a reader that holds a frame for ten
    /// seconds.
    ///
    /// # Errors
    ///
    /// [`FrameReadError::Ended`] if the other process has ended, [`FrameReadError::Invalid`], [`FrameReadError::System`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameReadError> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        // Only the first message has file descriptors. If a later message has any, the kernel closes them and sets MSG_CTRUNC.
        let mut control = RecvAncillaryBuffer::default();
        let Some(count) = receive(&self.socket, &mut bytes, &mut control)? else {
            return Ok(None);
        };
        let message = parse_frame(bytes.get(..count).unwrap_or_default())?;
        let Some(buffer) = self.buffers.get(message.index) else {
            return Err(FrameReadError::Invalid(format!(
                "a frame is in buffer {}, and there are {} buffers",
                message.index,
                self.buffers.len()
            )));
        };
        Ok(Some(Frame {
            socket: self.socket.as_fd(),
            buffer,
            message,
        }))
    }
}

/// A frame. Dropping it returns its buffer to the server, which soon captures another frame into the buffer. All reads must have
/// finished before.
#[derive(Debug)]
pub struct Frame<'a> {
    socket: BorrowedFd<'a>,
    buffer: &'a Buffer,
    message: FrameMessage,
}

impl Frame<'_> {
    /// Returns the buffer that contains the frame.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        self.buffer
    }

    /// Returns the index of the buffer in [`FrameReader::buffers`].
    #[must_use]
    pub fn index(&self) -> usize {
        self.message.index
    }

    /// Returns the camera's sequence number of the frame. A gap in the numbers means that the camera dropped frames or that this
    /// reader missed frames.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.message.sequence
    }

    /// Returns the time of the capture by CLOCK_MONOTONIC; `None` if the camera has another clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<Duration> {
        self.message.timestamp_ns.map(Duration::from_nanos)
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        let done = Done {
            done: self.message.index,
        };
        // Serialising a number cannot fail.
        let message = serde_json::to_vec(&done).unwrap_or_default();
        // If the server has closed the connection, the next call of `next_frame` reports it. Otherwise the send buffer is empty,
        // because a reader has only one unread message.
        let _ = rustix::net::send(self.socket, &message, SendFlags::NOSIGNAL);
    }
}

/// Waits until a socket has a message or was closed.
fn is_readable_within(socket: &OwnedFd, deadline: Duration) -> Result<bool, FrameReadError> {
    let started_at = Instant::now();
    loop {
        // A signal ends poll(2) early, so only the remaining time is waited for.
        let left = deadline.saturating_sub(started_at.elapsed());
        let timeout = Timespec::try_from(left).map_err(|_| failed("poll")(Errno::INVAL))?;
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed("poll")(error)),
        }
    }
}

/// Receives a message of a non-blocking socket. Returns the length of the message; `None` if no message has arrived.
fn receive(
    socket: &OwnedFd,
    bytes: &mut [u8],
    control: &mut RecvAncillaryBuffer<'_>,
) -> Result<Option<usize>, FrameReadError> {
    let into = &mut [IoSliceMut::new(bytes)];
    match rustix::net::recvmsg(socket, into, control, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) if received.flags.contains(ReturnFlags::TRUNC) => Err(invalid(
            "the message has more bytes than the protocol permits",
        )),
        Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) => Err(invalid(
            "the message has more file descriptors than the protocol permits, or than this process may open (ulimit -n)",
        )),
        Ok(received) if received.bytes == 0 => Err(FrameReadError::Ended),
        Ok(received) => Ok(Some(received.bytes)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::CONNRESET) => Err(FrameReadError::Ended),
        Err(error) => Err(failed("recvmsg")(error)),
    }
}

/// Receives the first message. The caller has found the socket readable.
fn receive_description(socket: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), FrameReadError> {
    let mut bytes = vec![0; DESCRIPTION_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let count = receive(socket, &mut bytes, &mut control)?.unwrap_or(0);
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let fds = fds.collect();
    bytes.truncate(count);
    Ok((bytes, fds))
}

/// Parses the first message.
pub(super) fn parse_description(bytes: &[u8]) -> Result<Description, FrameReadError> {
    let greeting: Greeting = serde_json::from_slice(bytes).map_err(invalid)?;
    if greeting.version != VERSION {
        return Err(FrameReadError::Version(greeting.version));
    }
    if let Some(error) = greeting.error {
        return Err(FrameReadError::Refused(error));
    }
    // The layouts are checked when they are deserialised.
    serde_json::from_slice(bytes).map_err(invalid)
}

/// Parses a frame message. The caller has to check the index of the buffer.
pub(super) fn parse_frame(bytes: &[u8]) -> Result<FrameMessage, FrameReadError> {
    serde_json::from_slice(bytes).map_err(invalid)
}

/// Checks the layouts against the sizes of their dma-bufs, and imports them as buffers.
pub(super) fn import(layouts: &[Layout], fds: Vec<OwnedFd>) -> Result<Vec<Buffer>, FrameReadError> {
    let (count, mut fds) = (fds.len(), fds.into_iter());
    let expected = layouts.iter().map(|layout| layout.memory_sizes().len());
    let expected = expected.fold(0_usize, usize::saturating_add);
    if expected != count {
        return Err(invalid(format!(
            "the layouts have {expected} dma-bufs, and the message has {count} file descriptors"
        )));
    }
    let import = |(index, layout): (usize, &Layout)| {
        let buffer_fds = fds.by_ref().take(layout.memory_sizes().len()).collect();
        Descriptor::new(layout, buffer_fds)
            .and_then(Buffer::import)
            .and_then(|buffer| buffer.with_visible(layout.visible()))
            .map_err(|source| FrameReadError::Buffer { index, source })
    };
    layouts.iter().enumerate().map(import).collect()
}

/// Makes the error for a message that is not valid.
fn invalid(why: impl ToString) -> FrameReadError {
    FrameReadError::Invalid(why.to_string())
}

/// Returns a function that makes the error of a failed system call.
fn failed(call: &'static str) -> impl Fn(Errno) -> FrameReadError {
    move |error| FrameReadError::System {
        call,
        source: error.into(),
    }
}
