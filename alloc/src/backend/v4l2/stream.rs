//! A V4L2 queue together with its buffers, each at a fixed index.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::buffer_states::BufferStates;
use super::frame::{Frame, FrameInfo};
use super::media::{MediaDevice, PipelineReport};
use super::queue::{Direction, Queue};
use super::{Error, sys};
use crate::buffer::Buffer;

/// A V4L2 queue together with its buffers. The fd of the stream polls as readable (capture) or writable (output) when a buffer
/// can be dequeued.
///
/// A caller that reads frames itself calls [`Stream::next_frame`], and the drop of a frame queues its buffer again. A caller that
/// passes buffers to others calls [`Stream::dequeue`], and queues each buffer with [`Stream::queue`] when it has been released.
///
/// Dropping the stream stops the queue and frees the buffers.
#[derive(Debug)]
pub struct Stream {
    inner: Arc<StreamInner>,
}

/// The state that a stream shares with its frames.
#[derive(Debug)]
pub(super) struct StreamInner {
    queue: Queue,
    memory: u32,
    /// The sizeimage of each memory plane.
    sizes_bytes: Vec<u32>,
    buffers: Vec<Buffer>,
    states: BufferStates,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.queue.device().as_fd()
    }
}

impl Stream {
    pub(super) fn new(
        queue: Queue,
        memory: u32,
        sizes_bytes: Vec<u32>,
        buffers: Vec<Buffer>,
    ) -> Self {
        let states = BufferStates::new(buffers.len());
        Self {
            inner: Arc::new(StreamInner {
                queue,
                memory,
                sizes_bytes,
                buffers,
                states,
            }),
        }
    }

    /// Returns the V4L2 queue of the stream.
    #[must_use]
    pub(crate) fn as_queue(&self) -> &Queue {
        &self.inner.queue
    }

    /// Returns the buffers, by index.
    #[must_use]
    pub fn buffers(&self) -> &[Buffer] {
        &self.inner.buffers
    }

