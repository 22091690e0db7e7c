//! What is said between a program and its helper: typed JSON messages with their length before them, fds beside them.
//!
//! A driver runs in the helper, so an answer may be anything. It has at most [`LONGEST_ANSWER`] bytes, which are taken as they
//! come, however many were announced; reading it takes at most 256 times its length of memory, since a field that is not
//! known is kept at each depth of a participant, and time that grows with its length. Its depth is 128 at the most. Words in
//! it are made printable and cut off where it comes in ([`Answer::tamed`]).

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
use crate::constraint::{Participant, Source};
use crate::model::{Extent, FormatModifier};
use crate::solve::Request;
use crate::text::printable_within;
use covalent_machine::trial_results::Outcome;

/// The version of these messages; both sides must have the same.
pub(super) const VERSION: u32 = 3;

/// No request of ours is near this long: whoever says so is not our peer.
const LONGEST: u32 = 16 << 20;

/// No answer is near this long: a participant with 5,000 pairs of format and modifier takes 300 KiB.
const LONGEST_ANSWER: u32 = 4 << 20;

/// How many characters the words of a driver have at the most; each is shown to a person.
const WORDS: usize = 2000;

/// So many bytes are made room for at a time, however many are announced.
const CHUNK: usize = 64 << 10;

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
        turns: Vec<MeasuredCycle>,
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

/// A message, and how long it may be.
pub(super) trait Message: DeserializeOwned {
    /// The most bytes.
    const LONGEST: u32;

    /// Makes what strangers wrote fit to be shown.
    #[must_use]
    fn tamed(self) -> Self {
        self
    }
}

impl Message for Question {
    const LONGEST: u32 = LONGEST;
}

impl Message for Answer {
    const LONGEST: u32 = LONGEST_ANSWER;

    fn tamed(mut self) -> Self {
        let tame = |text: &mut String| *text = printable_within(text, WORDS);
        let outcome = match &mut self {
            Self::Allocated { outcome, .. } | Self::Measured { outcome, .. } => Some(outcome),
            Self::Attempted { outcome } => outcome.as_mut(),
            Self::Declared { declared } => {
                for unavailable in &mut declared.unavailable {
                    tame(&mut unavailable.name);
                    tame(&mut unavailable.why);
                }
                None
            }
            _ => None,
        };
        match outcome {
            Some(Outcome::Refused(refusal)) => {
                tame(&mut refusal.device);
                tame(&mut refusal.operation);
                tame(&mut refusal.words);
            }
            Some(Outcome::Untestable(why)) => tame(why),
            _ => {}
        }
        self
    }
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
    offset_bytes: u64,
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
                    offset_bytes: plane.offset_bytes,
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
        // Each plane gets an fd of its own, and there are not many.
        if self.planes.len() > MOST_FDS {
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
    /// More planes than any picture has.
    #[error("a buffer of {0} planes")]
    Planes(usize),
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
pub(super) fn receive<M: Message>(
    socket: impl AsFd,
    deadline: Option<Instant>,
) -> Result<(M, Vec<OwnedFd>), WireError> {
    let socket = socket.as_fd();
    let mut fds = Vec::new();
    let mut length = [0; 4];
    fill(socket, &mut length, &mut fds, deadline)?;
    let length = u32::from_le_bytes(length);
    if length > M::LONGEST {
        return Err(WireError::Length(length));
    }
    let length = usize::try_from(length).map_err(|_| WireError::Length(length))?;
    let mut text = Vec::new();
    while text.len() < length {
        let begun = text.len();
        // No more room than has been filled before.
        let more = length.saturating_sub(begun).min(begun.max(CHUNK));
        text.resize(begun.saturating_add(more), 0);
        let rest = text.get_mut(begun..).unwrap_or_default();
        fill(socket, rest, &mut fds, deadline)?;
    }
    Ok((serde_json::from_slice::<M>(&text)?.tamed(), fds))
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
    use std::thread;

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
    fn words_of_a_driver_are_printable_when_they_come_in() {
        let (one, two) = UnixStream::pair().unwrap();
        let words = format!("\u{1b}[2J\u{202e}{}", "x".repeat(10_000));
        let outcome = Outcome::Refused(covalent_machine::trial_results::Refusal::structural(
            &words, &words, &words,
        ));
        let answer = Answer::Allocated {
            outcome,
            buffer: None,
        };
        send(&one, &answer, &[]).unwrap();
        let (Answer::Allocated { outcome, .. }, _) = receive(&two, None).unwrap() else {
            panic!("another answer")
        };
        let refusal = outcome.refusal().unwrap();
        for text in [&refusal.device, &refusal.operation, &refusal.words] {
            assert!(text.starts_with("\\u{1b}[2J\\u{202e}xx"), "{text}");
            assert!(text.chars().count() <= WORDS);
        }
    }

    #[test]
    fn planes_without_end_cost_no_fds() {
        let (one, two) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let plane = r#"{"memory":0,"offset_bytes":0,"stride_bytes":4},"#.repeat(10_000);
        let text = format!(
            r#"{{"allocated":{{"outcome":"proved","buffer":{{"extent":"1x1","format":{{"fourcc":"XR24","modifier":"LINEAR"}},"planes":[{}]}}}}}}"#,
            plane.trim_end_matches(',')
        );
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sender = thread::spawn(move || send(&one, &message, &[file.as_fd()]).unwrap());
        let (Answer::Allocated { buffer, .. }, fds) = receive(&two, None).unwrap() else {
            panic!("another answer")
        };
        sender.join().unwrap();
        let refused = buffer.unwrap().into_buffer(&fds);
        assert!(matches!(refused, Err(WireError::Planes(10_000))));
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
