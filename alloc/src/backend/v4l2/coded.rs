//! Queues of coded pictures: what an encoder writes and a decoder reads is bytes, in buffers that have no rows.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::negotiate::NegotiatedFormat;
use super::pixel_format::PixelFormat;
use super::queue::{Direction, Queue};
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::Extent;

impl Queue {
    /// Sets the queue to a compressed format for pictures of `extent`, and hands it buffers for the bytes, each at its index for
    /// good. Of the buffers only the size matters; an encoder and a decoder can share them.
    ///
    /// A decoder's coded queue is set, filled and started before its pictures are asked for: what is in the first bytes decides
    /// their format.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Format`] when the driver codes otherwise, [`Error::TooSmall`] for a buffer that a picture may
    /// not fit, [`Error::Count`].
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
            .unwrap_or(0);
        let wanted = NegotiatedFormat {
            extent,
            pixel_format,
            strides_bytes: vec![0],
            sizes_bytes: vec![u32::try_from(smallest).unwrap_or(u32::MAX)],
        };
        let mut format = wanted.to_request(self.kind());
        let device = self.device();
        sys::set_format(device.as_fd(), &mut format)
            .map_err(|source| device.failed("VIDIOC_S_FMT", source))?;
        let answered = NegotiatedFormat::of_answer(&format)
            .map_err(|_| device.failed("VIDIOC_S_FMT", Errno::RANGE))?;
        if answered.pixel_format != pixel_format {
            return Err(Error::Format {
                device: device.path().to_owned(),
                driver: device.driver().to_owned(),
                asked: wanted.to_string(),
                answered: answered.to_string(),
            });
        }
        let needed_bytes = answered
            .sizes_bytes
            .first()
            .map_or(0, |bytes| u64::from(*bytes));
        for buffer in buffers {
            let found_bytes = buffer.layout().memory_sizes().first().copied().unwrap_or(0);
            if found_bytes < needed_bytes || buffer.memory_count() != 1 {
                return Err(Error::TooSmall {
                    device: device.path().to_owned(),
                    driver: device.driver().to_owned(),
                    memory: 0,
                    identity: buffer.identity(),
                    needed_bytes,
                    found_bytes,
                });
            }
        }
        self.request(sys::MEMORY_DMABUF, buffers.len())?;
        Ok(Stream::new(
            self.clone(),
            sys::MEMORY_DMABUF,
            answered.sizes_bytes,
            buffers.to_vec(),
        ))
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
