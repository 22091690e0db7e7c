//! A queue that streams, with buffers that keep their index.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::frame::{Frame, FrameInfo};
use super::queue::{Direction, Queue};
use super::slots::Slots;
use super::{Error, sys};
use crate::buffer::Buffer;

/// A queue with its buffers. Readable (a camera) or writable (an output) when a buffer is done.
///
/// A caller that looks at pictures takes them as frames ([`Stream::next_frame`]), which go back by themselves. One that gives a
/// buffer away until others release it takes the index ([`Stream::dequeue`]) and queues that ([`Stream::queue`]).
///
/// On drop the device stops and lets go of every buffer.
#[derive(Debug)]
pub struct Stream {
    lender: Arc<Lender>,
}

/// What a stream has in common with its frames.
#[derive(Debug)]
pub(super) struct Lender {
    queue: Queue,
    memory: u32,
    /// What the driver said that a picture takes, a number a memory.
    sizes_bytes: Vec<u32>,
    buffers: Vec<Buffer>,
    slots: Slots,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lender.queue.device().as_fd()
    }
}

impl Stream {
    pub(super) fn new(
        queue: Queue,
        memory: u32,
        sizes_bytes: Vec<u32>,
        buffers: Vec<Buffer>,
    ) -> Self {
        let slots = Slots::new(buffers.len());
        Self {
            lender: Arc::new(Lender {
                queue,
                memory,
                sizes_bytes,
                buffers,
                slots,
            }),
        }
    }

    /// The queue that streams.
    #[must_use]
    pub(crate) fn queue_of(&self) -> &Queue {
        &self.lender.queue
    }

    /// The buffers, by index.
    #[must_use]
    pub fn buffers(&self) -> &[Buffer] {
        &self.lender.buffers
    }

