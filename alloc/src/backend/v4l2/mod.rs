//! V4L2 queues: cameras, video outputs and converters, single- and multi-planar, as importers and as sources.
//!
//! A device that converts has both queues on one file: open it once, and ask it for each. Every open file is a job of its
//! own, so that nobody else can make it busy.
//!
//! Three things that surprise:
//! - QBUF with a length over the dma-buf's size answers EFAULT and leaks the dma-buf for good, so lengths are always the
//!   kernel's own size of the buffer and formats that need more are refused before the request.
//! - vb2 attaches a buffer anew when the fd at an index changes, so a buffer keeps its index for the stream's life.
//! - No capability says whether a queue needs contiguous memory. Its own exported buffer does: fdinfo names the exporter,
//!   and `videobuf2_dma_contig` wants what it gives.

mod allocate;
mod backend;
mod coded;
mod colours;
mod device;
mod evidence;
mod frame;
mod import;
#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
mod layout;
mod member;
mod negotiate;
mod participant;
mod pixel_format;
mod queue;
mod rate;
mod slots;
mod stream;
mod strides;
mod sys;

pub use backend::VideoDevices;
pub use colours::{Colours, Encoding};
pub use device::Device;
pub use evidence::QueueMemory;
pub use frame::{Frame, FrameInfo};
pub use negotiate::NegotiatedFormat;
pub use pixel_format::{Disjoint, PixelFormat};
pub use queue::{Direction, FormatDescription, FrameSizes, Queue};
pub use rate::{FrameRate, FrameRateError};
pub use stream::Stream;

use crate::text::printable_path;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::buffer::BufferIdentity;
use crate::model::{Extent, LayoutError};

