//! Encodes the frames of a stream with a V4L2 encoder that reads the camera's own buffers, and writes the bitstream to a file.
//!
//! The encoder's OUTPUT queue is a participant of the plan, so it reads the buffers that the camera writes and the display shows.
//! If the encoder is too slow, frames are missing in the bitstream. They are counted, and nothing else is delayed.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::v4l2::{
    Device, Direction, Error, PixelFormat, Queue, Stream, VideoDevices,
};
use covalent_alloc::buffer::{AccessError, Buffer, CpuAccess};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, ExtentError, FormatModifier, Fourcc};
use covalent_alloc::solve::NoPlan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::file_writer::{FileWriter, WriteError};

/// The number of buffers for the bitstream. It is also the maximum number of frames that are encoded at the same time.
const CODED_BUFFERS: u32 = 2;

/// The size of a bitstream buffer in bytes per pixel. Raw pictures have at most four bytes per pixel.
const CODED_BYTES_PER_PIXEL: u64 = 4;

/// The additional bytes of a bitstream buffer for headers. vicodec requests 44 bytes more than the raw picture has.
const HEADER_BYTES: u64 = 1 << 16;

/// The row length of a bitstream buffer in bytes. The solver plans pictures, so a bitstream buffer is planned as a picture in R8.
const CODED_ROW: u32 = 4096;

/// How long [`Encoder::finish`] waits for the last frames.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why frames cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An ioctl of the encoder's device failed.
    #[error(transparent)]
    Device(#[from] Error),
    /// The machine has no V4L2 encoder.
    #[error(
        "no video device of this machine encodes: {0}; load its driver, or name its node with --encoder"
    )]
    None(String),
    /// The device is not an encoder.
    #[error("{node} ({driver}) does not write a compressed format, so it is not an encoder", node = node.display())]
    NoEncoder {
        /// The path of the encoder's device node.
        node: PathBuf,
        /// The name of the device's driver.
        driver: String,
    },
    /// No plan for the bitstream buffers exists.
    #[error("no buffers can be allocated for the bitstream: {0}")]
    Plan(#[from] NoPlan),
    /// The bitstream buffers cannot be allocated.
    #[error("no buffers can be allocated for the bitstream: {0}")]
    Allocate(#[from] BackendError),
    /// The pictures are too large for a bitstream buffer.
    #[error("no buffers can be allocated for the bitstream: {0}")]
    Size(#[from] ExtentError),
    /// A bitstream buffer cannot be read by the CPU.
    #[error("the bitstream cannot be read: {0}")]
    Access(#[from] AccessError),
    /// The file for the bitstream cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Waiting for the encoder failed.
    #[error("poll of {node} failed: {source}", node = node.display())]
    Poll {
        /// The path of the encoder's device node.
        node: PathBuf,
        /// The error of poll(2).
        source: std::io::Error,
    },
}

/// The report of an encoder.
#[derive(Clone, Debug, Serialize)]
pub struct EncodingReport {
    /// The path of the file with the bitstream.
    file: String,
    /// The path of the encoder's device node.
    encoder: String,
    /// The V4L2 code of the bitstream.
    format: String,
    /// The number of frames in the file. While the stream runs, the last frames may not be written yet.
    frames: u64,
    /// The number of frames that were shown and are not in the file, because the encoder failed to encode them, or because the
    /// encoder or the disk was too slow.
    lost: u64,
    /// The size of the bitstream in bytes.
    bytes: u64,
}

/// An encoder that was opened and whose buffers are not planned yet.
#[derive(Debug)]
pub struct EncoderDevice {
    device: Device,
    raw: Queue,
    format: PixelFormat,
}

impl EncoderDevice {
    /// Opens the encoder at `node`, or the first encoder of the machine.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Device`], [`EncodeError::NoEncoder`]; [`EncodeError::None`] where `node` is `None`.
    pub fn open(node: Option<&Path>) -> Result<Self, EncodeError> {
        if let Some(node) = node {
            return Self::at(node);
        }
        let mut causes = Vec::new();
        for node in VideoDevices::list() {
            match Self::at(&node) {
                Ok(found) => return Ok(found),
                Err(error) => causes.push(error.to_string()),
            }
        }
        if causes.is_empty() {
            causes.push("there is no video device".to_owned());
        }
        Err(EncodeError::None(causes.join("; ")))
    }

    /// Opens the encoder at a device node.
    fn at(node: &Path) -> Result<Self, EncodeError> {
        let device = Device::open(node)?;
        let raw = device.queue(Direction::Output)?;
        let coded = device.queue(Direction::Capture)?;
        let formats = coded.formats()?;
        let format = formats.iter().find(|format| format.is_compressed);
        let Some(format) = format.map(|format| format.pixel_format) else {
            return Err(EncodeError::NoEncoder {
                node: node.to_owned(),
                driver: device.driver().to_owned(),
            });
        };
        Ok(Self {
            device,
            raw,
            format,
        })
    }

    /// Returns the encoder's OUTPUT queue of raw pictures, which is a participant of their plan.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.raw
    }

    /// Starts the encoder and creates the file. The pictures have this size, and were imported into the encoder's queue.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn start(
        &self,
        pictures: Stream,
        extent: Extent,
        path: &Path,
    ) -> Result<Encoder, EncodeError> {
        let writer = FileWriter::create(path)?;
        let buffers = coded_buffers(extent)?;
        let coded = self.device.queue(Direction::Capture)?;
        let mut coded = coded.import_coded(self.format, extent, &buffers)?;
        for index in 0..buffers.len() {
            coded.queue(index)?;
        }
        let mut pictures = pictures;
        coded.start()?;
        pictures.start()?;
        Ok(Encoder {
            pictures,
            coded,
            format: self.format,
            node: self.device.path().to_owned(),
            writer,
            memory: VecDeque::new(),
            unused_memory: Vec::new(),
            queued_pictures: 0,
            lost: 0,
            bytes: 0,
        })
    }
}

/// Plans and allocates the bitstream buffers, which the CPU reads.
fn coded_buffers(extent: Extent) -> Result<Vec<Buffer>, EncodeError> {
    let pixels = u64::from(extent.width()).saturating_mul(extent.height().into());
    let bytes = pixels
        .saturating_mul(CODED_BYTES_PER_PIXEL)
        .saturating_add(HEADER_BYTES);
    // A bitstream has no rows, so the buffer is planned as a picture with one byte per pixel.
    let rows = bytes.div_ceil(CODED_ROW.into()).max(16);
    let extent = Extent::new(CODED_ROW, u32::try_from(rows).unwrap_or(u32::MAX))?;
    let mut processor = Participant::processor(Role::CpuRead);
    let format = FormatSet::from([FormatModifier::linear(Fourcc::R8)]);
    processor.for_each_choice(|own| own.formats = Some(format.clone()));
    let mut collection = BufferCollection::new(extent).with_count(CODED_BUFFERS);
    collection.add(&processor)?;
    let plan = collection.solve().guaranteed()?;
    Ok(collection.allocate(&plan)?)
}

/// A running encoder. Its file descriptor is readable when a frame is encoded.
#[derive(Debug)]
pub struct Encoder {
    pictures: Stream,
    coded: Stream,
    format: PixelFormat,
    node: PathBuf,
    writer: FileWriter,
    /// The memory into which the bitstream of each frame is copied, one for each frame that is being encoded.
    memory: VecDeque<Vec<u8>>,
    /// The memory of frames that the encoder failed to encode. It is used for later frames.
    unused_memory: Vec<Vec<u8>>,
    /// The number of pictures that are queued in the encoder.
    queued_pictures: u32,
    lost: u64,
    bytes: u64,
}

impl AsFd for Encoder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.coded.as_fd()
    }
}

