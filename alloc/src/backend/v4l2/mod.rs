//! V4L2 queues of cameras, video outputs, codecs and converters, single-planar and multi-planar, as importers and as sources.
//!
//! A memory-to-memory device has its two queues on one file description: open it once, and get both queues from it. Each further
//! open is an independent context, so other programs cannot make it busy.
//!
//! Three properties of the kernel shape this module:
//! - VIDIOC_QBUF with a length larger than the dma-buf fails with EFAULT and leaks the dma-buf. So the length is always the
//!   size that the kernel reports for the dma-buf, and a format with a larger sizeimage is refused before VIDIOC_QBUF.
//! - videobuf2 attaches a buffer again when the fd at an index changes. So a buffer keeps its index during the stream.
//! - No capability tells whether a queue needs contiguous memory. The exporter of the queue's own buffers does, which fdinfo
//!   names: `videobuf2_dma_contig` allocates and imports contiguous memory.

mod allocate;
mod backend;
mod buffer_states;
mod coded;
mod colours;
mod control;
mod copier;
mod device;
mod frame;
mod import;
#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
mod layout;
mod media;
mod member;
mod negotiate;
mod participant;
mod queue;
mod queue_memory;
mod range;
mod rate;
mod stream;
mod strides;
mod sys;
mod visible;

pub use backend::VideoDevices;
pub use colours::{Colours, Encoding};
pub use control::{Control, ControlKind, MenuItem};
pub use covalent_machine::v4l2::{Disjoint, PixelFormat};
pub use device::Device;
pub use frame::{Frame, FrameInfo};
pub use media::{
    BusCode, BusFormat, MediaDevice, MediaError, NodeFormat, PadName, PipelineChange,
    PipelineFault, PipelineReport, PipelineRequest, TopologyError,
};
pub use negotiate::NegotiatedFormat;
pub use queue::{Direction, FormatDescription, FrameSizes, Queue};
pub use queue_memory::QueueMemory;
pub use rate::{FrameRate, FrameRateError};
pub use stream::Stream;

use crate::SystemError;
use crate::text::printable_path;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::buffer::BufferIdentity;
use crate::model::{Extent, LayoutError, Rect};

