//! The messages between the host and the guest's first process, and how they travel.
//!
//! They travel over one virtio-serial port, so this is one ordered stream of bytes each way:
//!
//! ```text
//! ┌────────────────────────┬──────────────────────┐
//! │ length, 4 bytes, little│ message, in postcard │  …
//! └────────────────────────┴──────────────────────┘
//! ```
//!
//! Many commands share the port. None may hold up another by not reading its input or by writing more than somebody
//! takes: a stream may have [`WINDOW_BYTES`] bytes under way, and the receiver says how many it has taken
//! ([`ToGuest::Taken`], [`ToHost::Taken`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The port's name, as udev and `/sys/class/virtio-ports` show it.
pub const PORT: &str = "org.covalent.agent";

/// The version of these messages. Both ends are built from one checkout, so a difference means stale programs.
pub const VERSION: u32 = 1;

/// The longest message, in bytes. Longer ones are passed over.
pub const MESSAGE_LIMIT_BYTES: usize = 1 << 20;

/// The most that one [`ToGuest::Input`] or [`ToHost::Output`] carries, in bytes.
pub const CHUNK_BYTES: usize = 64 << 10;

/// What one stream of one command may have under way, in bytes.
pub const WINDOW_BYTES: usize = 1 << 20;

/// What goes wrong on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length at the head of a message is beyond the limit; its bytes are passed over.
    #[error(
        "a message of {bytes} bytes is longer than {MESSAGE_LIMIT_BYTES}, so it was passed over"
    )]
    TooLong {
        /// The length that it claims.
        bytes: usize,
    },
    /// The bytes are no message.
    #[error("{bytes} bytes are not a message of version {VERSION}: {source}")]
    NotAMessage {
        /// How long they are.
        bytes: usize,
        /// What the decoder says.
        source: postcard::Error,
    },
    /// Something is left after the message.
    #[error("a message of version {VERSION} has {bytes} bytes too many")]
    Trailing {
        /// How many are left.
        bytes: usize,
    },
    /// A message cannot be written down.
    #[error("a message cannot be encoded: {source}")]
    Encode {
        /// What the encoder says.
        source: postcard::Error,
    },
}

/// From the host to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToGuest {
    /// Makes the guest ready; the first message. Answered by [`ToHost::Ready`] or [`ToHost::Refused`].
    Prepare(Prepare),
    /// Starts a command under a number that the host chooses and never uses again.
    Start {
        /// The command's number.
        id: u32,
        /// What to start.
        exec: Exec,
    },
    /// Bytes for a command's input.
    Input {
        /// The command's number.
        id: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// The end of a command's input.
    InputEnd {
        /// The command's number.
        id: u32,
    },
    /// The host has taken this much of a command's output.
    Taken {
        /// The command's number.
        id: u32,
        /// Which output.
        stream: Stream,
        /// How many bytes.
        bytes: u32,
    },
    /// Sends a signal.
    Signal {
        /// The command's number.
        id: u32,
        /// The signal's number.
        signal: i32,
        /// To whom.
        to: SignalTarget,
    },
    /// Ends a command and all that it has started, at once.
    Kill {
        /// The command's number.
        id: u32,
    },
    /// Changes the size of a command's terminal.
    Resize {
        /// The command's number.
        id: u32,
        /// The new size.
        window: Window,
    },
    /// Writes everything to disk and to the shared folder. Answered by [`ToHost::Synced`].
    Sync,
    /// Ends all commands and switches the guest off.
    PowerOff,
}

/// From the guest to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToHost {
    /// The guest is ready for commands.
    Ready(Ready),
    /// The guest cannot be made ready.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// Bytes that a command has written.
    Output {
        /// The command's number.
        id: u32,
        /// Where it has written them.
        stream: Stream,
        /// The bytes.
        bytes: Bytes,
    },
    /// The command has taken this much of its input.
    Taken {
        /// The command's number.
        id: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// The command has ended and all of its output has been sent.
    Ended {
        /// The command's number.
        id: u32,
        /// How it ended.
        status: Status,
    },
    /// Everything is on disk and in the shared folder.
    Synced,
    /// The guest did not understand something and went on without it.
    Complaint {
        /// What, in words.
        words: String,
    },
}

/// How to make the guest ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// [`VERSION`] of the host's programs.
    pub version: u32,
    /// The guest's name.
    pub hostname: String,
    /// Kernel modules, in the order in which they are loaded.
    pub modules: Vec<Module>,
    /// Whether the host shares a folder for what commands leave in `$OUT`.
    pub shared_out: bool,
}

/// One kernel module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its options, each `name=value`.
    pub options: Vec<String>,
}

/// What the guest is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `uname -r`.
    pub kernel: String,
    /// Milliseconds from the kernel's start until now.
    pub uptime_ms: u64,
}

/// What to start, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments. A name without a slash is looked up in PATH.
    pub argv: Vec<OsString>,
    /// What to add to the guest's own environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory; root's home where it is absent.
    pub folder: Option<PathBuf>,
    /// A terminal of this size instead of pipes. Both outputs then come as [`Stream::Out`].
    pub terminal: Option<Window>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// One of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Error,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalTarget {
    /// The command's own process alone.
    Leader,
    /// The command's process group, as by the interrupt key of a terminal.
    Group,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself, with this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl Status {
    /// Whether the command says that all went well.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The status as a shell gives it: 128 + signal where a signal ended the command.
    #[must_use]
    pub fn as_shell(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit status {code}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// Bytes that are encoded as one piece. (serde takes a `Vec<u8>` for a list and visits each.)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Piece;
        impl<'de> Visitor<'de> for Piece {
            type Value = Bytes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Bytes, A::Error> {
                Err(A::Error::custom("a list where bytes belong"))
            }
        }
        deserializer.deserialize_bytes(Piece)
    }
}

