//! A queue of a video device: its formats, frame sizes and frame rates, and the allocation of its buffers.

use std::fmt;
use std::os::fd::AsFd;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::PixelFormat;
use super::device::{Device, text};
use super::media::{BusFormat, MediaDevice};
use super::negotiate::NegotiatedFormat;
use super::rate::FrameRate;
use super::{Error, sys};
use crate::model::{Extent, Fourcc, Layout, Rect};

/// The direction of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The device writes the buffers: the frames of a camera or decoder, or the bitstream of an encoder.
    Capture,
    /// The device reads the buffers: the frames of a video output or encoder, or the bitstream of a decoder.
    Output,
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if *self == Self::Capture {
            "capture"
        } else {
            "output"
        })
    }
}

/// A format that a queue lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatDescription {
    /// The V4L2 pixel format.
    pub pixel_format: PixelFormat,
    /// The DRM fourcc of the same format; `None` if there is none, as for coded and Bayer formats.
    pub fourcc: Option<Fourcc>,
    /// The driver's description.
    pub description: String,
    /// Whether the format is compressed (V4L2_FMT_FLAG_COMPRESSED).
    pub is_compressed: bool,
    /// Whether the device does not have the format and libv4l converts to it in software (V4L2_FMT_FLAG_EMULATED).
    pub is_emulated: bool,
}

/// The frame sizes of a queue for a pixel format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameSizes {
    /// The driver supports only the sizes in this list.
    Discrete(Vec<Extent>),
    /// A range with steps of width and height, in pixels.
    Stepwise {
        /// The smallest size.
        minimum: Extent,
        /// The largest size.
        maximum: Extent,
        /// The steps of width and height, in pixels.
        step: (u32, u32),
    },
    /// The driver does not enumerate sizes. [`Queue::participant`] finds out with VIDIOC_TRY_FMT whether it accepts a size.
    Unlisted,
}

impl FrameSizes {
    /// Returns whether `extent` is a supported size; `None` if the driver does not enumerate sizes.
    #[must_use]
    pub fn contain(&self, extent: Extent) -> Option<bool> {
        match self {
            Self::Discrete(sizes) => Some(sizes.contains(&extent)),
            Self::Stepwise {
                minimum,
                maximum,
                step,
            } => {
                let fits = |value: u32, low: u32, high: u32, step: u32| {
                    (low..=high).contains(&value)
                        && value.abs_diff(low).checked_rem(step.max(1)) == Some(0)
                };
                Some(
                    fits(extent.width(), minimum.width(), maximum.width(), step.0)
                        && fits(extent.height(), minimum.height(), maximum.height(), step.1),
                )
            }
            Self::Unlisted => None,
        }
    }
}

/// A queue of an open device.
#[derive(Clone, Debug)]
pub struct Queue {
    device: Device,
    direction: Direction,
    kind: u32,
}

/// The maximum number of entries that are read from an enumeration of the driver. Drivers have far fewer entries. The limit ends
/// the enumeration of a faulty driver, which would otherwise not end.
const MAXIMUM_ENTRIES: u32 = 1024;

impl Queue {
    pub(super) fn new(device: Device, direction: Direction, kind: u32) -> Self {
        Self {
            device,
            direction,
            kind,
        }
    }

    /// Returns the device of the queue.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the direction of the queue.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns whether the queue is multi-planar, so that a frame can have several memory planes.
    #[must_use]
    pub(crate) fn is_multiplanar(&self) -> bool {
        NegotiatedFormat::is_multiplanar(self.kind)
    }

    pub(super) fn kind(&self) -> u32 {
        self.kind
    }

