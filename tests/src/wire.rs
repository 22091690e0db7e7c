//! The messages between the host and the guest's first process, and their encoding.
//!
//! The messages are sent through one virtio-serial port, as an ordered stream of bytes in each direction:
//!
//! ```text
//! ┌────────────────────────┬──────────────────────┐
//! │ length, 4 bytes, little│ message, in postcard │  …
//! └────────────────────────┴──────────────────────┘
//! ```
//!
//! Many commands share the port. A command that does not read its input, or whose output the host does not read, must not block
//! the other commands. So a stream may have at most [`WINDOW_BYTES`] unacknowledged bytes, and the receiver acknowledges bytes
//! with [`ToGuest::Taken`] and [`ToHost::Taken`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of the port, as udev and `/sys/class/virtio-ports` show it.
pub const PORT: &str = "org.covalent.agent";

/// The version of these messages. Both ends are built from one checkout. If their versions differ, one of the programs is out of
/// date.
pub const VERSION: u32 = 3;

/// The longest message, in bytes. The receiver skips longer messages.
pub const MESSAGE_LIMIT_BYTES: usize = 1 << 20;

/// The maximum number of bytes that one [`ToGuest::Input`] or [`ToHost::Output`] carries.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The maximum number of unacknowledged bytes in one stream of one command.
pub const WINDOW_BYTES: usize = 1 << 20;

/// The reason why a message cannot be sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length before a message exceeds the limit. The receiver skips the bytes of the message.
    #[error(
        "a message of {bytes} bytes exceeds the limit of {MESSAGE_LIMIT_BYTES} bytes and was skipped"
    )]
    TooLong {
        /// The length that the stream states, in bytes.
        bytes: usize,
    },
    /// The bytes are not a valid message.
    #[error("{bytes} bytes are not a message of version {VERSION}: {source}")]
    NotAMessage {
        /// The number of bytes.
        bytes: usize,
        /// The decoder's error.
        source: postcard::Error,
    },
    /// There are bytes after the end of the message within the stated length.
    #[error("{bytes} bytes are left after a message of version {VERSION}")]
    Trailing {
        /// The number of these bytes.
        bytes: usize,
    },
    /// A message cannot be encoded.
    #[error("a message cannot be encoded: {source}")]
    Encode {
        /// The encoder's error.
        source: postcard::Error,
    },
}

/// A message from the host to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToGuest {
    /// Prepares the guest. This is the first message. The reply is [`ToHost::Ready`] or [`ToHost::Refused`].
    Prepare(Prepare),
    /// Starts a command. The host chooses the command's number and never uses it again.
    Start {
        /// The command's number.
        id: u32,
        /// The command to start.
        exec: Exec,
    },
    /// Carries bytes for a command's input.
    Input {
        /// The command's number.
        id: u32,
        /// The bytes of the input.
        bytes: Bytes,
    },
    /// Closes a command's input after the bytes that were sent before.
    InputEnd {
        /// The command's number.
        id: u32,
    },
    /// Acknowledges bytes of a command's output.
    Taken {
        /// The command's number.
        id: u32,
        /// The output stream whose bytes are acknowledged.
        stream: Stream,
        /// The number of acknowledged bytes.
        bytes: u32,
    },
    /// Sends a signal to a command.
    Signal {
        /// The command's number.
        id: u32,
        /// The signal's number.
        signal: i32,
        /// The processes that receive the signal.
        to: SignalTarget,
    },
    /// Kills a command and every process that it has started.
    Kill {
        /// The command's number.
        id: u32,
    },
    /// Changes the size of a command's terminal.
    Resize {
        /// The command's number.
        id: u32,
        /// The new size of the terminal.
        window: Window,
    },
    /// Writes all files to disk and to the shared folder. The reply is [`ToHost::Synced`].
    Sync,
    /// Ends all commands and powers the guest off.
    PowerOff,
}

