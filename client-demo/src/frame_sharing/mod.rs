//! Gives the frames of a stream to other processes over a Unix socket. They read the stream's own buffers.
//!
//! The socket is of the type `SOCK_SEQPACKET`, so each message is received whole. A message is a JSON object:
//!
//! ```text
//!   FrameServer                                                    FrameReader
//!   {"version":1,"layouts":[…],"colours":{…}}, dma-bufs ──────────▶ imports the buffers
//!   {"index":2,"sequence":17,"timestamp_ns":81920000000} ─────────▶ reads buffer 2
//!                                              ◀────────── {"done":2}
//! ```
//!
//! - The dma-bufs of all layouts come with the first message, in the order of the layouts and of the dma-bufs in each.
//! - A frame is complete when its message is sent. A camera's queue has no fences, so none is sent. A reader that reads by a GPU sends
//!   `done` when its GPU has finished.
//! - A reader has at most one frame. While it has one, further frames are lost for this reader alone, see [`FrameServer::show`].
//! - A program that is refused gets `{"version":1,"error":"…"}` instead of the layouts.
//!
//! Neither side trusts the other. The server disconnects a reader that breaks these rules. A reader parses and checks everything before
//! it uses a buffer.
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
pub use server::{FrameServer, Shared};

/// The version of the messages.
pub const VERSION: u32 = 1;

/// The most readers at the same time.
pub const READERS_MAX: usize = 8;

/// The most buffers that the readers of a server have together, and so the number of buffers that a stream needs for them.
pub const SHARED_BUFFERS: u32 = 2;

/// The most bytes of the first message. Eighty layouts of a picture with three planes are shorter.
const DESCRIPTION_BYTES_MAX: usize = 1 << 16;

/// The most bytes of each further message.
const MESSAGE_BYTES_MAX: usize = 256;

/// The most file descriptors of a message (`SCM_MAX_FD` of Linux).
const FDS_MAX: usize = 253;

/// Why frames cannot be shared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The socket cannot be opened.
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
        /// The system call.
        call: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// Why frames of another process cannot be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FrameReadError {
    /// The socket cannot be connected to.
    #[error(
        "cannot connect to {}: {source}; start a program that shares its frames there, such as covalent-camera --share",
        printable_path(path)
    )]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The other process does not describe its buffers.
    #[error(
        "the program that listens on {} did not describe its buffers within {seconds} s; it may be stopped, or shares no frames",
        printable_path(path)
    )]
    Timeout {
        /// The path of the socket.
        path: PathBuf,
        /// How long it had time.
        seconds: u64,
    },
    /// The other process refuses this one.
    #[error("the program that shares the frames refuses this one: {}", printable(.0))]
    Refused(String),
    /// The other process is of another release.
    #[error(
        "the program that shares the frames has version {0} of the messages, and this one version {VERSION}; use both of the same release"
    )]
    Version(u32),
    /// A message breaks the rules.
    #[error("the program that shares the frames sent a message that is not valid: {}", printable(.0))]
    Invalid(String),
    /// A buffer is not as it is described.
    #[error("buffer {index} of the program that shares the frames cannot be imported: {source}")]
    Buffer {
        /// The index of the buffer.
        index: usize,
        /// The cause.
        source: DescriptorError,
    },
    /// A system call failed.
    #[error("frames of another program cannot be read: {call}: {source}")]
    System {
        /// The system call.
        call: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The other process has ended, or has disconnected this one.
    #[error("the program that shared the frames has ended, or has disconnected this reader")]
    Ended,
}

/// The same text as `Display`, because a `main` that returns an error prints `Debug`.
impl fmt::Debug for FrameReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The first message. The dma-bufs come with it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    layouts: Vec<Layout>,
    colours: ColourDescription,
}

/// The fields of the first message that every version has.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    version: u32,
    #[serde(default)]
    error: Option<String>,
}

/// The colours of the pixels.
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

/// A frame that the reader may read until it sends [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameMessage {
    /// The index of the buffer.
    index: usize,
    /// The camera's number of the frame.
    sequence: u32,
    /// The time of the capture by CLOCK_MONOTONIC; null where the camera has another clock.
    timestamp_ns: Option<u64>,
}

/// The reader has read a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    /// The index of its buffer.
    done: usize,
}

impl From<Colours> for ColourDescription {
    fn from(colours: Colours) -> Self {
        Self {
            matrix: match colours.encoding {
                Encoding::Bt709 => Matrix::Bt709,
                Encoding::Bt2020 => Matrix::Bt2020,
                // V4L2's default for a colorspace without another one.
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
