//! What is said between a program and its helper: typed JSON messages with their length before them, fds beside them.

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

use super::declare::{Declared, Drivers};
use super::measure::Turn;
use super::outcome::Outcome;
use crate::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use crate::constraint::{Participant, Source};
use crate::model::{Extent, FormatModifier};
use crate::solve::Request;

/// The version of these messages; both sides must have the same.
pub(super) const VERSION: u32 = 3;

/// No request of ours is near this long: whoever says so is not our peer.
const LONGEST: u32 = 16 << 20;

/// As many as a picture has planes.
const MOST_FDS: usize = 4;

/// What the program asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Who is there?
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// Allocate by the only plan of this request, and keep the buffer.
    Allocate {
        /// The request.
        request: Box<Request>,
    },
    /// Try the buffer on a participant.
    Attempt {
        /// The participant.
        participant: Box<Participant>,
    },
    /// Allocate by the only plan of this request and free it so many times; the buffer is let go before.
    MeasureAllocation {
        /// The request.
        request: Box<Request>,
        /// How many times.
        turns: u32,
    },
    /// Import the buffer into a participant and let go of it so many times.
    MeasureImport {
        /// The participant.
        participant: Box<Participant>,
        /// How many times.
        turns: u32,
    },
    /// Let go of the buffer.
    Release,
    /// Declare a participant for another size; the buffer is let go, since its queue may be the one to be asked.
    Redeclare {
        /// The participant as it was declared.
        participant: Box<Participant>,
        /// The size.
        extent: Extent,
    },
    /// Declare a source for another size; the buffer is let go.
    RedeclareSource {
        /// The source as it was declared.
        source: Box<Source>,
        /// The size.
        extent: Extent,
    },
    /// Load these drivers, and declare what they give and take in pictures of this size; the buffer is let go.
    Declare {
        /// The drivers.
        drivers: Drivers,
        /// The size.
        extent: Extent,
    },
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To [`Question::Hello`].
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// To [`Question::Allocate`]; the buffer's fds come beside it, one a memory.
    Allocated {
        /// How it ended.
        outcome: Outcome,
        /// The buffer.
        buffer: Option<Described>,
    },
    /// To [`Question::Attempt`]; none where no trial is for this participant.
    Attempted {
        /// How it ended.
        outcome: Option<Outcome>,
    },
    /// To [`Question::MeasureAllocation`] and [`Question::MeasureImport`].
    Measured {
        /// How long each took, where none was refused.
        turns: Vec<Turn>,
        /// How it ended.
        outcome: Outcome,
    },
    /// To [`Question::Release`].
    Released,
    /// To [`Question::Redeclare`].
    Redeclared {
        /// The participant.
        participant: Option<Box<Participant>>,
    },
    /// To [`Question::RedeclareSource`].
    RedeclaredSource {
        /// The source.
        source: Option<Box<Source>>,
    },
    /// To [`Question::Declare`].
    Declared {
        /// What they say.
        declared: Declared,
    },
}

/// A buffer without its fds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Described {
    extent: Extent,
    format: FormatModifier,
    planes: Vec<DescribedPlane>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DescribedPlane {
    memory: usize,
    offset_bytes: u32,
    stride_bytes: u32,
}

impl Described {
    /// Describes a buffer; `None` for offsets that no descriptor can say.
    pub(super) fn of(buffer: &Buffer) -> Option<Self> {
        let layout = buffer.layout();
        let planes = layout
            .planes()
            .iter()
            .map(|plane| {
                Some(DescribedPlane {
                    memory: plane.memory,
                    offset_bytes: u32::try_from(plane.offset_bytes).ok()?,
                    stride_bytes: plane.stride_bytes,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            extent: layout.extent(),
            format: layout.format(),
            planes,
        })
    }

    /// Makes a buffer of it after checking every claim, as for any other process.
    pub(super) fn into_buffer(self, fds: &[OwnedFd]) -> Result<Buffer, WireError> {
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
        Ok(Buffer::import(Descriptor {
            extent: self.extent,
            format: self.format,
            planes,
        })?)
    }
}

/// Why a message did not come or go.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum WireError {
    /// The other side is gone.
    #[error("the other side has closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("no answer in time")]
    Late,
    /// The kernel refused.
    #[error("the socket: {0}")]
    Socket(#[from] io::Error),
    /// The bytes are no message.
    #[error("not a message: {0}")]
    Json(#[from] serde_json::Error),
    /// A length that no message has.
    #[error("a message of {0} bytes")]
    Length(u32),
    /// Fewer fds than were described, or some were lost on the way.
    #[error("file descriptors are missing beside a message")]
    Fds,
    /// A buffer that is not as it was described.
    #[error("a buffer that is not as described: {0}")]
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

/// Sends a message, with fds beside its first byte.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if length > LONGEST {
        return Err(WireError::Length(length));
    }
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&text);
    let mut rest: &[u8] = &bytes;
    let mut beside = fds;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !beside.is_empty() && !control.push(SendAncillaryMessage::ScmRights(beside)) {
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
        beside = &[];
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Waits for a message, until `deadline` where there is one.
pub(super) fn receive<M: DeserializeOwned>(
    socket: impl AsFd,
    deadline: Option<Instant>,
) -> Result<(M, Vec<OwnedFd>), WireError> {
    let socket = socket.as_fd();
    let mut fds = Vec::new();
    let mut length = [0; 4];
    fill(socket, &mut length, &mut fds, deadline)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(WireError::Length(length));
    }
    let mut text = vec![0; usize::try_from(length).map_err(|_| WireError::Length(length))?];
    fill(socket, &mut text, &mut fds, deadline)?;
    Ok((serde_json::from_slice(&text)?, fds))
}

fn fill(
    socket: BorrowedFd<'_>,
    mut rest: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    deadline: Option<Instant>,
) -> Result<(), WireError> {
    while !rest.is_empty() {
        wait(socket, deadline)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
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
        // MSG_CTRUNC: this process has no room for another fd.
        if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) || fds.len() > MOST_FDS {
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
            return Err(WireError::Late);
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
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn message_arrives_with_its_fds() {
        let (one, two) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let question = Question::Hello { version: 7 };
        send(&one, &question, &[file.as_fd()]).unwrap();
        let (received, fds): (Question, _) = receive(&two, None).unwrap();
        assert!(matches!(received, Question::Hello { version: 7 }));
        assert_eq!(fds.len(), 1);
    }

    #[test]
    fn silence_is_late_and_an_end_is_closed() {
        let (one, two) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(matches!(
            receive::<Answer>(&two, Some(deadline)),
            Err(WireError::Late)
        ));
        drop(one);
        assert!(matches!(
            receive::<Answer>(&two, None),
            Err(WireError::Closed)
        ));
        let hello = Question::Hello { version: 1 };
        assert!(matches!(send(&two, &hello, &[]), Err(WireError::Closed)));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let (mut one, two) = UnixStream::pair().unwrap();
        one.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(
            receive::<Answer>(&two, None),
            Err(WireError::Length(u32::MAX))
        ));
        one.write_all(&3_u32.to_le_bytes()).unwrap();
        one.write_all(b"{]}").unwrap();
        assert!(matches!(
            receive::<Answer>(&two, None),
            Err(WireError::Json(_))
        ));
        one.write_all(&9_u32.to_le_bytes()).unwrap();
        drop(one);
        assert!(matches!(
            receive::<Answer>(&two, None),
            Err(WireError::Closed)
        ));
    }
}