/// Why a V4L2 operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not exist, or may not be opened.
    #[error("{device} cannot be opened: {source}{}", open_remedy(*source), device = printable_path(device))]
    Open {
        /// The device node.
        device: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The file is not a V4L2 device.
    #[error(
        "{device} is not a V4L2 device ({source}); `v4l2-ctl --list-devices` lists the devices", device = printable_path(device))]
    NotVideo {
        /// The device node.
        device: PathBuf,
        /// The error of VIDIOC_QUERYCAP or open.
        source: SystemError,
    },
    /// The device has no streaming queue of that direction.
    #[error(
        "{device} ({driver}) has no {direction} queue with streaming I/O; its capabilities are 0x{capabilities:08x}", device = printable_path(device))]
    NoQueue {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The requested direction.
        direction: Direction,
        /// Its capabilities, as `V4L2_CAP_` bits.
        capabilities: u32,
    },
    /// Another program, or another part of this program, uses the queue.
    #[error(
        "{device} ({driver}) is in use: {operation} returned EBUSY; end the program that streams from it (`fuser -v {device}` names it)", device = printable_path(device))]
    Busy {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
    },
    /// The device was removed.
    #[error("{device} ({driver}) is gone: {operation} returned {source}; was it unplugged?", device = printable_path(device))]
    Gone {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// ENODEV or ENXIO.
        source: SystemError,
    },
    /// The driver has stopped the stream. It goes on when it is stopped and started again.
    #[error("{device} ({driver}) has stopped the stream: {operation} returned {source}; its signal or cable may be lost, or the device failed (dmesg may say more)", device = printable_path(device))]
    StreamError {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// EIO.
        source: SystemError,
    },
    /// An ioctl failed.
    #[error("{device} ({driver}): {operation} failed: {source}", device = printable_path(device))]
    Request {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The pipeline of a media-controller camera cannot stream: a pad is not linked, or two linked pads have different formats.
    #[error("{device} ({driver}): {operation} failed ({source}), because {fault}; run `covalent-camera --setup-links --device {device}`{}", command(fault, media), device = printable_path(device))]
    Pipeline {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// EPIPE or ENOLINK.
        source: SystemError,
        /// The media device.
        media: PathBuf,
        /// The first fault of the pipeline.
        fault: Box<PipelineFault>,
    },
    /// A control cannot have this value.
    #[error("{device} ({driver}): the control {control} cannot be set to {value}: {why}", device = printable_path(device))]
    Control {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The name of the control, as [`Control::key`].
        control: String,
        /// The value.
        value: i32,
        /// The reason, and which values it can have.
        why: String,
    },
    /// The driver set another format than the requested one.
    #[error("{device} ({driver}): VIDIOC_S_FMT was called with {requested}, and the driver set {set}", device = printable_path(device))]
    Format {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The requested format.
        requested: String,
        /// The format that the driver set.
        set: String,
    },
    /// V4L2 has no pixel format for the layout.
    #[error("{device} ({driver}): V4L2 has no pixel format code for {format}, or no size {extent}, so the queue cannot be set to it", device = printable_path(device))]
    NoPixelFormat {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The size.
        extent: Extent,
        /// The format.
        format: String,
    },
    /// The driver returned an inconsistent format.
    #[error("{device} ({driver}): {operation} returned an invalid layout: {source}", device = printable_path(device))]
    InvalidLayout {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// The inconsistency.
        source: LayoutError,
    },
    /// The driver returned a visible rectangle that is not inside of the frame.
    #[error("{device} ({driver}): {operation} returned a visible rectangle of {rectangle}, which is not inside of the frame of {frame}; this is a fault of the driver", device = printable_path(device))]
    OutsideFrame {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The ioctl.
        operation: &'static str,
        /// The size and the first column and row that the driver returned.
        rectangle: String,
        /// The size of the frames.
        frame: Extent,
    },
    /// The driver has another visible rectangle than the buffers.
    #[error("{device} ({driver}): the picture of the buffers is {wanted} of {frame}, and that of the queue is {found}; allocate buffers for pictures of {size}", device = printable_path(device), size = found.extent())]
    Visible {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The size of the frames.
        frame: Extent,
        /// The visible rectangle of the buffers.
        wanted: Rect,
        /// The visible rectangle of the queue.
        found: Rect,
    },
    /// No buffer was passed for the stream.
    #[error(
        "{device} ({driver}) got no buffers to stream with; a stream needs at least one", device = printable_path(device))]
    NoBuffers {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
    },
    /// A buffer has another layout than the first buffer.
    #[error(
        "{device} ({driver}): buffer {index} ({identity}) is {found}, and buffer 0 is {expected}; a queue streams with one layout, so allocate all buffers by one plan", device = printable_path(device))]
    Layouts {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// Index of the buffer in the slice that was passed.
        index: usize,
        /// The buffer.
        identity: BufferIdentity,
        /// The layout of the first buffer.
        expected: String,
        /// The layout of this buffer.
        found: String,
    },
    /// A buffer is smaller than sizeimage.
    #[error(
        "{device} ({driver}) needs {needed_bytes} bytes in memory {memory}, and the buffer with {identity} has {found_bytes}", device = printable_path(device))]
    TooSmall {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// Index of the dma-buf.
        memory: usize,
        /// The buffer.
        identity: BufferIdentity,
        /// The sizeimage of the format.
        needed_bytes: u64,
        /// The size of the dma-buf.
        found_bytes: u64,
    },
    /// A buffer has more dma-bufs than the format has planes.
    #[error(
        "{device} ({driver}): a buffer ({identity}) has {found} dma-bufs, and with this format the queue takes {taken}; allocate a buffer with all planes in one dma-buf", device = printable_path(device))]
    TooManyDmabufs {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The buffer.
        identity: BufferIdentity,
        /// The number of dma-bufs that the format takes.
        taken: usize,
        /// The number of dma-bufs of the buffer.
        found: usize,
    },
    /// The stream has no buffer with this index, or the buffer cannot be queued now.
    #[error("{device}: buffer {index} {why}", device = printable_path(device))]
    Index {
        /// The device node.
        device: PathBuf,
        /// The index.
        index: usize,
        /// The reason.
        why: &'static str,
    },
    /// The buffer of a dropped frame could not be queued. The call that returns this error had no other effect, except that
    /// [`Stream::stop`] has stopped the stream.
    #[error(
        "{device}: buffer {index} of a dropped frame could not be queued ({source}); the caller can queue it again", device = printable_path(device))]
    Requeue {
        /// The device node.
        device: PathBuf,
        /// Index of the buffer, which the caller owns now.
        index: usize,
        /// The error of VIDIOC_QBUF.
        source: Box<Error>,
    },
    /// The driver allocated fewer buffers than requested.
    #[error("{device} ({driver}) allocates {granted} buffers, and {requested} are needed", device = printable_path(device))]
    Count {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The requested number.
        requested: usize,
        /// The number that the driver allocates.
        granted: usize,
    },
    /// The queue's pool has too little free memory for all buffers.
    #[error("{device} ({driver}): {fitting} of {count} buffers fit in {pool} now, and none stays allocated; free buffers of others, or give the region more memory, as with cma= on the kernel's command line", device = printable_path(device))]
    Pool {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The pool's name.
        pool: String,
        /// The number of buffers that the driver allocated; 0 if it cannot work with so few.
        fitting: usize,
        /// The number of buffers of the plan.
        count: usize,
    },
    /// The driver cannot allocate buffers as large as the plan needs.
    #[error(
        "{device} ({driver}) allocates buffers of {size_image:?} bytes, the plan needs {needed:?}, and VIDIOC_CREATE_BUFS for larger ones failed: {source}; allocate from another source", device = printable_path(device))]
    CreateBuffers {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The sizeimage of each plane.
        size_image: Vec<u32>,
        /// The size that the plan needs for each dma-buf.
        needed: Vec<u64>,
        /// The error of VIDIOC_CREATE_BUFS.
        source: SystemError,
    },
    /// The plan names another source.
    #[error("{device}: the plan is for {planned}, which has to allocate it", device = printable_path(device))]
    NotPlanned {
        /// The device node.
        device: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// The exported dma-buf cannot be used for the plan.
    #[error("{device} ({driver}): the exported buffer cannot be used: {why}", device = printable_path(device))]
    Unusable {
        /// The device node.
        device: PathBuf,
        /// Its driver.
        driver: String,
        /// The reason.
        why: String,
    },
}

