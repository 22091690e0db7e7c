//! The messages between a program and its helper process: JSON with a length prefix of four bytes, with file descriptors as
//! SCM_RIGHTS.
//!
//! A reply is not trusted, because drivers run in the helper process and can overwrite its memory. A reply has at most
//! [`MAX_REPLY_BYTES`] bytes. Memory is allocated only for the bytes that arrive, and not for the length that the prefix claims.
//! Parsing takes time linear in the reply's length, and memory of at most 256 times the length, because an unknown field is kept
//! at each level of a participant. The depth of the JSON is at most 128. The receiver makes texts printable and cuts them to a
//! maximum length ([`Message::with_printable_text`]).

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::declare::Drivers;
use super::measure::MeasuredCycle;
use crate::backend::Declared;
use crate::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use crate::constraint::{CopyDevice, Participant, Source};
use crate::model::{Extent, FormatModifier, Fourcc, Rect};
use crate::solve::Request;
use crate::text::printable_within;
use covalent_machine::trial_results::Outcome;

/// The version of the messages, which must be equal in the program and the helper process.
pub(super) const VERSION: u32 = 5;

/// The maximum length of a request in bytes. Real requests are far shorter, so a longer one does not come from this crate.
const MAX_REQUEST_BYTES: u32 = 16 << 20;

/// The maximum length of a reply in bytes. Real replies are far shorter: a participant with 5,000 pairs of format and modifier
/// takes 300 KiB.
const MAX_REPLY_BYTES: u32 = 4 << 20;

/// The maximum number of characters of a text from a driver, which is shown to the user.
const MAX_TEXT_CHARACTERS: usize = 2000;

/// The number of bytes that are allocated first for a message, independent of the length that its prefix claims.
const CHUNK_BYTES: usize = 64 << 10;

/// The maximum number of file descriptors of a message: one for each plane of a picture.
const MAX_FDS: usize = 4;

/// A request of the program to the helper process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HelperRequest {
    /// Begins the connection.
    Hello {
        /// The sender's [`VERSION`].
        version: u32,
        /// The formats about which the process must not query a driver, because a driver crashed an earlier helper process during
        /// such a query.
        #[serde(default)]
        left_out: BTreeSet<Fourcc>,
    },
    /// Allocates a buffer according to the only plan of this request. The process keeps the buffer for later requests.
    Allocate {
        /// A request that has only one plan.
        request: Box<Request>,
    },
    /// Tries the buffer of the last [`HelperRequest::Allocate`] on a participant.
    Attempt {
        /// The participant on which the buffer is tried.
        participant: Box<Participant>,
    },
    /// Measures allocations: allocates according to the only plan of this request and frees the buffer, `count` times. The buffer
    /// of the last [`HelperRequest::Allocate`] is freed first.
    MeasureAllocation {
        /// A request that has only one plan.
        request: Box<Request>,
        /// How often the buffer is allocated and freed.
        #[serde(rename = "turns")]
        count: u32,
    },
    /// Measures imports: imports the buffer of the last [`HelperRequest::Allocate`] into a participant and ends the import,
    /// `count` times.
    MeasureImport {
        /// The participant into which the buffer is imported.
        participant: Box<Participant>,
        /// How often the buffer is imported.
        #[serde(rename = "turns")]
        count: u32,
    },
    /// Frees the buffer of the last [`HelperRequest::Allocate`].
    Release,
    /// Declares a participant for another size. The buffer of the last [`HelperRequest::Allocate`] is freed first, because it may
    /// be memory of that participant's V4L2 queue.
    Redeclare {
        /// The participant as declared for an earlier size.
        participant: Box<Participant>,
        /// The size of the pictures in pixels.
        extent: Extent,
    },
    /// Declares a source for another size. The buffer of the last [`HelperRequest::Allocate`] is freed first.
    RedeclareSource {
        /// The source as declared for an earlier size.
        source: Box<Source>,
        /// The size of the pictures in pixels.
        extent: Extent,
    },
    /// Loads these drivers and declares their sources and participants for pictures of this size. The buffer of the last
    /// [`HelperRequest::Allocate`] is freed first.
    Declare {
        /// The drivers to load.
        drivers: Drivers,
        /// The size of the pictures in pixels.
        extent: Extent,
    },
    /// Loads all drivers and declares the devices that can copy images of this size. The buffer of the last
    /// [`HelperRequest::Allocate`] is freed first.
    Copiers {
        /// The size of the images in pixels.
        extent: Extent,
    },
}