impl Encoder {
    /// Queues the picture in the buffer at `index` in the encoder. Returns whether the encoder reads the buffer now. It returns
    /// `false` and counts a lost frame if the encoder or the disk is too slow.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn encode(&mut self, index: usize) -> Result<bool, EncodeError> {
        let memory = if self.queued_pictures >= CODED_BUFFERS {
            None
        } else if let Some(memory) = self.unused_memory.pop() {
            Some(memory)
        } else {
            self.writer.memory()?
        };
        let Some(memory) = memory else {
            self.lost = self.lost.saturating_add(1);
            return Ok(false);
        };
        self.pictures.queue(index)?;
        self.memory.push_back(memory);
        self.queued_pictures = self.queued_pictures.saturating_add(1);
        Ok(true)
    }

    /// Passes the encoded frames to the file writer. Returns the indices of the buffers that the encoder has finished reading.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn collect(&mut self) -> Result<Vec<usize>, EncodeError> {
        while let Some(packet) = self.coded.next_frame()? {
            if packet.info().is_damaged {
                self.lost = self.lost.saturating_add(1);
                self.unused_memory.extend(self.memory.pop_front());
                continue;
            }
            let length = usize::try_from(packet.info().bytes_used).unwrap_or(0);
            // An encoder can write more than one packet for a picture, or one without a picture, such as a header.
            let mut bytes = self.memory.pop_front().unwrap_or_default();
            bytes.resize(length, 0);
            let mapping = packet.buffer().map()?;
            mapping.access(CpuAccess::Read)?.read(0, 0, &mut bytes)?;
            self.bytes = self.bytes.saturating_add(packet.info().bytes_used.into());
            self.writer.write(bytes)?;
        }
        let mut read = Vec::new();
        while let Some(picture) = self.pictures.dequeue()? {
            self.queued_pictures = self.queued_pictures.saturating_sub(1);
            read.push(picture.index);
        }
        Ok(read)
    }

    /// Waits until the remaining frames are encoded and all frames are in the file. Frames that take longer than two seconds to
    /// encode are lost.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn finish(&mut self) -> Result<(), EncodeError> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        while !self.memory.is_empty() || self.queued_pictures > 0 {
            self.collect()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (self.memory.is_empty() && self.queued_pictures == 0) {
                break;
            }
            let mut fds = [PollFd::new(&self.coded, PollFlags::IN | PollFlags::OUT)];
            let failed = |source: std::io::Error| EncodeError::Poll {
                node: self.node.clone(),
                source,
            };
            let left =
                Timespec::try_from(left).map_err(|error| failed(std::io::Error::other(error)))?;
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        // Frames that the encoder has not returned by the deadline are not in the file.
        let missing = u64::try_from(self.memory.len()).unwrap_or(u64::MAX);
        self.lost = self.lost.saturating_add(missing);
        self.memory.clear();
        Ok(self.writer.finish()?)
    }

    /// Returns the report on the frames that were encoded so far.
    #[must_use]
    pub fn encoded(&self) -> EncodingReport {
        EncodingReport {
            file: self.writer.path().display().to_string(),
            encoder: self.node.display().to_string(),
            format: self.format.to_string(),
            frames: self.writer.frames(),
            lost: self.lost,
            bytes: self.bytes,
        }
    }
}
