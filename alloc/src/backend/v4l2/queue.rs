//! One queue of a video device: what it can do, and how it becomes a stream.

use std::fmt;
use std::os::fd::AsFd;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::device::{Device, text};
use super::negotiate::NegotiatedFormat;
use super::pixel_format::PixelFormat;
use super::rate::FrameRate;
use super::{Error, sys};
use crate::model::{Extent, Fourcc, Layout};

/// Which way pictures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The device writes: a camera's or a decoder's pictures, an encoder's bytes.
    Capture,
    /// The device reads: a video output's or an encoder's pictures, a decoder's bytes.
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
pub struct FormatDescription {
    /// Its V4L2 code.
    pub pixel_format: PixelFormat,
    /// The DRM format of the same bytes; `None` for compressed and raw ones.
    pub fourcc: Option<Fourcc>,
    /// What the driver calls it.
    pub description: String,
    /// A stream of bytes rather than a picture.
    pub is_compressed: bool,
    /// Converted in software by a library rather than made by the device.
    pub is_emulated: bool,
}

/// The sizes that a queue has for a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameSizes {
    /// These alone.
    Discrete(Vec<Extent>),
    /// From the smallest to the largest in steps of width and height, in pixels.
    Stepwise {
        /// The smallest.
        minimum: Extent,
        /// The largest.
        maximum: Extent,
        /// Width and height grow by this many pixels.
        step: (u32, u32),
    },
    /// The driver does not say; TRY_FMT does.
    Unlisted,
}

impl FrameSizes {
    /// Whether `extent` is one of them; `None` when the driver does not say.
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

/// More entries than any driver lists; an endless list is a driver's fault and must not hang us.
const LONGEST_LIST: u32 = 1024;

impl Queue {
    pub(super) fn new(device: Device, direction: Direction, kind: u32) -> Self {
        Self {
            device,
            direction,
            kind,
        }
    }

    /// The device that it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Which way pictures go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether a picture may lie in several memories.
    #[must_use]
    pub(crate) fn is_multiplanar(&self) -> bool {
        NegotiatedFormat::is_multiplanar(self.kind)
    }

    pub(super) fn kind(&self) -> u32 {
        self.kind
    }

    /// The formats that it lists.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn formats(&self) -> Result<Vec<FormatDescription>, Error> {
        let mut formats = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut entry = sys::FormatDescription {
                index,
                kind: self.kind,
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

    /// The sizes that it has for a format.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn frame_sizes(&self, format: PixelFormat) -> Result<FrameSizes, Error> {
        let mut discrete = Vec::new();
        for index in 0..LONGEST_LIST {
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

    /// The rates that it has for a format and size, fastest first; empty when the driver does not say. Of a driver that has
    /// every rate in a range, the fastest alone.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn frame_rates(
        &self,
        format: PixelFormat,
        extent: Extent,
    ) -> Result<Vec<FrameRate>, Error> {
        let mut rates = Vec::new();
        for index in 0..LONGEST_LIST {
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

    /// Asks for a rate; returns the one that the driver chose, or `None` where it keeps its own.
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

    /// The format that is set.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`], [`Error::Unsayable`] when no picture is set.
    pub fn current_format(&self) -> Result<NegotiatedFormat, Error> {
        self.parse("VIDIOC_G_FMT", &self.raw_format()?)
    }

    /// The format that is set, as the driver says it.
    pub(super) fn raw_format(&self) -> Result<sys::Format, Error> {
        let mut format = sys::Format::empty(self.kind);
        sys::get_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_G_FMT", source))?;
        Ok(format)
    }

    /// What the driver would make of a size in a format, with `stride_bytes` a row where it leaves the choice (0: its own).
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
            pixel_format,
            strides_bytes: vec![stride_bytes],
            sizes_bytes: vec![0],
        };
        let mut format = wanted.to_request(self.kind);
        sys::try_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_TRY_FMT", source))?;
        self.parse("VIDIOC_TRY_FMT", &format)
    }

    /// What messages call this queue's own memory: `vivid MMAP`.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{} MMAP", self.device.driver())
    }

    pub(super) fn set(&self, layout: &Layout) -> Result<NegotiatedFormat, Error> {
        let wanted = NegotiatedFormat::of_layout(layout).ok_or_else(|| Error::Unsayable {
            device: self.device.path().to_owned(),
            driver: self.device.driver().to_owned(),
            extent: layout.extent(),
            format: layout.format().to_string(),
        })?;
        self.set_format(&wanted, |answered| {
            answered.extent == wanted.extent
                && answered.pixel_format == wanted.pixel_format
                && answered.strides_bytes == wanted.strides_bytes
        })
    }

    /// Sets a format, and fails where what the driver made of it is not as wanted.
    pub(super) fn set_format(
        &self,
        wanted: &NegotiatedFormat,
        is_as_wanted: impl FnOnce(&NegotiatedFormat) -> bool,
    ) -> Result<NegotiatedFormat, Error> {
        let mut format = wanted.to_request(self.kind);
        sys::set_format(self.device.as_fd(), &mut format)
            .map_err(|source| self.device.failed("VIDIOC_S_FMT", source))?;
        let answered = self.parse("VIDIOC_S_FMT", &format)?;
        if is_as_wanted(&answered) {
            Ok(answered)
        } else {
            Err(Error::Format {
                device: self.device.path().to_owned(),
                driver: self.device.driver().to_owned(),
                asked: wanted.to_string(),
                answered: answered.to_string(),
            })
        }
    }

    fn parse(
        &self,
        operation: &'static str,
        format: &sys::Format,
    ) -> Result<NegotiatedFormat, Error> {
        NegotiatedFormat::of_answer(format).map_err(|_| self.device.failed(operation, Errno::RANGE))
    }

    pub(super) fn request(&self, memory: u32, count: usize) -> Result<(), Error> {
        let asked = u32::try_from(count).unwrap_or(u32::MAX);
        let mut request = sys::RequestBuffers {
            count: asked,
            kind: self.kind,
            memory,
            ..Default::default()
        };
        sys::request_buffers(self.device.as_fd(), &mut request)
            .map_err(|source| self.device.failed("VIDIOC_REQBUFS", source))?;
        self.check_count(memory, count, request.count)
    }

    /// Fails where fewer buffers were given than asked for, and frees them.
    pub(super) fn check_count(&self, memory: u32, asked: usize, given: u32) -> Result<(), Error> {
        let granted = usize::try_from(given).unwrap_or(usize::MAX);
        if granted >= asked && asked > 0 {
            return Ok(());
        }
        self.free_buffers(memory)?;
        Err(Error::Count {
            device: self.device.path().to_owned(),
            driver: self.device.driver().to_owned(),
            asked,
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

/// Some drivers list a largest size past any real one; what is usable of it is kept.
fn largest(width: u32, height: u32) -> Result<Extent, crate::model::ExtentError> {
    Extent::new(width.min(Extent::LARGEST), height.min(Extent::LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_sizes_contain_what_lies_on_a_step() {
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
