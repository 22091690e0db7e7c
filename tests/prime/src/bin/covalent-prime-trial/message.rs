//! The messages between the trial and the process of a driver: JSON in packets, with the file descriptor of a buffer.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The maximum size of a packet in bytes. A list of modifiers is a few kilobytes.
const PACKET_BYTES: usize = 64 << 10;

/// The size of the images in pixels. A row of XRGB8888 has 1280 bytes, a multiple of what all drivers require of LINEAR, and a
/// whole image is a multiple of 16 KiB: Honeykrisp imports no other sizes, because the kernels of its machines have such pages.
pub(crate) const SIZE: (u32, u32) = (320, 256);

/// The call that failed, and the reason.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) operation: &'static str,
    pub(crate) why: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.operation, self.why)
    }
}

/// The format and the modifier of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) fourcc: u32,
    pub(crate) modifier: u64,
}

/// The place of a memory plane in a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plane {
    pub(crate) offset: u64,
    pub(crate) pitch: u64,
}

/// What allocates or imports an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Interface {
    /// The functions of the Vulkan driver.
    Vulkan,
    /// covalent-alloc, through the Vulkan driver.
    Covalent,
    /// GBM.
    Gbm,
    /// EGL, which only imports.
    Egl,
}

/// The call by which a driver reports how much memory an image needs.
pub(crate) const REQUIREMENTS: &str = "vkGetImageMemoryRequirements2";

/// A request to the process of a driver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Lists the modifiers of a format with which images are both exported and imported.
    List { fourcc: u32 },
    /// Allocates an image and exports it.
    Export { by: Interface, kind: Kind },
    /// Imports the buffer that comes with this message.
    Import {
        by: Interface,
        kind: Kind,
        planes: Vec<Plane>,
    },
}

/// The answer of a driver to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Accepted,
    /// The driver or the library returned this error.
    Refused(String),
    /// The driver accepted the layout, and needs more memory for it than the buffer has.
    TooSmall(String),
    /// The driver ended its process.
    Aborted,
}

/// The reply to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Listed {
        modifiers: Vec<u64>,
    },
    /// The layout of the image whose buffer comes with this message.
    Exported {
        planes: Vec<Plane>,
    },
    Imported {
        verdict: Verdict,
    },
    Failed {
        why: String,
    },
}

/// Sends a message, with the file descriptor of a buffer.
pub(crate) fn send(
    socket: &OwnedFd,
    message: &impl Serialize,
    fd: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let bytes = serde_json::to_vec(message)?;
    ensure!(
        bytes.len() <= PACKET_BYTES,
        "a message has {} bytes",
        bytes.len()
    );
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ensure!(
            control.push(SendAncillaryMessage::ScmRights(&fds)),
            "there is no room for a file descriptor"
        );
    }
    sendmsg(
        socket.as_fd(),
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .context("sendmsg failed")?;
    Ok(())
}

/// Receives a message; `None` if the other process has ended.
pub(crate) fn receive<M: DeserializeOwned>(
    socket: &OwnedFd,
) -> Result<Option<(M, Option<OwnedFd>)>> {
    let mut bytes = vec![0; PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let received = match received {
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error).context("recvmsg failed"),
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    ensure!(
        !received.flags.contains(ReturnFlags::TRUNC),
        "a message is longer than {PACKET_BYTES} bytes"
    );
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next());
    let text = bytes.get(..received.bytes).unwrap_or_default();
    Ok(Some((serde_json::from_slice(text)?, fd)))
}