/// A reply of the helper process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HelperReply {
    /// The reply to [`HelperRequest::Hello`].
    Hello {
        /// The sender's [`VERSION`].
        version: u32,
    },
    /// Announces that a driver is queried about this format now. Any number of these messages can precede the reply to a request.
    Asks {
        /// The format about which the driver is queried.
        fourcc: Fourcc,
    },
    /// The reply to [`HelperRequest::Allocate`]. The message has one file descriptor for each dma-buf.
    Allocated {
        /// The outcome of the allocation.
        outcome: Outcome,
        /// The description of the allocated buffer; `None` if there is none.
        buffer: Option<BufferDescription>,
    },
    /// The reply to [`HelperRequest::Attempt`]. The outcome is `None` if no backend of the helper process can try the
    /// participant.
    Attempted {
        /// The outcome of the trial.
        outcome: Option<Outcome>,
    },
    /// The reply to [`HelperRequest::MeasureAllocation`] and [`HelperRequest::MeasureImport`].
    Measured {
        /// The durations of each repetition; empty if the driver refused.
        #[serde(rename = "turns")]
        cycles: Vec<MeasuredCycle>,
        /// The outcome of the measured operation.
        outcome: Outcome,
    },
    /// The reply to [`HelperRequest::Release`].
    Released,
    /// The reply to [`HelperRequest::Redeclare`].
    Redeclared {
        /// The participant as declared for the requested size; `None` if no backend can declare it.
        participant: Option<Box<Participant>>,
    },
    /// The reply to [`HelperRequest::RedeclareSource`].
    RedeclaredSource {
        /// The source as declared for the requested size; `None` if no backend can declare it.
        source: Option<Box<Source>>,
    },
    /// The reply to [`HelperRequest::Declare`].
    Declared {
        /// The sources and participants that the drivers declare.
        declared: Declared,
    },
    /// The reply to [`HelperRequest::Copiers`].
    Copiers {
        /// The declarations of the devices that can copy.
        copiers: Vec<CopyDevice>,
    },
}

/// A message with a maximum length.
pub(super) trait Message: DeserializeOwned {
    /// The maximum length of the message in bytes.
    const MAX_BYTES: u32;

    /// Returns the message with printable texts of at most [`MAX_TEXT_CHARACTERS`] characters. Only texts from drivers are
    /// changed.
    #[must_use]
    fn with_printable_text(self) -> Self {
        self
    }
}

impl Message for HelperRequest {
    const MAX_BYTES: u32 = MAX_REQUEST_BYTES;
}

impl Message for HelperReply {
    const MAX_BYTES: u32 = MAX_REPLY_BYTES;

    fn with_printable_text(mut self) -> Self {
        let make_printable =
            |text: &mut String| *text = printable_within(text, MAX_TEXT_CHARACTERS);
        let outcome = match &mut self {
            Self::Allocated { outcome, .. } | Self::Measured { outcome, .. } => Some(outcome),
            Self::Attempted { outcome } => outcome.as_mut(),
            Self::Declared { declared } => {
                for unavailable in &mut declared.unavailable {
                    make_printable(&mut unavailable.name);
                    make_printable(&mut unavailable.why);
                }
                None
            }
            _ => None,
        };
        match outcome {
            Some(Outcome::Refused(refusal)) => {
                make_printable(&mut refusal.device);
                make_printable(&mut refusal.operation);
                make_printable(&mut refusal.words);
            }
            Some(Outcome::Untestable(why)) => make_printable(why),
            _ => {}
        }
        self
    }
}

/// The description of a buffer in a message. The file descriptors are attached to the message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BufferDescription {
    extent: Extent,
    format: FormatModifier,
    planes: Vec<PlaneDescription>,
    /// The visible rectangle; `None` if the whole frame is visible.
    #[serde(default)]
    visible: Option<Rect>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlaneDescription {
    memory: usize,
    offset_bytes: u64,
    stride_bytes: u32,
}