/// A message from the guest to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ToHost {
    /// The guest is prepared and accepts commands.
    Ready(Ready),
    /// The guest cannot be prepared.
    Refused {
        /// The reason as text.
        reason: String,
    },
    /// Carries bytes that a command has written.
    Output {
        /// The command's number.
        id: u32,
        /// The stream to which the command has written.
        stream: Stream,
        /// The written bytes.
        bytes: Bytes,
    },
    /// Acknowledges bytes of a command's input.
    Taken {
        /// The command's number.
        id: u32,
        /// The number of acknowledged bytes.
        bytes: u32,
    },
    /// A command has ended, and all of its output has been sent.
    Ended {
        /// The command's number.
        id: u32,
        /// The exit status or signal.
        status: Status,
    },
    /// All files are on disk and in the shared folder.
    Synced,
    /// The guest could not handle a message and ignored it.
    ProtocolError {
        /// The reason as text.
        message: String,
    },
}

/// The settings with which the guest prepares itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The [`VERSION`] of the host's programs.
    pub version: u32,
    /// The guest's host name.
    pub hostname: String,
    /// The kernel modules, in loading order.
    pub modules: Vec<Module>,
    /// Whether the host shares a folder for the files that commands write to `$OUT`.
    pub shared_out: bool,
    /// The content of the guest's second disk; `None` if it has only one disk.
    pub second_disk: Option<SecondDisk>,
}

/// The content of a guest's second disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondDisk {
    /// The modules of the kernel, if the kernel is not the one whose modules are on the guest's first disk.
    Modules,
    /// The programs of other projects, in the folders `usr` and `etc`.
    Peers,
}

/// A kernel module to load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The module's name.
    pub name: String,
    /// The module's options, each `name=value`.
    pub options: Vec<String>,
}

/// The reply of a guest that is prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The time from the kernel's start until this message, in milliseconds.
    pub uptime_ms: u64,
}

/// A command to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments. A name without a slash is looked up in PATH.
    pub argv: Vec<OsString>,
    /// Variables that are added to the guest's own environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory; `None` for root's home.
    pub folder: Option<PathBuf>,
    /// The size of the terminal; `None` for pipes. With a terminal, both outputs are sent as [`Stream::Out`].
    pub terminal: Option<Window>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

/// An output stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the output of the terminal.
    Out,
    /// Standard error.
    Error,
}

/// The processes that get a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalTarget {
    /// Only the process that was started.
    Leader,
    /// The command's process group, as with the interrupt key of a terminal.
    Group,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The command exited with this status.
    Code(u8),
    /// The signal with this number ended the command.
    Signal(u8),
}

impl Status {
    /// Returns whether the command exited with status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// Returns the exit status that a shell would report: 128 plus the number of the signal if a signal ended the command.
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

/// Bytes that are encoded as one block; serde would encode a `Vec<u8>` element by element.
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
                Err(A::Error::custom("expected bytes, found a list"))
            }
        }
        deserializer.deserialize_bytes(Piece)
    }
}

/// Encodes a message, with its length before it.
///
/// # Errors
/// The message is longer than [`MESSAGE_LIMIT_BYTES`], or cannot be encoded.
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

/// Splits a stream of bytes, which arrives in parts of any size, into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// The offset in the buffer of the first message that was not returned yet.
    start: usize,
    /// The number of bytes that are still to be skipped, because they belong to a message that is too long.
    skip_bytes: usize,
}

impl Decoder {
    /// Adds the next part of the stream.
    pub fn push(&mut self, mut piece: &[u8]) {
        let passed = self.skip_bytes.min(piece.len());
        self.skip_bytes -= passed;
        piece = &piece[passed..];
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(piece);
    }

    /// Removes and returns the next complete message; `None` if some of its bytes have not arrived. After an error, the next call
    /// continues after the invalid bytes.
    ///
    /// # Errors
    /// The bytes are not a valid message.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<M>, WireError> {
        let rest = &self.buffer[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        // On a 32-bit machine, a length that does not fit a usize counts as over the limit too.
        let bytes = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if bytes > MESSAGE_LIMIT_BYTES {
            let here = rest.len().min(bytes);
            self.skip_bytes = bytes - here;
            self.start += 4 + here;
            return Err(WireError::TooLong { bytes });
        }
        let Some(body) = rest.get(..bytes) else {
            return Ok(None);
        };
        self.start += 4 + bytes;
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
    fn decoder_with_single_bytes_returns_the_messages() {
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
    fn decoder_skips_a_message_that_is_too_long() {
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
    fn decoder_reports_invalid_bytes_and_finds_the_next_message() {
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
