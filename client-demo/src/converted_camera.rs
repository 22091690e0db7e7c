//! A camera whose frames a thread converts to pictures. To its user it is a stream whose buffers are the pictures.
//!
//! The camera writes to buffers of its own queue. The thread reads a frame there, and writes the picture to a buffer of the plan
//! that the display shares. The event loop is woken when the camera has a frame and when the thread has a picture; it waits for
//! neither.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use covalent_alloc::backend::v4l2::{Error, FrameInfo, PixelFormat, Queue, Stream};
use covalent_alloc::backend::{BackendError, BackendErrorKind};
use covalent_alloc::buffer::{AccessError, Buffer, Mapping};
use covalent_alloc::model::Extent;
use rustix::io::Errno;

use crate::conversion_queue::ConversionQueue;
use crate::frame_converter::{ConversionKind, Converted, FrameConverter};
use crate::poller::{Poller, Trigger};
use crate::worker::{Worker, WorkerError};

/// The number of the camera's buffers: one is converted, one waits, and the camera fills the others in turn.
const CAMERA_BUFFERS: usize = 4;

/// Why a frame cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The camera failed.
    #[error(transparent)]
    Camera(#[from] Error),
    /// A buffer cannot be mapped, read or written.
    #[error("a frame cannot be converted: {0}")]
    Access(#[from] AccessError),
    /// The thread cannot be started, or has failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The file descriptors of the camera and the thread cannot be watched.
    #[error("{operation} failed: {source}")]
    Poll {
        /// The system call.
        operation: &'static str,
        /// Its error.
        source: Errno,
    },
}

impl ConversionError {
    /// Returns this error as the error of an import into the device at `queue`.
    fn into_backend_error(self, queue: &Queue) -> BackendError {
        match self {
            Self::Camera(error) => error.into(),
            other => {
                let device = queue.device();
                BackendError::new(
                    device.path().display().to_string(),
                    device.driver(),
                    "preparing the conversion of frames",
                    BackendErrorKind::Exhausted,
                    other,
                )
            }
        }
    }
}

/// A frame that the thread converts.
#[derive(Debug)]
struct Job {
    buffer: usize,
    bytes_used: u32,
    picture: usize,
}

/// A camera with the thread that converts its frames.
#[derive(Debug)]
pub struct ConvertedCamera {
    // The thread has mappings of the camera's buffers, so it ends before the stream is dropped.
    worker: Worker<Job, Result<Converted, AccessError>>,
    queue: ConversionQueue<FrameInfo>,
    stream: Stream,
    poller: Poller,
    has_warned: bool,
    /// When the camera delivered its last frame.
    last_frame: Option<Instant>,
}

/// The file descriptor is readable when the camera has a frame or the thread has a picture.
impl AsFd for ConvertedCamera {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl ConvertedCamera {
    /// Sets the camera's queue to `pixel_format`, allocates its buffers, and starts the thread. `pictures` are the buffers in
    /// XRGB8888 into which the frames are converted; a frame has the size of their visible part.
    ///
    /// # Errors
    ///
    /// The error of the camera, of the mapping of a buffer, or of the start of the thread.
    pub fn new(
        queue: &Queue,
        pixel_format: PixelFormat,
        kind: ConversionKind,
        extent: Extent,
        pictures: &[Buffer],
    ) -> Result<Self, BackendError> {
        let create = || -> Result<Self, ConversionError> {
            let (stream, format) = queue.allocate_for_cpu(pixel_format, extent, CAMERA_BUFFERS)?;
            let map = |buffers: &[Buffer]| -> Result<Vec<Mapping>, AccessError> {
                buffers.iter().map(Buffer::map).collect()
            };
            let (frames, targets) = (map(stream.buffers())?, map(pictures)?);
            let mut converter = FrameConverter::new(kind, &format);
            let worker = Worker::start("convert frames", move |job: Job| {
                match (frames.get(job.buffer), targets.get(job.picture)) {
                    (Some(from), Some(to)) => converter.convert(from, job.bytes_used, to),
                    _ => Ok(Converted::Damaged("its buffer does not exist".to_owned())),
                }
            })?;
            let failed = |operation| move |source| ConversionError::Poll { operation, source };
            let mut poller = Poller::new().map_err(failed("epoll_create"))?;
            for fd in [stream.as_fd(), worker.as_fd()] {
                poller
                    .add(fd, Trigger::Readable)
                    .map_err(failed("epoll_ctl"))?;
            }
            let mut conversions = ConversionQueue::default();
            (0..pictures.len()).for_each(|picture| conversions.give_back(picture));
            Ok(Self {
                worker,
                queue: conversions,
                stream,
                poller,
                has_warned: false,
                last_frame: None,
            })
        };
        create().map_err(|error| error.into_backend_error(queue))
    }

    /// Queues the camera's buffers and starts the stream.
    ///
    /// # Errors
    ///
    /// The error of the camera.
    pub fn start(&mut self) -> Result<(), ConversionError> {
        for index in 0..self.stream.buffers().len() {
            self.stream.queue(index)?;
        }
        Ok(self.stream.start()?)
    }

    /// Returns when the camera delivered its last frame, including frames that cannot be shown; `None` before the first.
    #[must_use]
    pub fn last_frame(&self) -> Option<Instant> {
        self.last_frame
    }

    /// Takes a picture; `None` if none is ready. Its [`FrameInfo`] is that of the camera's frame, with the index of the picture. Its
    /// `bytes_used` is 0 for a frame that was short, and its `is_damaged` is set for one that could not be converted. The second
    /// value is the number of frames that were lost since the last picture, because the thread was too slow.
    ///
    /// # Errors
    ///
    /// [`ConversionError`].
    pub fn dequeue(&mut self) -> Result<Option<(FrameInfo, u32)>, ConversionError> {
        // A replaced frame's buffer is queued again at once, so a fast camera would never let this loop end without a limit.
        for _ in 0..CAMERA_BUFFERS {
            let Some(frame) = self.stream.dequeue()? else {
                break;
            };
            self.last_frame = Some(Instant::now());
            let unused = if frame.is_damaged {
                self.queue.lose();
                Some(frame)
            } else {
                self.queue.offer(frame)
            };
            if let Some(unused) = unused {
                self.stream.queue(unused.index)?;
            }
        }
        let result = self.worker.take_result()?;
        let picture = match result {
            Some(result) => self.finish(result?)?,
            None => None,
        };
        self.begin()?;
        Ok(picture)
    }

    /// Takes a picture back that the display does not read any more.
    ///
    /// # Errors
    ///
    /// [`ConversionError::Worker`].
    pub fn give_back(&mut self, picture: usize) -> Result<(), ConversionError> {
        self.queue.give_back(picture);
        self.begin()
    }

    /// Returns the number of buffers that are queued in the camera; 0 while no picture is there for its frames, so that no frame is
    /// expected of it.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        if self.queue.has_picture() {
            self.stream.queued_count()
        } else {
            0
        }
    }

    /// Passes the next frame to the thread.
    fn begin(&mut self) -> Result<(), ConversionError> {
        if let Some(conversion) = self.queue.begin_next() {
            self.worker.begin(Job {
                buffer: conversion.frame.index,
                bytes_used: conversion.frame.bytes_used,
                picture: conversion.picture,
            })?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        converted: Converted,
    ) -> Result<Option<(FrameInfo, u32)>, ConversionError> {
        let Some(conversion) = self.queue.finish() else {
            return Ok(None);
        };
        let mut info = conversion.frame;
        self.stream.queue(info.index)?;
        info.index = conversion.picture;
        // A picture is as long as its layout says.
        info.bytes_used = u32::MAX;
        match converted {
            Converted::Complete => {}
            Converted::Short => info.bytes_used = 0,
            Converted::Damaged(why) => {
                info.is_damaged = true;
                let sequence = info.sequence;
                if self.has_warned {
                    tracing::debug!(sequence, %why, "a frame cannot be shown");
                } else {
                    tracing::warn!(
                        "frame {sequence} cannot be shown: {why}; later frames of this kind are only counted"
                    );
                    self.has_warned = true;
                }
            }
        }
        Ok(Some((info, conversion.lost)))
    }
}
