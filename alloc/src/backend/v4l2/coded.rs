//! Queues with coded formats: an encoder writes and a decoder reads a bitstream, in buffers without rows.

use std::os::fd::AsFd;

use super::PixelFormat;
use super::negotiate::NegotiatedFormat;
use super::queue::{Direction, Queue};
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::{Extent, Rect};

impl Queue {
    /// Sets the queue to a coded format for frames of `extent`, and makes a stream with buffers for the bitstream. Each buffer
    /// keeps its index. Only the sizes of the buffers are used, and they may differ. Format, extent and strides of their layout
    /// are ignored, because a bitstream has no rows. An encoder and a decoder can share the buffers.
    ///
    /// The coded queue of a decoder must be set, filled and started before the format of its capture queue is queried, because
    /// the first bytes of the bitstream decide that format. Drivers report with an event (`V4L2_EVENT_SOURCE_CHANGE`) that they
    /// have parsed the format, and with the flag `V4L2_BUF_FLAG_LAST` that a frame is the last one. This function handles
    /// neither: it works with vicodec, whose decoder knows the format at once, and was not tried on hardware.
    ///
    /// # Errors
    /// [`Error::NoBuffers`], [`Error::Busy`], [`Error::Format`] if the driver sets another coded format, [`Error::TooSmall`] for
    /// a buffer smaller than sizeimage, [`Error::TooManyDmabufs`] for a buffer of several dma-bufs, [`Error::Count`].
    ///
    /// # References
    /// Kernel documentation, "Memory-to-Memory Stateful Video Decoder Interface", and the encoder's.
    pub fn import_coded(
        &self,
        pixel_format: PixelFormat,
        extent: Extent,
        buffers: &[Buffer],
    ) -> Result<Stream, Error> {
        let smallest = buffers
            .iter()
            .map(|buffer| buffer.layout().total_bytes())
            .min()
            .ok_or_else(|| self.no_buffers())?;
        let wanted = NegotiatedFormat {
            extent,
            visible: Rect::whole(extent),
            pixel_format,
            strides_bytes: vec![0],
            sizes_bytes: vec![u32::try_from(smallest).unwrap_or(u32::MAX)],
        };
        // Only the pixel format is compared. The driver may return a sizeimage that is larger than the buffers, which is checked
        // below.
        let negotiated = self.set_format(&wanted, |negotiated| {
            negotiated.pixel_format == pixel_format
        })?;
        self.stream_with(negotiated, buffers)
    }

    /// Returns the minimum number of buffers that the device needs at the same time (V4L2_CID_MIN_BUFFERS_FOR_CAPTURE or
    /// V4L2_CID_MIN_BUFFERS_FOR_OUTPUT), for example for a codec's reference frames; `None` if the driver does not have the
    /// control.
    pub(super) fn minimum_buffers(&self) -> Option<u32> {
        let mut control = sys::ControlValue {
            id: match self.direction() {
                Direction::Capture => sys::MIN_BUFFERS_FOR_CAPTURE,
                Direction::Output => sys::MIN_BUFFERS_FOR_OUTPUT,
            },
            value: 0,
        };
        sys::get_control(self.device().as_fd(), &mut control).ok()?;
        u32::try_from(control.value).ok()
    }
}
