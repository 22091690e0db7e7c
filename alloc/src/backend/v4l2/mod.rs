//! V4L2 queues of cameras, video outputs, codecs and converters, single-planar and multi-planar, as importers and as sources.
//!
//! Both queues of a memory-to-memory device belong to one file description, so open the device once and get both queues from it.
//! Each `open` makes an independent context, so another program that uses the device does not make these queues busy.
//!
//! Three properties of the kernel shape this module:
//! - VIDIOC_QBUF with a length larger than the dma-buf fails with EFAULT and leaks the dma-buf. So the length is always the size
//!   of the dma-buf as the kernel reports it, and a buffer that is smaller than sizeimage is refused before VIDIOC_QBUF.
//! - When the dma-buf at an index changes, videobuf2 detaches the old dma-buf and attaches the new one. So a buffer keeps its
//!   index during the stream.
//! - No V4L2 capability tells whether a queue needs contiguous memory. It follows from the exporter of the queue's own buffers,
//!   which fdinfo names: a queue with `videobuf2_dma_contig` allocates and imports only contiguous memory.

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
pub use colours::{Colours, Encoding, TransferFunction};
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
        /// The device node of the video device.
        device: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The file is not a V4L2 device.
    #[error(
        "{device} is not a V4L2 device ({source}); `v4l2-ctl --list-devices` lists the devices", device = printable_path(device))]
    NotVideo {
        /// The device node of the video device.
        device: PathBuf,
        /// The error of VIDIOC_QUERYCAP or open.
        source: SystemError,
    },
    /// The device has no queue of the requested direction with streaming I/O.
    #[error(
        "{device} ({driver}) has no {direction} queue with streaming I/O; its capabilities are 0x{capabilities:08x}", device = printable_path(device))]
    NoQueue {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The requested direction.
        direction: Direction,
        /// The capabilities of the device node, as `V4L2_CAP_` bits.
        capabilities: u32,
    },
    /// Another program, or another file description of this program, uses the queue.
    #[error(
        "{device} ({driver}) is in use: {operation} returned EBUSY; end the program that streams from it (`fuser -v {device}` names it)", device = printable_path(device))]
    Busy {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that returned EBUSY.
        operation: &'static str,
    },
    /// The device was removed.
    #[error("{device} ({driver}) was removed: {operation} returned {source}; plug the device in again, or check its cable", device = printable_path(device))]
    Gone {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that returned the error.
        operation: &'static str,
        /// The error of the kernel: ENODEV or ENXIO.
        source: SystemError,
    },
    /// The driver has stopped the stream after an error. The caller can resume it with [`Stream::stop`] and [`Stream::start`].
    #[error("{device} ({driver}) has stopped the stream: {operation} returned {source}; the video signal may be lost, or the device failed (dmesg may say more)", device = printable_path(device))]
    StreamError {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that returned EIO.
        operation: &'static str,
        /// The error of the kernel, which is EIO.
        source: SystemError,
    },
    /// An ioctl failed.
    #[error("{device} ({driver}): {operation} failed: {source}", device = printable_path(device))]
    Request {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that failed.
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
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The name of the control, as [`Control::key`].
        control: String,
        /// The value that was requested for the control.
        value: i32,
        /// The reason, and which values the control accepts.
        why: String,
    },
    /// The driver set another format than the requested format.
    #[error("{device} ({driver}): VIDIOC_S_FMT was called with {requested}, and the driver set {set}", device = printable_path(device))]
    Format {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The requested format.
        requested: String,
        /// The format that the driver set.
        set: String,
    },
    /// V4L2 has no pixel format for the layout.
    #[error("{device} ({driver}): V4L2 has no pixel format code for {format}, or cannot express the size {extent}, so the format of the queue cannot be set", device = printable_path(device))]
    NoPixelFormat {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The size of the layout.
        extent: Extent,
        /// The format of the layout.
        format: String,
    },
    /// The driver returned a format whose strides and sizes are inconsistent.
    #[error("{device} ({driver}): {operation} returned an invalid layout: {source}", device = printable_path(device))]
    InvalidLayout {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that returned the format.
        operation: &'static str,
        /// Why the strides and sizes of the format are inconsistent.
        source: LayoutError,
    },
    /// The driver returned a visible rectangle that exceeds the frame.
    #[error("{device} ({driver}): {operation} returned a visible rectangle of {rectangle}, which is not inside of the frame of {frame}; this is a fault of the driver", device = printable_path(device))]
    OutsideFrame {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The ioctl that returned the rectangle.
        operation: &'static str,
        /// The rectangle that the driver returned: its size, first column and first row.
        rectangle: String,
        /// The size of the queue's frames.
        frame: Extent,
    },
    /// The visible rectangle of the queue differs from that of the buffers.
    #[error("{device} ({driver}): the visible rectangle of the buffers is {wanted} in a frame of {frame}, and that of the queue is {found}; allocate buffers for pictures of {size}", device = printable_path(device), size = found.extent())]
    Visible {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
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
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
    },
    /// A buffer has another layout than the first buffer.
    #[error(
        "{device} ({driver}): buffer {index} ({identity}) is {found}, and buffer 0 is {expected}; a queue streams with one layout, so allocate all buffers by one plan", device = printable_path(device))]
    Layouts {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// Index of the buffer in the slice that was passed.
        index: usize,
        /// The identity of the buffer.
        identity: BufferIdentity,
        /// The layout of the first buffer.
        expected: String,
        /// The layout of this buffer.
        found: String,
    },
    /// A buffer is smaller than sizeimage.
    #[error(
        "{device} ({driver}) needs {needed_bytes} bytes in dma-buf {memory} of each buffer, and that of the buffer with {identity} has {found_bytes}", device = printable_path(device))]
    TooSmall {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The index of the dma-buf in the buffer.
        memory: usize,
        /// The identity of the buffer.
        identity: BufferIdentity,
        /// The sizeimage of the format, in bytes.
        needed_bytes: u64,
        /// The size of the dma-buf, in bytes.
        found_bytes: u64,
    },
    /// A buffer has more dma-bufs than the V4L2 format has memory planes.
    #[error(
        "{device} ({driver}): a buffer ({identity}) has {found} dma-bufs, and the format of the queue has {planes} memory planes; allocate a buffer with all planes in one dma-buf", device = printable_path(device))]
    TooManyDmabufs {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The identity of the buffer.
        identity: BufferIdentity,
        /// The number of memory planes of the format.
        planes: usize,
        /// The number of dma-bufs of the buffer.
        found: usize,
    },
    /// The stream has no buffer with this index, or the buffer cannot be queued now.
    #[error("{device}: buffer {index} {why}", device = printable_path(device))]
    Index {
        /// The device node of the video device.
        device: PathBuf,
        /// The index that was passed.
        index: usize,
        /// Why the buffer with this index cannot be queued.
        why: &'static str,
    },
    /// The buffer of a frame that was dropped earlier could not be queued. The call that returns this error had no other effect,
    /// except that [`Stream::stop`] has stopped the stream.
    #[error(
        "{device}: buffer {index} of a dropped frame could not be queued ({source}); the caller can queue the buffer again", device = printable_path(device))]
    Requeue {
        /// The device node of the video device.
        device: PathBuf,
        /// The index of the buffer, which the caller now owns and can queue.
        index: usize,
        /// The error of VIDIOC_QBUF.
        source: Box<Error>,
    },
    /// The driver allocated fewer buffers than requested.
    #[error("{device} ({driver}) allocates {granted} buffers, and {requested} are needed", device = printable_path(device))]
    Count {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The requested number of buffers.
        requested: usize,
        /// The number of buffers that the driver allocated.
        granted: usize,
    },
    /// The queue's pool has too little free memory for all buffers.
    #[error("{device} ({driver}): {fitting} of {count} buffers fit in {pool} now, and none stays allocated; free buffers of other programs, or give the region more memory, as with cma= on the kernel's command line", device = printable_path(device))]
    Pool {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The name of the memory pool from which the queue allocates.
        pool: String,
        /// The number of buffers that the driver allocated; 0 if the ioctl failed with ENOMEM.
        fitting: usize,
        /// The number of buffers of the plan.
        count: usize,
    },
    /// The driver cannot allocate buffers as large as the plan needs.
    #[error(
        "{device} ({driver}) allocates buffers of {size_image:?} bytes, the plan needs {needed:?}, and VIDIOC_CREATE_BUFS for larger ones failed: {source}; allocate from another source", device = printable_path(device))]
    CreateBuffers {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// The sizeimage of each memory plane, in bytes.
        size_image: Vec<u32>,
        /// The size of each dma-buf of the plan, in bytes.
        needed: Vec<u64>,
        /// The error of VIDIOC_CREATE_BUFS.
        source: SystemError,
    },
    /// The plan is for another source than this queue's memory.
    #[error("{device} cannot allocate this plan, which is for the source {planned}; allocate from that source", device = printable_path(device))]
    NotPlanned {
        /// The device node of the video device.
        device: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// The exported dma-buf cannot be used for the plan.
    #[error("{device} ({driver}): the exported buffer cannot be used: {why}", device = printable_path(device))]
    Unusable {
        /// The device node of the video device.
        device: PathBuf,
        /// The kernel driver of the device.
        driver: String,
        /// Why the dma-buf cannot be used.
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
