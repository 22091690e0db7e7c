//! A queue that streams, with buffers that keep their index.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::queue::{Direction, Queue};
use super::{Error, sys};
use crate::buffer::Buffer;

/// A picture that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of its buffer.
    pub index: usize,
    /// The driver's count; a gap is a frame that the driver dropped.
    pub sequence: u32,
    /// When it was captured.
    pub timestamp: Duration,
    /// Whether the timestamp is of CLOCK_MONOTONIC; if not, the driver does not say of which clock.
    pub is_monotonic: bool,
    /// Bytes that the device wrote into the first memory.
    pub bytes_used: u32,
    /// The device says that the picture is damaged.
    pub is_damaged: bool,
}

/// A queue with its buffers. Readable (a camera) or writable (an output) when a buffer is done.
///
/// On drop the device stops and lets go of every buffer.
#[derive(Debug)]
pub struct Stream {
    queue: Queue,
    memory: u32,
    /// What the driver said that a picture takes, a number a memory.
    sizes_bytes: Vec<u32>,
    buffers: Vec<Buffer>,
    with_driver: Vec<bool>,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.device().as_fd()
    }
}

impl Stream {
    pub(super) fn new(
        queue: Queue,
        memory: u32,
        sizes_bytes: Vec<u32>,
        buffers: Vec<Buffer>,
    ) -> Self {
        let with_driver = vec![false; buffers.len()];
        Self {
            queue,
            memory,
            sizes_bytes,
            buffers,
            with_driver,
        }
    }

    pub(super) fn push(&mut self, buffer: Buffer) {
        self.buffers.push(buffer);
        self.with_driver.push(false);
    }

    /// The queue that streams.
    #[must_use]
    pub fn queue_of(&self) -> &Queue {
        &self.queue
    }

    /// The buffers, by index.
    #[must_use]
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// How many buffers the device has.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.with_driver.iter().filter(|queued| **queued).count()
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
        let wrong = |why| Error::Index {
            device: self.queue.device().path().to_owned(),
            index,
            why,
        };
        let buffer = self
            .buffers
            .get(index)
            .ok_or_else(|| wrong("is none of the stream's"))?;
        if self.with_driver.get(index) != Some(&false) {
            return Err(wrong("is with the device already"));
        }
        let mut request = sys::Buffer {
            index: u32::try_from(index).map_err(|_| wrong("is none of the stream's"))?,
            kind: self.queue.kind(),
            memory: self.memory,
            field: sys::FIELD_NONE,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let count = buffer.memory_count().min(planes.len());
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
                .memory_fd(memory)
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
            self.as_fd(),
            &mut request,
            multiplanar.then_some(&mut planes),
        )
        .map_err(|source| self.queue.device().failed("VIDIOC_QBUF", source))?;
        if let Some(state) = self.with_driver.get_mut(index) {
            *state = true;
        }
        Ok(())
    }

    /// Takes a buffer that the device is done with; `None` when there is none yet.
    ///
    /// # Errors
    /// [`Error::Gone`] when the device went away, [`Error::Request`].
    pub fn dequeue(&mut self) -> Result<Option<Frame>, Error> {
        let mut request = sys::Buffer {
            kind: self.queue.kind(),
            memory: self.memory,
            ..Default::default()
        };
        let mut planes = [sys::Plane::default(); 8];
        let multiplanar = self.queue.is_multiplanar();
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
            Err(source) => return Err(self.queue.device().failed("VIDIOC_DQBUF", source)),
        }
        let index = usize::try_from(request.index).unwrap_or(usize::MAX);
        let Some(state) = self.with_driver.get_mut(index) else {
            let device = self.queue.device().path().to_owned();
            return Err(Error::Index {
                device,
                index,
                why: "was given back by the driver and is none of the stream's",
            });
        };
        *state = false;
        let seconds = u64::try_from(request.seconds).unwrap_or(0);
        let microseconds = u64::try_from(request.microseconds).unwrap_or(0);
        let [first, ..] = planes;
        Ok(Some(Frame {
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

    /// Lets the device begin.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Gone`], [`Error::Request`].
    pub fn start(&mut self) -> Result<(), Error> {
        sys::stream_on(self.as_fd(), self.queue.kind())
            .map_err(|source| self.queue.device().failed("VIDIOC_STREAMON", source))
    }

    /// Stops the device. Every buffer is the caller's again.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn stop(&mut self) -> Result<(), Error> {
        sys::stream_off(self.as_fd(), self.queue.kind())
            .map_err(|source| self.queue.device().failed("VIDIOC_STREAMOFF", source))?;
        self.with_driver.fill(false);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A device that is gone has let go already.
        if let Err(error) = self.stop() {
            tracing::debug!(%error, "stopping a stream");
        }
        if let Err(error) = self.queue.free_buffers(self.memory) {
            tracing::debug!(%error, "freeing a stream's buffers");
        }
    }
}
