//! Queues with coded formats: an encoder writes and a decoder reads a bitstream, in buffers without rows. A camera writes one that
//! the CPU decodes.

use std::os::fd::AsFd;

use super::PixelFormat;
use super::negotiate::NegotiatedFormat;
use super::queue::{Direction, Queue};
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc, Layout, Rect};

/// The row length of the layout of a buffer without rows. It is the smallest page size, and videobuf2 allocates whole pages.
const ROW_BYTES: u32 = 4096;

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

    /// Sets the queue to a pixel format that no other device reads, such as Motion JPEG or raw Bayer, for pictures of `extent`, and
    /// allocates `count` buffers of the queue's own memory (MMAP) for it. The CPU reads them. Returns the format that the driver
    /// has set, with its strides and its visible rectangle, because the layout of the buffers has neither: it is R8 in rows of
    /// 4096 bytes.
    ///
    /// No plan is needed, because the queue is the only device that accesses the buffers.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Format`] if the driver sets another pixel format or its pictures have another size,
    /// [`Error::OutsideFrame`], [`Error::Count`], [`Error::Unusable`] if the format has several memory planes or its buffers are
    /// larger than 256 MiB, [`Error::Request`]. After an error no buffer stays allocated.
    pub fn allocate_for_cpu(
        &self,
        pixel_format: PixelFormat,
        extent: Extent,
        count: usize,
    ) -> Result<(Stream, NegotiatedFormat), Error> {
        let wanted = NegotiatedFormat {
            extent,
            visible: Rect::whole(extent),
            pixel_format,
            strides_bytes: vec![0],
            sizes_bytes: vec![0],
        };
        let set = self.set_format(&wanted, |set| set.pixel_format == pixel_format)?;
        let visible = self.visible(set.extent)?;
        let negotiated = NegotiatedFormat {
            visible: visible.unwrap_or(set.visible),
            ..set
        };
        if negotiated.visible.extent() != extent {
            return Err(Error::Format {
                device: self.device().path().to_owned(),
                driver: self.device().driver().to_owned(),
                requested: wanted.to_string(),
                set: negotiated.to_string(),
            });
        }
        let unusable = |why: String| Error::Unusable {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
            why,
        };
        let [size_image] = negotiated.sizes_bytes.as_slice() else {
            let count = negotiated.sizes_bytes.len();
            return Err(unusable(format!(
                "{pixel_format} has {count} memory planes"
            )));
        };
        let rows = size_image.div_ceil(ROW_BYTES);
        let layout = Extent::new(ROW_BYTES, rows)
            .map_err(|error| error.to_string())
            .and_then(|rows| {
                Layout::linear(rows, Fourcc::R8, 1, 0).map_err(|error| error.to_string())
            })
            .map_err(|error| unusable(format!("sizeimage is {size_image} bytes: {error}")))?;
        self.request(sys::MEMORY_MMAP, count)?;
        let stream = self.export_all(&layout, &negotiated.sizes_bytes, count)?;
        Ok((stream, negotiated))
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