/// Writes a message down, with its length before it.
///
/// # Errors
/// Where the message is longer than [`MESSAGE_LIMIT_BYTES`], or holds what cannot be written down.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let mut frame =
        postcard::to_extend(message, vec![0; 4]).map_err(|source| WireError::Encode { source })?;
    let bytes = frame.len().saturating_sub(4);
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MESSAGE_LIMIT_BYTES => {
            frame[..4].copy_from_slice(&length.to_le_bytes());
            Ok(frame)
        }
        _ => Err(WireError::TooLong { bytes }),
    }
}

/// Finds the messages in a stream of bytes that comes in arbitrary pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the first message that nobody has taken begins in the buffer.
    begin: usize,
    /// How much of a message that is too long is still to come.
    pass_over: usize,
}

impl Decoder {
    /// Takes the next piece of the stream.
    pub fn push(&mut self, mut piece: &[u8]) {
        let passed = self.pass_over.min(piece.len());
        self.pass_over -= passed;
        piece = &piece[passed..];
        if self.begin > 0 {
            self.buffer.drain(..self.begin);
            self.begin = 0;
        }
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message, `None` where more bytes have to come first. After an error the stream goes on behind
    /// the bytes that were no message.
    ///
    /// # Errors
    /// Where the bytes are no message.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<M>, WireError> {
        let rest = &self.buffer[self.begin..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        // Where a usize cannot hold it, it is beyond the limit all the same.
        let bytes = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if bytes > MESSAGE_LIMIT_BYTES {
            let here = rest.len().min(bytes);
            self.pass_over = bytes - here;
            self.begin += 4 + here;
            return Err(WireError::TooLong { bytes });
        }
        let Some(body) = rest.get(..bytes) else {
            return Ok(None);
        };
        self.begin += 4 + bytes;
        match postcard::take_from_bytes(body) {
            Ok((message, [])) => Ok(Some(message)),
            Ok((_, trailing)) => Err(WireError::Trailing {
                bytes: trailing.len(),
            }),
            Err(source) => Err(WireError::NotAMessage { bytes, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> ToGuest {
        ToGuest::Start {
            id: 7,
            exec: Exec {
                argv: vec!["sh".into(), "-c".into(), "exit 3".into()],
                env: BTreeMap::from([("A".into(), "b".into())]),
                folder: Some("/tmp".into()),
                terminal: Some(Window {
                    rows: 25,
                    columns: 80,
                }),
            },
        }
    }

    #[test]
    fn decoder_stream_in_single_bytes_gives_the_messages() {
        let output = ToGuest::Input {
            id: 1,
            bytes: Bytes((0..=255).cycle().take(CHUNK_BYTES).collect()),
        };
        let sent = [start(), output, ToGuest::PowerOff];
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|message| encode(message).unwrap())
            .collect();
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for byte in stream {
            decoder.push(&[byte]);
            got.extend(decoder.take::<ToGuest>().unwrap());
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn decoder_message_too_long_is_passed_over_and_the_next_is_found() {
        let long = MESSAGE_LIMIT_BYTES + 1;
        let mut stream = u32::try_from(long).unwrap().to_le_bytes().to_vec();
        stream.extend(vec![0xaa; long]);
        stream.extend(encode(&start()).unwrap());
        let mut decoder = Decoder::default();
        let (mut errors, mut messages) = (0, Vec::new());
        for piece in stream.chunks(1000) {
            decoder.push(piece);
            loop {
                match decoder.take::<ToGuest>() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(WireError::TooLong { bytes }) => {
                        assert_eq!(bytes, long);
                        errors += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert_eq!((errors, messages), (1, vec![start()]));
    }

    #[test]
    fn decoder_rubbish_is_an_error_and_the_next_message_is_found() {
        let mut stream = vec![3, 0, 0, 0, 0xff, 0xff, 0xff];
        stream.extend([0, 0, 0, 0]);
        let mut trailing = encode(&ToGuest::Sync).unwrap();
        trailing[0] += 1;
        trailing.push(9);
        stream.extend(trailing);
        stream.extend(encode(&ToGuest::Sync).unwrap());
        let mut decoder = Decoder::default();
        decoder.push(&stream);
        assert!(matches!(
            decoder.take::<ToGuest>(),
            Err(WireError::NotAMessage { bytes: 3, .. })
        ));
        assert!(matches!(
            decoder.take::<ToGuest>(),
            Err(WireError::NotAMessage { bytes: 0, .. })
        ));
        assert!(matches!(
            decoder.take::<ToGuest>(),
            Err(WireError::Trailing { bytes: 1 })
        ));
        assert_eq!(decoder.take::<ToGuest>().unwrap(), Some(ToGuest::Sync));
        assert_eq!(decoder.take::<ToGuest>().unwrap(), None);
    }

    #[test]
    fn decoder_truncated_messages_never_panic() {
        let whole = encode(&start()).unwrap();
        for length in 0..whole.len() - 4 {
            let mut stream = u32::try_from(length).unwrap().to_le_bytes().to_vec();
            stream.extend(&whole[4..4 + length]);
            let mut decoder = Decoder::default();
            decoder.push(&stream);
            assert!(decoder.take::<ToGuest>().is_err());
        }
    }

    #[test]
    fn status_signal_is_128_and_more_to_a_shell() {
        assert_eq!(Status::Signal(9).as_shell(), 137);
        assert_eq!(Status::Code(3).as_shell(), 3);
    }
}