    /// Lists the formats (VIDIOC_ENUM_FMT). For a media-controller camera whose pipeline delivers pictures these are the formats
    /// that the camera makes of them; `covalent-camera --setup-links` changes what the pipeline delivers.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn formats(&self) -> Result<Vec<FormatDescription>, Error> {
        if let Some(delivered) = self.delivered() {
            let formats = self.formats_of_code(delivered.code.0)?;
            if !formats.is_empty() {
                return Ok(formats);
            }
        }
        self.formats_of_code(0)
    }

    /// Returns the format of the pictures that the pipeline of a media-controller camera delivers to the video node; `None` for
    /// other queues, or if the format is not known.
    fn delivered(&self) -> Option<BusFormat> {
        if self.direction == Direction::Output {
            return None;
        }
        let media = MediaDevice::of(&self.device);
        let delivered = media.and_then(|media| match media {
            Some(media) => media.delivered(),
            None => Ok(None),
        });
        delivered
            .inspect_err(|error| tracing::debug!(%error, "the format that the pipeline of the camera delivers cannot be read"))
            .ok()?
    }

    /// Lists the formats in which the queue can capture pictures with this media bus code; all formats of the queue if `code` is
    /// 0.
    pub(super) fn formats_of_code(&self, code: u32) -> Result<Vec<FormatDescription>, Error> {
        let mut formats = Vec::new();
        for index in 0..MAXIMUM_ENTRIES {
            let mut entry = sys::FormatDescription {
                index,
                kind: self.kind,
                mbus_code: code,
                ..Default::default()
            };
            match sys::enumerate_format(self.device.as_fd(), &mut entry) {
                Ok(()) => {}
                Err(Errno::INVAL) => break,
                Err(source) => return Err(self.device.failed("VIDIOC_ENUM_FMT", source)),
            }
            let pixel_format = PixelFormat(entry.pixel_format);
            formats.push(FormatDescription {
                pixel_format,
                fourcc: pixel_format.fourcc().map(|(fourcc, _)| fourcc),
                description: text(&entry.description),
                is_compressed: entry.flags & sys::FMT_FLAG_COMPRESSED != 0,
                is_emulated: entry.flags & sys::FMT_FLAG_EMULATED != 0,
            });
        }
        Ok(formats)
    }

    /// Lists the frame sizes for a pixel format (VIDIOC_ENUM_FRAMESIZES). A media-controller camera has the size that its
    /// pipeline delivers.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn frame_sizes(&self, format: PixelFormat) -> Result<FrameSizes, Error> {
        if let Some(Ok(extent)) = self.delivered().map(BusFormat::extent) {
            return Ok(FrameSizes::Discrete(vec![extent]));
        }
        let mut discrete = Vec::new();
        for index in 0..MAXIMUM_ENTRIES {
            let mut entry = sys::FrameSize {
                index,
                pixel_format: format.0,
                ..Default::default()
            };
            match sys::enumerate_frame_size(self.device.as_fd(), &mut entry) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(source) => return Err(self.device.failed("VIDIOC_ENUM_FRAMESIZES", source)),
            }
            let [first, second, third, fourth, fifth, sixth] = entry.numbers;
            if entry.kind == sys::FRAME_TYPE_DISCRETE {
                discrete.extend(Extent::new(first, second));
            } else if let (Ok(minimum), Ok(maximum)) =
                (Extent::new(first, fourth), largest(second, fifth))
            {
                return Ok(FrameSizes::Stepwise {
                    minimum,
                    maximum,
                    step: (third.max(1), sixth.max(1)),
                });
            } else {
                break;
            }
        }
        Ok(if discrete.is_empty() {
            FrameSizes::Unlisted
        } else {
            FrameSizes::Discrete(discrete)
        })
    }

    /// Lists the frame rates for a pixel format and size (VIDIOC_ENUM_FRAMEINTERVALS), the highest first; empty if the driver
    /// does not enumerate them. For a driver with a range of rates the list has only the highest one.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn frame_rates(
        &self,
        format: PixelFormat,
        extent: Extent,
    ) -> Result<Vec<FrameRate>, Error> {
        let mut rates = Vec::new();
        for index in 0..MAXIMUM_ENTRIES {
            let mut entry = sys::FrameInterval {
                index,
                pixel_format: format.0,
                width: extent.width(),
                height: extent.height(),
                ..Default::default()
            };
            match sys::enumerate_frame_interval(self.device.as_fd(), &mut entry) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(source) => {
                    return Err(self.device.failed("VIDIOC_ENUM_FRAMEINTERVALS", source));
                }
            }
            let [shortest, ..] = entry.intervals;
            rates.extend(FrameRate::of_interval(shortest));
            if entry.kind != sys::FRAME_TYPE_DISCRETE {
                break;
            }
        }
        rates.sort_by(|one, other| other.cmp(one));
        Ok(rates)
    }

    /// Requests a frame rate (VIDIOC_S_PARM). Returns the rate that the driver set, or `None` if the driver does not support
    /// this.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Busy`], [`Error::Request`].
    pub fn set_frame_rate(&self, rate: FrameRate) -> Result<Option<FrameRate>, Error> {
        let mut parameters = sys::StreamParameters::empty(self.kind);
        parameters.interval = rate.interval();
        match sys::set_parameters(self.device.as_fd(), &mut parameters) {
            Ok(()) => Ok(FrameRate::of_interval(parameters.interval)),
            Err(Errno::NOTTY | Errno::INVAL) => Ok(None),
            Err(source) => Err(self.device.failed("VIDIOC_S_PARM", source)),
        }
    }

    /// Returns the current format and the visible rectangle (VIDIOC_G_FMT, VIDIOC_G_SELECTION).
    ///
    /// # Errors
    /// [`Error::Gone`]; [`Error::Request`], also if the size of the current format is 0; [`Error::OutsideFrame`] for a visible
    /// rectangle that is not inside of the frame.
    pub fn current_format(&self) -> Result<NegotiatedFormat, Error> {
        let mut format = self.parse_format("VIDIOC_G_FMT", &self.raw_format()?)?;
        if let Some(visible) = self.visible(format.extent)? {
            format.visible = visible;
        }
        Ok(format)
    }

    /// Returns the current format as the kernel's structure.
    pub(super) fn raw_format(&self) -> Result<sys::Format, Error> {
        let mut format = sys::Format::empty(self.kind);
        sys::get_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_G_FMT", source))?;
        Ok(format)
    }

    /// Returns the format that VIDIOC_TRY_FMT returns for a size, a pixel format and a requested stride in bytes. The driver may
    /// replace the stride; 0 requests its own stride. The format of the queue does not change.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub(crate) fn try_format(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        stride_bytes: u32,
    ) -> Result<NegotiatedFormat, Error> {
        let wanted = NegotiatedFormat {
            extent,
            visible: Rect::whole(extent),
            pixel_format,
            strides_bytes: vec![stride_bytes],
            sizes_bytes: vec![0],
        };
        let mut format = wanted.to_request(self.kind);
        sys::try_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_TRY_FMT", source))?;
        self.parse_format("VIDIOC_TRY_FMT", &format)
    }

    /// Returns the name, for messages, of the memory source that this queue is, such as `vivid MMAP`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} MMAP", self.device.driver())
    }

    /// Sets the queue to the format and the visible rectangle of a layout.
    pub(super) fn set(&self, layout: &Layout) -> Result<NegotiatedFormat, Error> {
        let wanted = NegotiatedFormat::of_layout(layout).ok_or_else(|| Error::NoPixelFormat {
            device: self.device.path().to_owned(),
            driver: self.device.driver().to_owned(),
            extent: layout.extent(),
            format: layout.format().to_string(),
        })?;
        let negotiated = self.set_format(&wanted, |negotiated| {
            negotiated.extent == wanted.extent
                && negotiated.pixel_format == wanted.pixel_format
                && negotiated.strides_bytes == wanted.strides_bytes
        })?;
        let visible = self.set_visible(layout)?;
        Ok(NegotiatedFormat {
            visible,
            ..negotiated
        })
    }

    /// Sets a format (VIDIOC_S_FMT), and returns an error if `is_as_wanted` returns `false` for the format that the driver has
    /// set.
    pub(super) fn set_format(
        &self,
        wanted: &NegotiatedFormat,
        is_as_wanted: impl FnOnce(&NegotiatedFormat) -> bool,
    ) -> Result<NegotiatedFormat, Error> {
        let mut format = wanted.to_request(self.kind);
        sys::set_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_S_FMT", source))?;
        let negotiated = self.parse_format("VIDIOC_S_FMT", &format)?;
        if is_as_wanted(&negotiated) {
            Ok(negotiated)
        } else {
            Err(Error::Format {
                device: self.device.path().to_owned(),
                driver: self.device.driver().to_owned(),
                requested: wanted.to_string(),
                set: negotiated.to_string(),
            })
        }
    }

    fn parse_format(
        &self,
        operation: &'static str,
        format: &sys::Format,
    ) -> Result<NegotiatedFormat, Error> {
        NegotiatedFormat::from_format(format)
            .map_err(|_| self.device.failed(operation, Errno::RANGE))
    }

    /// Calls VIDIOC_REQBUFS. If the driver sets up fewer than `count` buffers, they are freed, and an error is returned.
    pub(super) fn request(&self, memory: u32, count: usize) -> Result<(), Error> {
        let requested = u32::try_from(count).unwrap_or(u32::MAX);
        let mut request = sys::RequestBuffers {
            count: requested,
            kind: self.kind,
            memory,
            ..Default::default()
        };
        sys::request_buffers(self.device.as_fd(), &mut request)
            .map_err(|source| self.device.failed("VIDIOC_REQBUFS", source))?;
        self.check_count(memory, count, request.count)
    }

    /// Returns an error if the driver allocated fewer buffers than requested, after they are freed.
    pub(super) fn check_count(
        &self,
        memory: u32,
        requested: usize,
        allocated: u32,
    ) -> Result<(), Error> {
        let granted = usize::try_from(allocated).unwrap_or(usize::MAX);
        if granted >= requested && requested > 0 {
            return Ok(());
        }
        self.free_buffers(memory)?;
        Err(Error::Count {
            device: self.device.path().to_owned(),
            driver: self.device.driver().to_owned(),
            requested,
            granted,
        })
    }

    pub(super) fn free_buffers(&self, memory: u32) -> Result<(), Error> {
        let mut request = sys::RequestBuffers {
            kind: self.kind,
            memory,
            ..Default::default()
        };
        sys::request_buffers(self.device.as_fd(), &mut request)
            .map_err(|source| self.device.failed("VIDIOC_REQBUFS", source))
    }
}

/// Returns the largest frame size of a driver, limited to [`Extent::LARGEST`] in each direction.
fn largest(width: u32, height: u32) -> Result<Extent, crate::model::ExtentError> {
    Extent::new(width.min(Extent::LARGEST), height.min(Extent::LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stepwise_frame_sizes_contain_only_sizes_on_a_step() {
        let extent = |width, height| Extent::new(width, height).unwrap();
        let sizes = FrameSizes::Stepwise {
            minimum: extent(16, 16),
            maximum: extent(4096, 2160),
            step: (2, 1),
        };
        assert_eq!(sizes.contain(extent(640, 481)), Some(true));
        assert_eq!(sizes.contain(extent(641, 480)), Some(false));
        assert_eq!(sizes.contain(extent(8, 480)), Some(false));
        assert_eq!(
            FrameSizes::Discrete(vec![extent(640, 480)]).contain(extent(640, 480)),
            Some(true)
        );
        assert_eq!(FrameSizes::Unlisted.contain(extent(1, 1)), None);
    }
}
