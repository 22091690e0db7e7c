//! Queues of coded pictures: what an encoder writes and a decoder reads is bytes, in buffers that have no rows.

use std::os::fd::AsFd;

use super::negotiate::NegotiatedFormat;
use super::pixel_format::PixelFormat;
use super::queue::{Direction, Queue};
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::Extent;

impl Queue {
    /// Sets the queue to a compressed format for pictures of `extent`, and hands it buffers for the bytes, each at its index for
    /// good. Of the buffers only the size matters, which may differ: bytes have no rows, so the size and format of the pictures
    /// are not in a buffer's layout. An encoder and a decoder can share them.
    ///
    /// A decoder's coded queue is set, filled and started before its pictures are asked for: what is in the first bytes decides
    /// their format. Drivers say by an event (`V4L2_EVENT_SOURCE_CHANGE`) that they have read it, and by a flag that a picture is
    /// the last. Neither is heard here: this works with vicodec, whose decoder answers at once, and was not tried on hardware.
    ///
    /// # Errors
    /// [`Error::NoBuffers`], [`Error::Busy`], [`Error::Format`] when the driver codes otherwise, [`Error::TooSmall`] for a
    /// buffer that a picture may not fit, [`Error::Memories`] for one that lies in several, [`Error::Count`].
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
            pixel_format,
            strides_bytes: vec![0],
            sizes_bytes: vec![u32::try_from(smallest).unwrap_or(u32::MAX)],
        };
        // A driver may ask for more bytes than there are, which is found below, and counts no rows.
        let answered =
            self.set_format(&wanted, |answered| answered.pixel_format == pixel_format)?;
        self.stream_into(answered, buffers)
    }

    /// How many buffers the device needs at a time, where it says so: a codec keeps pictures that others refer to.
    pub(super) fn minimum_buffers(&self) -> Option<u32> {
        let mut control = sys::Control {
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