    /// Returns the number of buffers that are queued to the device.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.inner.states.queued_count()
    }

    /// Queues a buffer (VIDIOC_QBUF). All other accesses to the buffer must have finished, because V4L2 has no fences.
    ///
    /// # Errors
    /// [`Error::Index`] for an index that does not exist or is queued already; [`Error::Gone`], [`Error::Request`].
    pub fn queue(&mut self, index: usize) -> Result<(), Error> {
        self.queue_used(index, None)
    }

    /// Queues a buffer to a decoder, with the number of bytes of bitstream in it.
    ///
    /// # Errors
    /// The errors of [`Stream::queue`]; [`Error::TooSmall`] if `bytes_used` is larger than the buffer.
    pub fn queue_bytes(&mut self, index: usize, bytes_used: u32) -> Result<(), Error> {
        self.queue_used(index, Some(bytes_used))
    }

    fn queue_used(&mut self, index: usize, bytes_used: Option<u32>) -> Result<(), Error> {
        self.check_requeue_error()?;
        if let Some(why) = self.inner.states.refusal(index) {
            return Err(self.inner.index_error(index, why));
        }
        self.inner.queue_buffer(index, bytes_used)?;
        self.inner.states.record_queued(index);
        Ok(())
    }

    /// Dequeues a frame (VIDIOC_DQBUF); `None` if no frame is ready. The drop of the frame queues its buffer again.
    ///
    /// # Errors
    /// [`Error::Requeue`] if the buffer of a dropped frame could not be queued; the next call dequeues a frame then.
    /// [`Error::Gone`] if the device was removed, [`Error::Request`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(info) = self.dequeue()? else {
            return Ok(None);
        };
        let buffer = self.inner.buffers.get(info.index).ok_or_else(|| {
            self.inner.index_error(
                info.index,
                "was returned by VIDIOC_DQBUF, although it was not queued",
            )
        })?;
        self.inner.states.record_in_frame(info.index);
        Ok(Some(Frame::new(info, buffer.clone(), &self.inner)))
    }

    /// Dequeues a buffer (VIDIOC_DQBUF); `None` if no buffer is ready. The caller owns the buffer until it calls
    /// [`Stream::queue`].
    ///
    /// # Errors
    /// [`Error::Requeue`] as in [`Stream::next_frame`]; [`Error::Gone`] if the device was removed; [`Error::Request`].
    pub fn dequeue(&mut self) -> Result<Option<FrameInfo>, Error> {
        self.check_requeue_error()?;
        let inner = &*self.inner;
        let mut request = sys::Buffer {
            kind: inner.queue.kind(),
            memory: inner.memory,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let multiplanar = inner.queue.is_multiplanar();
        if multiplanar {
            request.length = 8;
        }
        match sys::dequeue_buffer(
            self.as_fd(),
            &mut request,
            multiplanar.then_some(&mut planes),
        ) {
            Ok(()) => {}
            // EPIPE means that the last frame of a decoder was dequeued already.
            Err(Errno::AGAIN | Errno::PIPE) => return Ok(None),
            Err(source) => return Err(inner.failed("VIDIOC_DQBUF", source)),
        }
        let index = usize::try_from(request.index).unwrap_or(usize::MAX);
        if !inner.states.record_dequeued(index) {
            return Err(inner.index_error(
                index,
                "was returned by VIDIOC_DQBUF, although it was not queued",
            ));
        }
        let seconds = u64::try_from(request.seconds).unwrap_or(0);
        let microseconds = u64::try_from(request.microseconds).unwrap_or(0);
        let [first, ..] = planes;
        Ok(Some(FrameInfo {
            index,
            sequence: request.sequence,
            timestamp: Duration::from_secs(seconds)
                .saturating_add(Duration::from_micros(microseconds)),
            is_monotonic: request.flags & sys::BUF_FLAG_TIMESTAMP_MASK
                == sys::BUF_FLAG_TIMESTAMP_MONOTONIC,
            bytes_used: if multiplanar {
                first.bytes_used
            } else {
                request.bytes_used
            },
            is_damaged: request.flags & sys::BUF_FLAG_ERROR != 0,
        }))
    }

    /// Starts the queue (VIDIOC_STREAMON).
    ///
    /// A new stream has no queued buffers. The buffers of a capture queue are queued with [`Stream::queue`] before or after this
    /// call; a frame is ready when the stream polls as readable. A buffer of an output queue can be dequeued when the stream
    /// polls as writable.
    ///
    /// # Errors
    /// [`Error::Requeue`], [`Error::Busy`], [`Error::Gone`], [`Error::Request`]; [`Error::Pipeline`] for a media-controller
    /// camera whose pads are not linked, or have different formats; [`Error::Visible`] for a decoder that writes pictures of
    /// another size than that of cropped buffers, [`Error::OutsideFrame`].
    pub fn start(&mut self) -> Result<(), Error> {
        self.check_requeue_error()?;
        let layout = self.inner.buffers.first().map(Buffer::layout);
        if let Some(layout) = layout.filter(|layout| layout.is_cropped()) {
            self.inner.queue.check_visible(layout)?;
        }
        sys::stream_on(self.as_fd(), self.inner.queue.kind())
            .map_err(|source| self.inner.start_error(source))?;
        self.inner.states.record_streaming();
        Ok(())
    }

    /// Stops the queue (VIDIOC_STREAMOFF). Afterwards the caller owns every buffer, except the buffers of frames that still
    /// exist: the caller owns such a buffer once its frame is dropped.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`]; [`Error::Requeue`] after the queue has stopped.
    pub fn stop(&mut self) -> Result<(), Error> {
        let was_streaming = self.inner.states.block_requeues();
        if let Err(source) = sys::stream_off(self.as_fd(), self.inner.queue.kind()) {
            if was_streaming {
                self.inner.states.record_streaming();
            }
            return Err(self.inner.failed("VIDIOC_STREAMOFF", source));
        }
        self.inner.states.record_streamoff();
        self.check_requeue_error()
    }

    /// Returns the error of a requeue that failed after a frame was dropped, unless an earlier call has returned this error.
    fn check_requeue_error(&self) -> Result<(), Error> {
        self.inner.states.take_requeue_error().map_or(Ok(()), Err)
    }
}

impl StreamInner {
    fn index_error(&self, index: usize, why: &'static str) -> Error {
        Error::Index {
            device: self.queue.device().path().to_owned(),
            index,
            why,
        }
    }

    fn failed(&self, operation: &'static str, source: Errno) -> Error {
        self.queue.device().failed(operation, source)
    }