/// Why a video device did not do what was asked.
#[derive(Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file, or it may not be opened.
    #[error("{device} cannot be opened: {source}{}", open_remedy(*source), device = printable_path(device))]
    Open {
        /// The node.
        device: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// The file is no video device.
    #[error(
        "{device} is no V4L2 device ({source}); `v4l2-ctl --list-devices` lists those that are there", device = printable_path(device))]
    NotVideo {
        /// The node.
        device: PathBuf,
        /// What the kernel answered to QUERYCAP.
        source: Errno,
    },
    /// The device has no streaming queue of that direction.
    #[error(
        "{device} ({driver}) has no {direction} queue that streams; its capabilities are 0x{capabilities:08x}", device = printable_path(device))]
    NoQueue {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked for.
        direction: Direction,
        /// What it says of itself.
        capabilities: u32,
    },
    /// Another program, or another part of this one, uses the queue.
    #[error(
        "{device} ({driver}) is in use: {operation} answered EBUSY; end the program that streams from it (`fuser -v {device}` names it)", device = printable_path(device))]
    Busy {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked.
        operation: &'static str,
    },
    /// The device went away.
    #[error("{device} ({driver}) is gone: {operation} answered {source}; was it unplugged?", device = printable_path(device))]
    Gone {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked.
        operation: &'static str,
        /// ENODEV or ENXIO.
        source: Errno,
    },
    /// A request failed.
    #[error("{device} ({driver}): {operation} failed: {source}", device = printable_path(device))]
    Request {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The request, as the kernel names it.
        operation: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The driver wants another format than the buffers have.
    #[error("{device} ({driver}) was asked for {asked} and set {answered}", device = printable_path(device))]
    Format {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked, in words.
        asked: String,
        /// What it set, in words.
        answered: String,
    },
    /// No V4L2 code exists for what was asked.
    #[error("{device} ({driver}): V4L2 has no pixel format code for {format}, or no size {extent}, so the queue cannot be set to it", device = printable_path(device))]
    Unsayable {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The size.
        extent: Extent,
        /// The format.
        format: String,
    },
    /// What the driver answered makes no sense.
    #[error("{device} ({driver}) answered {operation} with a layout that cannot be: {source}", device = printable_path(device))]
    Nonsense {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// The queue was handed no buffer.
    #[error(
        "{device} ({driver}) was handed no buffers to stream with; a stream needs one at least", device = printable_path(device))]
    NoBuffers {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
    },
    /// A buffer has another layout than the first one.
    #[error(
        "{device} ({driver}): buffer {index} ({identity}) is {found}, and buffer 0 is {expected}; a queue streams with one layout, so allocate all buffers by one plan", device = printable_path(device))]
    Layouts {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// Index of the buffer among those that were handed over.
        index: usize,
        /// Which buffer.
        identity: BufferIdentity,
        /// The layout of the first buffer, in words.
        expected: String,
        /// The layout of this one, in words.
        found: String,
    },
    /// A buffer is smaller than the queue writes.
    #[error(
        "{device} ({driver}) needs {needed_bytes} bytes in memory {memory}, and the buffer with {identity} has {found_bytes}", device = printable_path(device))]
    TooSmall {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// Index of the memory.
        memory: usize,
        /// Which buffer.
        identity: BufferIdentity,
        /// What the driver writes.
        needed_bytes: u64,
        /// What is there.
        found_bytes: u64,
    },
    /// A buffer lies in more memories than the queue takes for one.
    #[error(
        "{device} ({driver}): a buffer ({identity}) lies in {found} dma-bufs, and with this format the queue takes {taken}; ask for one with its planes together", device = printable_path(device))]
    Memories {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// Which buffer.
        identity: BufferIdentity,
        /// How many the queue takes.
        taken: usize,
        /// How many there are.
        found: usize,
    },
    /// The index is not one of the stream's, or its buffer is with the driver already.
    #[error("{device}: buffer {index} {why}", device = printable_path(device))]
    Index {
        /// The node.
        device: PathBuf,
        /// The index.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A frame was dropped, and its buffer could not be given back to the device. The call that answers this did nothing else;
    /// [`Stream::stop`] has stopped.
    #[error(
        "{device}: buffer {index} of a frame that was dropped could not be given back to the device ({source}); it can be queued again", device = printable_path(device))]
    Requeue {
        /// The node.
        device: PathBuf,
        /// Index of the buffer, which is the caller's now.
        index: usize,
        /// Why.
        source: Box<Error>,
    },
    /// The driver gives fewer buffers than were asked for.
    #[error("{device} ({driver}) gives {granted} buffers, {asked} are needed", device = printable_path(device))]
    Count {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What was asked.
        asked: usize,
        /// What it gives.
        granted: usize,
    },
    /// Buffers have to be larger than the driver makes them.
    #[error(
        "{device} ({driver}) makes buffers of {given:?} bytes, the plan needs {needed:?}, and VIDIOC_CREATE_BUFS, which makes larger ones, failed: {source}; take memory from another source", device = printable_path(device))]
    Larger {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What it gives for each memory.
        given: Vec<u32>,
        /// What each has to hold.
        needed: Vec<u64>,
        /// What the kernel answered.
        source: Errno,
    },
    /// The plan names another source.
    #[error("{device}: the plan is for {planned}, which has to allocate it", device = printable_path(device))]
    NotPlanned {
        /// The node.
        device: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// What the driver exported is no usable dma-buf.
    #[error("{device} ({driver}): what it exported is unusable: {why}", device = printable_path(device))]
    Unusable {
        /// The node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// What is wrong with it.
        why: String,
    },
}

crate::debug_as_display!(Error);

impl Error {
    /// Returns the device's node and its driver; the latter is empty where it is not known.
    #[must_use]
    pub fn device(&self) -> (&Path, &str) {
        match self {
            Self::Open { device, .. }
            | Self::NotVideo { device, .. }
            | Self::Index { device, .. }
            | Self::Requeue { device, .. }
            | Self::NotPlanned { device, .. } => (device, ""),
            Self::NoQueue { device, driver, .. }
            | Self::Busy { device, driver, .. }
            | Self::Gone { device, driver, .. }
            | Self::Request { device, driver, .. }
            | Self::Format { device, driver, .. }
            | Self::Unsayable { device, driver, .. }
            | Self::Nonsense { device, driver, .. }
            | Self::TooSmall { device, driver, .. }
            | Self::Memories { device, driver, .. }
            | Self::Count { device, driver, .. }
            | Self::NoBuffers { device, driver }
            | Self::Layouts { device, driver, .. }
            | Self::Larger { device, driver, .. }
            | Self::Unusable { device, driver, .. } => (device, driver),
        }
    }
}

fn open_remedy(error: Errno) -> &'static str {
    match error {
        Errno::ACCESS | Errno::PERM => "; the user needs the group `video`",
        Errno::NOENT => "; `v4l2-ctl --list-devices` lists the cameras that are there",
        Errno::BUSY => "; another program has it open for itself",
        _ => "",
    }
}
