//! Shares the frames of a stream with other processes over a Unix socket. These processes read the stream's own dma-bufs.
//!
//! The socket is of the type `SOCK_SEQPACKET`, so one receive call returns one message. A message is a JSON object:
//!
//! ```text
//!   FrameServer                                                    FrameReader
//!   {"version":1,"layouts":[…],"colours":{…}}, dma-bufs ──────────▶ imports the buffers
//!   {"index":2,"sequence":17,"timestamp_ns":81920000000} ─────────▶ reads buffer 2
//!                                              ◀────────── {"done":2}
//! ```
//!
//! - The dma-bufs of all layouts come with the first message, in the order of the layouts and of the dma-bufs in each.
//! - A frame is complete when its message is sent. The messages have no fences, because a camera's queue has none. A reader that
//!   uses a GPU sends `done` when its GPU has finished reading.
//! - A reader holds at most one frame. While it holds one, it misses further frames; other readers do not, see
//!   [`FrameServer::show`].
//! - A reader that the server does not accept gets `{"version":1,"error":"…"}` instead of the layouts.
//!
//! Server and reader do not trust each other. The server disconnects a reader that breaks these rules. A reader parses and checks
//! each message before it uses a buffer.
//!
//! # References
//! unix(7), `SOCK_SEQPACKET` and `SCM_RIGHTS`.

mod connection;
mod reader;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::buffer::DescriptorError;
use covalent_alloc::files::SocketError;
use covalent_alloc::model::Layout;
use covalent_alloc::text::{printable, printable_path};
use serde::{Deserialize, Serialize};

pub use reader::{Frame, FrameReader};
pub use server::{FrameServer, SharingReport};

/// The version of the messages between server and reader.
pub const VERSION: u32 = 1;

/// The maximum number of readers at the same time.
pub const READERS_MAX: usize = 8;

/// The maximum number of buffers that the readers of a server hold together. A stream needs this number of additional buffers.
pub const SHARED_BUFFERS: u32 = 2;

/// The maximum size of the first message in bytes. It is enough for eighty layouts of a picture with three planes.
const DESCRIPTION_BYTES_MAX: usize = 1 << 16;

/// The maximum size of each later message in bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// The maximum number of file descriptors of a message (`SCM_MAX_FD` of Linux).
const FDS_MAX: usize = 253;

/// Why frames cannot be shared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The socket that readers connect to cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// There are more dma-bufs than a message can carry.
    #[error(
        "the frames cannot be shared: their buffers have {0} dma-bufs, and a message carries at most {FDS_MAX}"
    )]
    Dmabufs(usize),
    /// The layouts do not fit into a message.
    #[error(
        "the frames cannot be shared: their layouts take {0} bytes, and a message has at most {DESCRIPTION_BYTES_MAX}"
    )]
    Layouts(usize),
    /// The layouts cannot be serialised.
    #[error("the frames cannot be shared: {0}")]
    Json(#[from] serde_json::Error),
    /// A system call failed.
    #[error("the frames cannot be shared: {call}: {source}")]
    System {
        /// The name of the system call.
        call: &'static str,
        /// The kernel's error of the call.
        source: io::Error,
    },
}

/// Why frames of another process cannot be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FrameReadError {
    /// This process cannot connect to the server's socket.
    #[error(
        "cannot connect to {}: {source}; start a program that shares its frames there, such as covalent-camera --share",
        printable_path(path)
    )]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// The kernel's error of the call.
        source: io::Error,
    },
    /// The other process did not describe its buffers in time.
    #[error(
        "the program that listens on {} did not describe its buffers within {seconds} s; it may be stopped, or shares no frames",
        printable_path(path)
    )]
    Timeout {
        /// The path of the socket.
        path: PathBuf,
        /// How long this process waited for the description.
        seconds: u64,
    },
    /// The other process does not accept this one as a reader; the text is its reason.
    #[error("the program that shares the frames rejects this reader: {}", printable(.0))]
    Refused(String),
    /// The other process uses another version of the messages.
    #[error(
        "the program that shares the frames uses version {0} of the messages, and this program version {VERSION}; use both from the same release"
    )]
    Version(u32),
    /// A message breaks the rules of the protocol.
    #[error("the program that shares the frames sent a message that is not valid: {}", printable(.0))]
    Invalid(String),
    /// The dma-bufs of a buffer do not match its description.
    #[error("buffer {index} of the program that shares the frames cannot be imported: {source}")]
    Buffer {
        /// The index of the buffer.
        index: usize,
        /// Why the dma-bufs do not match the description.
        source: DescriptorError,
    },
    /// A system call failed.
    #[error("frames of another program cannot be read: {call}: {source}")]
    System {
        /// The name of the system call.
        call: &'static str,
        /// The kernel's error of the call.
        source: io::Error,
    },
    /// The other process has ended, or has closed the connection.
    #[error("the program that shared the frames has ended, or has disconnected this reader")]
    Ended,
}

/// The same text as `Display`, because a `main` that returns an error prints `Debug`.
impl fmt::Debug for FrameReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The first message. The dma-bufs are sent with it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    layouts: Vec<Layout>,
    colours: ColourDescription,
}

/// The fields of the first message that every version of the protocol has.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    version: u32,
    #[serde(default)]
    error: Option<String>,
}

/// The colour encoding of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColourDescription {
    matrix: Matrix,
    is_full_range: bool,
}

/// The YUV matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Matrix {
    Bt601,
    Bt709,
    Bt2020,
}

/// A message with a frame. The reader may read the frame's buffer until it sends [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameMessage {
    /// The index of the buffer.
    index: usize,
    /// The camera's sequence number of the frame.
    sequence: u32,
    /// The time of the capture by CLOCK_MONOTONIC; null if the camera has another clock.
    timestamp_ns: Option<u64>,
}

/// A message of a reader that has finished reading a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    /// The index of the frame's buffer.
    done: usize,
}

impl From<Colours> for ColourDescription {
    fn from(colours: Colours) -> Self {
        Self {
            matrix: match colours.encoding {
                Encoding::Bt709 => Matrix::Bt709,
                Encoding::Bt2020 => Matrix::Bt2020,
                // BT.601 is V4L2's default encoding of most colorspaces (V4L2_MAP_YCBCR_ENC_DEFAULT).
                _ => Matrix::Bt601,
            },
            is_full_range: colours.is_full_range,
        }
    }
}

impl From<ColourDescription> for Colours {
    fn from(colours: ColourDescription) -> Self {
        Self {
            encoding: match colours.matrix {
                Matrix::Bt601 => Encoding::Bt601,
                Matrix::Bt709 => Encoding::Bt709,
                Matrix::Bt2020 => Encoding::Bt2020,
            },
            is_full_range: colours.is_full_range,
        }
    }
}