    /// Makes the error of VIDIOC_STREAMON. For a media-controller camera it names the pad that fails.
    fn start_error(&self, source: Errno) -> Error {
        const OPERATION: &str = "VIDIOC_STREAMON";
        let device = self.queue.device();
        if !matches!(source, Errno::PIPE | Errno::NOLINK) {
            return self.failed(OPERATION, source);
        }
        match MediaDevice::report_of(device) {
            Ok(Some(PipelineReport {
                media,
                fault: Some(fault),
                ..
            })) => Error::Pipeline {
                device: device.path().to_owned(),
                driver: device.driver().to_owned(),
                operation: OPERATION,
                source: source.into(),
                media,
                fault: Box::new(fault),
            },
            Ok(_) => self.failed(OPERATION, source),
            Err(error) => {
                tracing::warn!(%error, "the pad that fails is not known");
                self.failed(OPERATION, source)
            }
        }
    }

    /// Queues the buffer of a dropped frame, if the queue streams.
    pub(super) fn requeue(&self, index: usize) {
        if !self.states.begin_requeue(index) {
            return;
        }
        let queued = self.queue_buffer(index, None);
        let result = queued.map_err(|source| Error::Requeue {
            device: self.queue.device().path().to_owned(),
            index,
            source: Box::new(source),
        });
        self.states.finish_requeue(index, result);
    }

    /// Calls VIDIOC_QBUF for a buffer that is not queued. The caller records the new state.
    fn queue_buffer(&self, index: usize, bytes_used: Option<u32>) -> Result<(), Error> {
        let index_error = |why| self.index_error(index, why);
        let buffer = self
            .buffers
            .get(index)
            .ok_or_else(|| index_error("does not exist in this stream"))?;
        let mut request = sys::Buffer {
            index: u32::try_from(index)
                .map_err(|_| index_error("does not exist in this stream"))?,
            kind: self.queue.kind(),
            memory: self.memory,
            field: sys::FIELD_NONE,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let count = buffer.dmabuf_count().min(planes.len());
        for (memory, plane) in planes.iter_mut().take(count).enumerate() {
            // `length` is the size of the dma-buf as the kernel reports it. With a larger length the kernel would leak the
            // dma-buf.
            let bytes = buffer
                .layout()
                .memory_sizes()
                .get(memory)
                .copied()
                .unwrap_or(0);
            plane.length = u32::try_from(bytes).map_err(|_| {
                index_error("has a dma-buf of 4 GiB or more, which V4L2 cannot queue")
            })?;
            // videobuf2 checks that `bytesused` is at most sizeimage, and not the length of the dma-buf, which can be larger.
            let most = self
                .sizes_bytes
                .get(memory)
                .map_or(plane.length, |size| plane.length.min(*size));
            plane.bytes_used = match (self.queue.direction(), bytes_used) {
                (Direction::Output, None) => most,
                (Direction::Output, Some(used)) if used > most => {
                    return Err(Error::TooSmall {
                        device: self.queue.device().path().to_owned(),
                        driver: self.queue.device().driver().to_owned(),
                        memory,
                        identity: buffer.identity(),
                        needed_bytes: used.into(),
                        found_bytes: most.into(),
                    });
                }
                (Direction::Output, Some(used)) => used,
                (Direction::Capture, _) => 0,
            };
            plane.memory = buffer
                .dmabuf_fd(memory)
                .map_or_else(sys::Memory::default, sys::Memory::of_fd);
        }
        let multiplanar = self.queue.is_multiplanar();
        if multiplanar {
            request.length = u32::try_from(count).unwrap_or(0);
        } else {
            let [first, ..] = planes;
            (request.length, request.bytes_used, request.union) =
                (first.length, first.bytes_used, first.memory);
        }
        if self.memory == sys::MEMORY_MMAP {
            // An MMAP buffer is identified by its index, so no fd is passed.
            request.union = sys::Memory::default();
            planes
                .iter_mut()
                .for_each(|plane| plane.memory = sys::Memory::default());
        }
        sys::queue_buffer(
            self.queue.device().as_fd(),
            &mut request,
            multiplanar.then_some(&mut planes),
        )
        .map_err(|source| self.failed("VIDIOC_QBUF", source))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // VIDIOC_STREAMOFF fails if the device was unplugged. The kernel has released the buffers then.
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "VIDIOC_STREAMOFF failed when a stream was dropped");
        }
        while let Some(error) = self.inner.states.take_requeue_error() {
            tracing::debug!(%error, "the buffer of a dropped frame could not be queued before the stream was dropped");
        }
        if let Err(error) = self.inner.queue.free_buffers(self.inner.memory) {
            tracing::debug!(%error, "VIDIOC_REQBUFS failed to free the buffers of a stream");
        }
    }
}
