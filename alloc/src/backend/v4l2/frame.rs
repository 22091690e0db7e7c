//! A picture that the device is done with, and the frame that has its buffer for as long as somebody looks at it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::stream::Lender;
use crate::buffer::Buffer;

/// What the device says of a picture that it is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
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

/// A picture and its buffer, which goes back to the device by itself when the last clone is dropped.
///
/// Clones are cheap and may be dropped on any thread. Nothing has to be waited for before the picture is read: V4L2 has no
/// fences, and a frame comes when the device has finished. The way back has none either, so whoever drops the last clone has
/// waited for everybody else who uses the memory, as for [`Stream::queue`](super::Stream::queue); a GPU's work is among the
/// fences of [`Buffer::reservation`].
///
/// The drop is one VIDIOC_QBUF. Where it fails, the stream's next call answers [`Error::Requeue`](super::Error::Requeue), and
/// the buffer is the caller's to queue. Where the stream does not stream, nothing is given to the device; where it is gone, the
/// frame keeps its memory readable until it is dropped, and nothing else.
#[derive(Clone, Debug)]
pub struct Frame {
    lent: Arc<Lent>,
}

#[derive(Debug)]
struct Lent {
    info: FrameInfo,
    buffer: Buffer,
    // A frame does not keep the device open.
    lender: Weak<Lender>,
}

impl Frame {
    pub(super) fn new(info: FrameInfo, buffer: Buffer, lender: &Arc<Lender>) -> Self {
        Self {
            lent: Arc::new(Lent {
                info,
                buffer,
                lender: Arc::downgrade(lender),
            }),
        }
    }

    /// What the device says of it.
    #[must_use]
    pub fn info(&self) -> &FrameInfo {
        &self.lent.info
    }

    /// The picture's memory. A clone of the buffer does not keep the device from writing the next picture to it; the frame does.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.lent.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(lender) = self.lender.upgrade() {
            lender.give_back(self.info.index);
        }
    }
}
