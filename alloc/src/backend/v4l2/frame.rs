//! A dequeued buffer as a frame, which queues the buffer again when its last clone is dropped.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::stream::StreamInner;
use crate::buffer::Buffer;

/// What the driver reports about a dequeued buffer (struct v4l2_buffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// The index of the buffer in the stream.
    pub index: usize,
    /// The driver's sequence number; a gap means that the driver dropped frames.
    pub sequence: u32,
    /// The time of the capture.
    pub timestamp: Duration,
    /// Whether the timestamp is of CLOCK_MONOTONIC. If `false`, the driver does not report the clock, or has copied the timestamp
    /// from a buffer of the output queue, as memory-to-memory drivers do.
    pub is_monotonic: bool,
    /// The number of bytes that the device wrote into the first memory plane (bytesused).
    pub bytes_used: u32,
    /// Whether the driver reports that the data might be corrupted (V4L2_BUF_FLAG_ERROR).
    pub is_damaged: bool,
}

/// A dequeued buffer, which is queued to the device again when the last clone is dropped.
///
/// Clones are cheap and may be dropped on any thread. V4L2 has no fences: the pixels can be read without a wait, because the
/// driver dequeues a buffer only when the device has finished. Before the last clone is dropped, all other accesses to the memory
/// must have finished, as for [`Stream::queue`](super::Stream::queue), because VIDIOC_QBUF waits for no fence. The fences of
/// pending GPU work are in [`Buffer::reservation`].
///
/// The drop calls VIDIOC_QBUF. If that fails, the next call of the stream returns [`Error::Requeue`](super::Error::Requeue), and
/// the caller can queue the buffer. If the stream is stopped, the drop does not queue the buffer. If the stream was dropped
/// before the frame, the memory stays readable until the frame is dropped.
#[derive(Clone, Debug)]
pub struct Frame {
    inner: Arc<FrameInner>,
}

#[derive(Debug)]
struct FrameInner {
    info: FrameInfo,
    buffer: Buffer,
    // The reference is weak, so that a frame does not keep the device open.
    stream: Weak<StreamInner>,
}

impl Frame {
    pub(super) fn new(info: FrameInfo, buffer: Buffer, stream: &Arc<StreamInner>) -> Self {
        Self {
            inner: Arc::new(FrameInner {
                info,
                buffer,
                stream: Arc::downgrade(stream),
            }),
        }
    }

    /// Returns what the driver reports about the buffer.
    #[must_use]
    pub fn info(&self) -> &FrameInfo {
        &self.inner.info
    }

    /// Returns the buffer. A clone of the [`Buffer`] does not prevent the device from writing the next frame to the memory; only
    /// a clone of the [`Frame`] does.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.inner.buffer
    }
}

impl Drop for FrameInner {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.upgrade() {
            stream.requeue(self.info.index);
        }
    }
}