    /// How many buffers the device has.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.lender.slots.with_device()
    }

    /// Gives a buffer to the device. The caller has waited for everybody else to be done with it.
    ///
    /// # Errors
    /// [`Error::Index`] for an index that is none or is with the device already; [`Error::Gone`], [`Error::Request`].
    pub fn queue(&mut self, index: usize) -> Result<(), Error> {
        self.queue_used(index, None)
    }

    /// Gives a buffer to a decoder, with the bytes that are in it.
    ///
    /// # Errors
    /// As [`Stream::queue`]; [`Error::TooSmall`] for more bytes than it has.
    pub fn queue_bytes(&mut self, index: usize, bytes_used: u32) -> Result<(), Error> {
        self.queue_used(index, Some(bytes_used))
    }

    fn queue_used(&mut self, index: usize, bytes_used: Option<u32>) -> Result<(), Error> {
        self.tell_failure()?;
        if let Some(why) = self.lender.slots.refusal(index) {
            return Err(self.lender.wrong(index, why));
        }
        self.lender.give_to_device(index, bytes_used)?;
        self.lender.slots.queued(index);
        Ok(())
    }

    /// Takes a picture that the device is done with; `None` when there is none yet. Its buffer goes back to the device when the
    /// frame is dropped.
    ///
    /// # Errors
    /// [`Error::Requeue`] where a frame's buffer could not be given back, after which the next call takes a picture;
    /// [`Error::Gone`] when the device went away, [`Error::Request`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(info) = self.dequeue()? else {
            return Ok(None);
        };
        let buffer = self.lender.buffers.get(info.index).ok_or_else(|| {
            self.lender.wrong(
                info.index,
                "was given back by the driver, which did not have it",
            )
        })?;
        self.lender.slots.lent(info.index);
        Ok(Some(Frame::new(info, buffer.clone(), &self.lender)))
    }

    /// Takes the buffer of a picture that the device is done with; `None` when there is none yet. The buffer is the caller's
    /// until it is queued.
    ///
    /// # Errors
    /// As [`Stream::next_frame`]: [`Error::Requeue`], [`Error::Gone`] when the device went away, [`Error::Request`].
    pub fn dequeue(&mut self) -> Result<Option<FrameInfo>, Error> {
        self.tell_failure()?;
        let lender = &*self.lender;
        let mut request = sys::Buffer {
            kind: lender.queue.kind(),
            memory: lender.memory,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let multiplanar = lender.queue.is_multiplanar();
        if multiplanar {
            request.length = 8;
        }
        match sys::dequeue_buffer(
            self.as_fd(),
            &mut request,
            multiplanar.then_some(&mut planes),
        ) {
            Ok(()) => {}
            // EPIPE: a decoder's last picture is out.
            Err(Errno::AGAIN | Errno::PIPE) => return Ok(None),
            Err(source) => return Err(lender.failed("VIDIOC_DQBUF", source)),
        }
        let index = usize::try_from(request.index).unwrap_or(usize::MAX);
        if !lender.slots.dequeued(index) {
            return Err(lender.wrong(index, "was given back by the driver, which did not have it"));
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
    /// A new stream has no buffer queued: a capture queue gets its buffers by [`Stream::queue`] before or after this and has a frame
    /// when the stream polls as readable; an output queue has a buffer free again when it polls as writable.
    ///
    /// # Errors
    /// [`Error::Requeue`], [`Error::Busy`], [`Error::Gone`], [`Error::Request`].
    pub fn start(&mut self) -> Result<(), Error> {
        self.tell_failure()?;
        sys::stream_on(self.as_fd(), self.lender.queue.kind())
            .map_err(|source| self.lender.failed("VIDIOC_STREAMON", source))?;
        self.lender.slots.started();
        Ok(())
    }

    /// Stops the device. Every buffer is the caller's again, but those of frames that are still held: these are the caller's
    /// when the frame is dropped.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`]; [`Error::Requeue`], after the device has stopped.
    pub fn stop(&mut self) -> Result<(), Error> {
        let was_streaming = self.lender.slots.hold_returns();
        if let Err(source) = sys::stream_off(self.as_fd(), self.lender.queue.kind()) {
            if was_streaming {
                self.lender.slots.started();
            }
            return Err(self.lender.failed("VIDIOC_STREAMOFF", source));
        }
        self.lender.slots.stopped();
        self.tell_failure()
    }

    /// Fails with what went wrong when a frame was dropped.
    fn tell_failure(&self) -> Result<(), Error> {
        self.lender.slots.take_failure().map_or(Ok(()), Err)
    }
}

impl Lender {
    fn wrong(&self, index: usize, why: &'static str) -> Error {
        Error::Index {
            device: self.queue.device().path().to_owned(),
            index,
            why,
        }
    }

    fn failed(&self, operation: &'static str, source: Errno) -> Error {
        self.queue.device().failed(operation, source)
    }

    /// Gives the buffer of a frame that was dropped to the device, where that streams.
    pub(super) fn give_back(&self, index: usize) {
        if !self.slots.begin_return(index) {
            return;
        }
        let given = self.give_to_device(index, None);
        let result = given.map_err(|source| Error::Requeue {
            device: self.queue.device().path().to_owned(),
            index,
            source: Box::new(source),
        });
        self.slots.returned(index, result);
    }

    /// VIDIOC_QBUF, for a buffer that the device does not have; who has it is noted by the caller.
    fn give_to_device(&self, index: usize, bytes_used: Option<u32>) -> Result<(), Error> {
        let wrong = |why| self.wrong(index, why);
        let buffer = self
            .buffers
            .get(index)
            .ok_or_else(|| wrong("is none of the stream's"))?;
        let mut request = sys::Buffer {
            index: u32::try_from(index).map_err(|_| wrong("is none of the stream's"))?,
            kind: self.queue.kind(),
            memory: self.memory,
            field: sys::FIELD_NONE,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let count = buffer.dmabuf_count().min(planes.len());
        for (memory, plane) in planes.iter_mut().take(count).enumerate() {
            // The real size, which the kernel itself told: a larger length would leak the dma-buf.
            let bytes = buffer
                .layout()
                .memory_sizes()
                .get(memory)
                .copied()
                .unwrap_or(0);
            plane.length =
                u32::try_from(bytes).map_err(|_| wrong("is larger than a V4L2 buffer can be"))?;
            // vb2 holds what is used against the picture's size and not against the buffer's, which may end a page later.
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
            // The kernel knows its own memory by the index.
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
        // A device that is gone has let go already.
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "stopping a stream");
        }
        while let Some(error) = self.lender.slots.take_failure() {
            tracing::debug!(%error, "a frame of a stream that ends");
        }
        if let Err(error) = self.lender.queue.free_buffers(self.lender.memory) {
            tracing::debug!(%error, "freeing a stream's buffers");
        }
    }
}