impl BufferDescription {
    /// Describes a buffer.
    pub(super) fn of(buffer: &Buffer) -> Option<Self> {
        let layout = buffer.layout();
        let planes = layout
            .planes()
            .iter()
            .map(|plane| {
                Some(PlaneDescription {
                    memory: plane.memory,
                    offset_bytes: plane.offset_bytes,
                    stride_bytes: plane.stride_bytes,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            extent: layout.extent(),
            format: layout.format(),
            planes,
            visible: Some(layout.visible()),
        })
    }

    /// Imports the buffer, with the same checks as a description from any other process.
    pub(super) fn into_buffer(self, fds: &[OwnedFd]) -> Result<Buffer, WireError> {
        // The number of planes is limited, because a file descriptor is duplicated for each plane.
        if self.planes.len() > MAX_FDS {
            return Err(WireError::Planes(self.planes.len()));
        }
        let planes = self
            .planes
            .into_iter()
            .map(|plane| {
                let fd = fds.get(plane.memory).ok_or(WireError::Fds)?;
                Ok(PlaneDescriptor {
                    fd: fd.try_clone()?,
                    offset_bytes: plane.offset_bytes,
                    stride_bytes: plane.stride_bytes,
                })
            })
            .collect::<Result<Vec<_>, WireError>>()?;
        let buffer = Buffer::import(Descriptor {
            extent: self.extent,
            format: self.format,
            planes,
        })?;
        match self.visible {
            Some(visible) => Ok(buffer.with_visible(visible)?),
            None => Ok(buffer),
        }
    }
}

/// Why a message was not sent or not received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum WireError {
    /// The peer has closed the socket.
    #[error("the peer has closed the socket")]
    Closed,
    /// The deadline passed.
    #[error("the helper process did not reply in time")]
    Timeout,
    /// A system call on the socket failed.
    #[error("a system call on the socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The bytes are not JSON of the expected kind of message.
    #[error("the received bytes are not a message: {0}")]
    Json(#[from] serde_json::Error),
    /// The length prefix exceeds the limit.
    #[error("the length {0} of a message exceeds the limit")]
    Length(u32),
    /// The message has fewer file descriptors than its description refers to, or too many.
    #[error("a message has the wrong number of file descriptors")]
    Fds,
    /// The description has more planes than any format has.
    #[error("the description of a buffer has {0} planes, and no format has more than {MAX_FDS}")]
    Planes(usize),
    /// The buffer does not match its description.
    #[error("the buffer does not match its description: {0}")]
    Buffer(#[from] DescriptorError),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::Socket(errno.into()),
        }
    }
}

/// Sends a message. The file descriptors are attached to its first byte.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if length > MAX_REQUEST_BYTES {
        return Err(WireError::Length(length));
    }
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&text);
    let mut rest: &[u8] = &bytes;
    let mut unsent_fds = fds;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !unsent_fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(unsent_fds)) {
            return Err(WireError::Fds);
        }
        let sent = match sendmsg(
            socket.as_fd(),
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => sent,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        unsent_fds = &[];
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Receives a message. Waits until `deadline`, or without a limit if it is `None`.
pub(super) fn receive<M: Message>(
    socket: impl AsFd,
    deadline: Option<Instant>,
) -> Result<(M, Vec<OwnedFd>), WireError> {
    let socket = socket.as_fd();
    let mut fds = Vec::new();
    let mut length = [0; 4];
    fill(socket, &mut length, &mut fds, deadline)?;
    let length = u32::from_le_bytes(length);
    if length > M::MAX_BYTES {
        return Err(WireError::Length(length));
    }
    let length = usize::try_from(length).map_err(|_| WireError::Length(length))?;
    let mut text = Vec::new();
    while text.len() < length {
        let received = text.len();
        // After the first chunk, the memory at most doubles, so it is bounded by the number of bytes that have arrived.
        let chunk_bytes = length
            .saturating_sub(received)
            .min(received.max(CHUNK_BYTES));
        text.resize(received.saturating_add(chunk_bytes), 0);
        let chunk = text.get_mut(received..).unwrap_or_default();
        fill(socket, chunk, &mut fds, deadline)?;
    }
    Ok((
        serde_json::from_slice::<M>(&text)?.with_printable_text(),
        fds,
    ))
}

fn fill(
    socket: BorrowedFd<'_>,
    mut rest: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    deadline: Option<Instant>,
) -> Result<(), WireError> {
    while !rest.is_empty() {
        wait(socket, deadline)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = match recvmsg(
            socket,
            &mut [IoSliceMut::new(rest)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        ) {
            Ok(received) => received,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        // MSG_CTRUNC means that this process can open no more file descriptors.
        if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
            return Err(WireError::Fds);
        }
        if received.bytes == 0 {
            return Err(WireError::Closed);
        }
        rest = rest.get_mut(received.bytes..).unwrap_or_default();
    }
    Ok(())
}

fn wait(socket: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<(), WireError> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(WireError::Timeout);
        }
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