crate::debug_as_display!(Error);

impl Error {
    /// Returns the device node and the driver; the driver is empty if it is not known.
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
            | Self::StreamError { device, driver, .. }
            | Self::Request { device, driver, .. }
            | Self::Control { device, driver, .. }
            | Self::Format { device, driver, .. }
            | Self::NoPixelFormat { device, driver, .. }
            | Self::InvalidLayout { device, driver, .. }
            | Self::OutsideFrame { device, driver, .. }
            | Self::Visible { device, driver, .. }
            | Self::TooSmall { device, driver, .. }
            | Self::TooManyDmabufs { device, driver, .. }
            | Self::Count { device, driver, .. }
            | Self::Pipeline { device, driver, .. }
            | Self::Pool { device, driver, .. }
            | Self::NoBuffers { device, driver }
            | Self::Layouts { device, driver, .. }
            | Self::CreateBuffers { device, driver, .. }
            | Self::Unusable { device, driver, .. } => (device, driver),
        }
    }
}

/// Returns the part of a message that has the command line for one fault.
fn command(fault: &PipelineFault, media: &Path) -> String {
    let command = fault.command(media);
    command.map_or_else(String::new, |command| format!(", or `{command}`"))
}

fn open_remedy(error: SystemError) -> &'static str {
    match error.errno() {
        Errno::ACCESS | Errno::PERM => "; add the user to the group `video`",
        Errno::NOENT => "; `v4l2-ctl --list-devices` lists the devices",
        Errno::BUSY => "; another program has it open exclusively",
        _ => "",
    }
}
