//! The visible rectangle of a queue: where the picture is in the frames of the queue's format.
//!
//! A capture queue writes the picture into its compose rectangle, and an output queue reads the picture from its crop rectangle.
//! A stateful decoder gets the compose rectangle from the bitstream, so the rectangle is known only when the decoder has parsed
//! the first bytes. A stateless decoder has no such rectangle, because its client parses the bitstream.
//!
//! # References
//! Kernel documentation, "Cropping, composing and scaling -- the SELECTION API", "Memory-to-Memory Stateful Video Decoder
//! Interface" and "Memory-to-Memory Stateful Video Encoder Interface".

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::queue::{Direction, Queue};
use super::range::{self, Range};
use super::{Error, FrameSizes, NegotiatedFormat, PixelFormat, sys};
use crate::constraint::{CodedConstraints, Crop, ImageConstraints, SideConstraints};
use crate::model::{Extent, Layout, Rect};

/// How a queue crops its frames, as determined with VIDIOC_G_SELECTION and VIDIOC_S_SELECTION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cropping {
    /// The queue does not crop: the picture fills the frame.
    Whole,
    /// The bitstream of a decoder determines the rectangle, so it is not set with VIDIOC_S_SELECTION. The picture begins in this
    /// column and row.
    Stream(u32, u32),
    /// VIDIOC_S_SELECTION sets the rectangle to any that the [`Crop`] permits.
    Set(Crop),
}

/// The number of columns and rows by which the requested rectangle is moved or made smaller, to find out whether the driver
/// permits that. It is even, because the rectangle of a picture with subsampled chroma must begin at an even column and row.
const MOVED_PIXELS: u32 = 2;

impl Queue {
    /// Returns the visible rectangle in frames of this size; `None` if the driver does not support selections, so that the whole
    /// frame is visible.
    ///
    /// # Errors
    /// [`Error::OutsideFrame`] if the driver's rectangle is not inside of the frame; [`Error::Gone`], [`Error::Request`].
    pub(super) fn visible(&self, frame: Extent) -> Result<Option<Rect>, Error> {
        const OPERATION: &str = "VIDIOC_G_SELECTION";
        let mut selection = self.selection(sys::Rect::default());
        match sys::get_selection(self.device().as_fd(), &mut selection) {
            Ok(()) => self.parse(OPERATION, selection.rectangle, frame).map(Some),
            Err(source) if is_unsupported(source) => Ok(None),
            Err(source) => Err(self.device().failed(OPERATION, source)),
        }
    }

    /// Requests a visible rectangle, and returns the one that the driver set; `None` if the driver sets none.
    fn request_visible(&self, frame: Extent, wanted: Rect) -> Result<Option<Rect>, Error> {
        const OPERATION: &str = "VIDIOC_S_SELECTION";
        let Some(rectangle) = to_request(wanted) else {
            return Ok(None);
        };
        let mut selection = self.selection(rectangle);
        match sys::set_selection(self.device().as_fd(), &mut selection) {
            Ok(()) => self.parse(OPERATION, selection.rectangle, frame).map(Some),
            // ERANGE means that the driver has no rectangle that is near enough to the requested rectangle.
            Err(source) if is_unsupported(source) || source == Errno::RANGE => Ok(None),
            Err(source) => Err(self.device().failed(OPERATION, source)),
        }
    }

    /// Sets the visible rectangle of a layout whose format is set already, and returns the rectangle of the queue.
    ///
    /// The rectangle of a decoder is not set, because the bitstream determines it; [`Queue::check_visible`] compares it when the
    /// decoder's capture queue is started.
    ///
    /// # Errors
    /// [`Error::Visible`] if the layout is cropped and the driver has set another rectangle than the layout's;
    /// [`Error::OutsideFrame`], [`Error::Busy`], [`Error::Gone`], [`Error::Request`].
    pub(super) fn set_visible(&self, layout: &Layout) -> Result<Rect, Error> {
        let (frame, wanted) = (layout.extent(), layout.visible());
        if self.is_decoded() {
            return Ok(wanted);
        }
        let present = self.visible(frame)?;
        let set = match present {
            Some(present) if present != wanted => self
                .request_visible(frame, wanted)?
                .or(self.visible(frame)?),
            present => present,
        };
        let set = set.unwrap_or(Rect::whole(frame));
        self.compare(layout, set).map(|()| set)
    }

    /// Checks that the driver's visible rectangle equals that of a cropped layout.
    ///
    /// # Errors
    /// The errors of [`Queue::set_visible`].
    pub(super) fn check_visible(&self, layout: &Layout) -> Result<(), Error> {
        match self.visible(layout.extent())? {
            Some(found) => self.compare(layout, found),
            // A stateless decoder has no rectangle. Its client parses the bitstream and so knows the rectangle of the picture.
            None if self.is_decoded() => Ok(()),
            None => self.compare(layout, Rect::whole(layout.extent())),
        }
    }

    /// Returns an error if the layout is cropped and its rectangle is not `found`. If the layout is not cropped, the driver may
    /// use a smaller rectangle, as a camera that adds black borders does.
    fn compare(&self, layout: &Layout, found: Rect) -> Result<(), Error> {
        if !layout.is_cropped() || layout.visible() == found {
            return Ok(());
        }
        Err(Error::Visible {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
            frame: layout.extent(),
            wanted: layout.visible(),
            found,
        })
    }

    /// Determines how the queue crops pictures of this size. To find out, the rectangle of an idle queue is changed and then
    /// restored.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub(super) fn cropping(&self, picture: Extent) -> Result<Cropping, Error> {
        let frame = match self.current_extent() {
            Ok(frame) => frame,
            // A queue on which no format was set yet has no rectangle.
            Err(Error::Request { .. }) => return Ok(Cropping::Whole),
            Err(error) => return Err(error),
        };
        let present = match self.visible(frame) {
            Ok(Some(present)) => present,
            Ok(None) if self.is_decoded() => return Ok(Cropping::Stream(0, 0)),
            Ok(None) => return Ok(Cropping::Whole),
            // Before the decoder gets the bitstream, its rectangle can exceed the frame.
            Err(Error::OutsideFrame { .. }) if self.is_decoded() => {
                return Ok(Cropping::Stream(0, 0));
            }
            Err(error @ Error::OutsideFrame { .. }) => {
                tracing::warn!(%error, "the queue is declared without cropping");
                return Ok(Cropping::Whole);
            }
            Err(error) => return Err(error),
        };
        if self.is_decoded() {
            let is_known = present.extent() == picture;
            let (x, y) = if is_known {
                (present.x(), present.y())
            } else {
                (0, 0)
            };
            return Ok(Cropping::Stream(x, y));
        }
        // If another program streams, the rectangle is not changed, and the queue is declared without cropping.
        if self.free_buffers(sys::MEMORY_DMABUF).is_err() {
            return Ok(Cropping::Whole);
        }
        self.try_to_crop(frame, present, picture)
    }

    /// Requests three rectangles: one that is slightly smaller than the frame, one of the picture's size limited to the frame,
    /// and one whose first column and row are not 0. The second request shows whether the driver has a minimum size that is
    /// larger than the picture, such as 16x16 for vivid's output.
    fn try_to_crop(
        &self,
        frame: Extent,
        present: Rect,
        picture: Extent,
    ) -> Result<Cropping, Error> {
        let reduced = |pixels: u32| pixels.saturating_sub(MOVED_PIXELS);
        let (Ok(smaller), Ok(small), true) = (
            Extent::new(reduced(frame.width()), reduced(frame.height())),
            Extent::new(
                picture.width().min(frame.width()),
                picture.height().min(frame.height()),
            ),
            present.is_inside(frame),
        ) else {
            return Ok(Cropping::Whole);
        };
        let tried = |x: u32, y: u32, size: Extent| {
            let wanted = Rect::new(x, y, size);
            match self.request_visible(frame, wanted) {
                Ok(found) => Ok(found == Some(wanted)),
                Err(Error::Request { .. } | Error::OutsideFrame { .. } | Error::Busy { .. }) => {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        let cropping = match tried(0, 0, smaller)? && tried(0, 0, small)? {
            false => Cropping::Whole,
            true if tried(MOVED_PIXELS, MOVED_PIXELS, smaller)? => Cropping::Set(Crop::Anywhere),
            true => Cropping::Set(Crop::TopLeft),
        };
        match self.request_visible(frame, present) {
            Ok(Some(found)) if found == present => {}
            answer => {
                tracing::warn!(device = %self.device().path().display(), ?answer, %present, "VIDIOC_S_SELECTION did not restore the rectangle");
            }
        }
        Ok(cropping)
    }

    /// Adds constraints on the width and height of the picture, and of the coded frame, to the constraints of a format.
    ///
    /// `image` already has the range of strides for the driver's smallest coded width. If the driver accepts only one stride, the
    /// coded width is declared as fixed, because another width would have another stride.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub(super) fn add_sides(
        &self,
        image: &mut ImageConstraints,
        picture: Extent,
        negotiated: &NegotiatedFormat,
        cropping: Cropping,
    ) -> Result<(), Error> {
        let frame = negotiated.extent;
        image.width = SideConstraints::exactly(frame.width());
        image.height = SideConstraints::exactly(frame.height());
        let holds_picture = Rect::whole(picture).is_inside(frame);
        if cropping == Cropping::Whole
            || !holds_picture
            || !self.crops_to(picture, negotiated.pixel_format)?
        {
            return Ok(());
        }
        image.width = SideConstraints::exactly(picture.width());
        image.height = SideConstraints::exactly(picture.height());
        let mut coded = CodedConstraints::default();
        let has_one_stride = image.stride.minimum == image.stride.maximum;
        let widths = match has_one_stride {
            true => Range::exactly(frame.width()),
            false => self.lengths(
                negotiated,
                |length| Extent::new(length, frame.height()).ok(),
                Extent::width,
            )?,
        };
        let heights = self.lengths(
            negotiated,
            |length| Extent::new(frame.width(), length).ok(),
            Extent::height,
        )?;
        coded.width = coded_length_constraints(picture.width(), widths);
        coded.height = coded_length_constraints(picture.height(), heights);
        image.crop = match cropping {
            Cropping::Whole => Crop::None,
            Cropping::Stream(x, y) => {
                (coded.x.minimum, coded.x.maximum) = (x, x);
                (coded.y.minimum, coded.y.maximum) = (y, y);
                Crop::Anywhere
            }
            Cropping::Set(crop) => {
                coded.x.multiple_of = MOVED_PIXELS;
                coded.y.multiple_of = MOVED_PIXELS;
                crop
            }
        };
        image.coded = Some(coded);
        Ok(())
    }

    /// Whether the driver's list of frame sizes permits pictures that are smaller than the frame.
    fn crops_to(&self, picture: Extent, pixel_format: PixelFormat) -> Result<bool, Error> {
        Ok(match self.frame_sizes(pixel_format)? {
            FrameSizes::Discrete(_) => false,
            FrameSizes::Stepwise { minimum, .. } => Rect::whole(minimum).is_inside(picture),
            FrameSizes::Unlisted => true,
        })
    }

    /// Determines which coded widths or heights the driver accepts for a format, beginning with the smallest.
    fn lengths(
        &self,
        negotiated: &NegotiatedFormat,
        extent: impl Fn(u32) -> Option<Extent>,
        length: impl Fn(Extent) -> u32,
    ) -> Result<Range, Error> {
        range::probe(length(negotiated.extent), |wanted| {
            let Some(extent) = extent(wanted) else {
                return Ok(None);
            };
            let returned = self.try_exactly(extent, negotiated.pixel_format, 0)?;
            Ok(returned.map(|returned| length(returned.extent)))
        })
    }

    /// Whether this is the capture queue of a decoder: the device is memory-to-memory, and its output queue has only coded
    /// formats.
    pub(super) fn is_decoded(&self) -> bool {
        let is_converter = self.device().capabilities() & (sys::CAP_M2M | sys::CAP_M2M_MPLANE) != 0;
        let other = self.device().queue(Direction::Output);
        self.direction() == Direction::Capture
            && is_converter
            && other
                .and_then(|other| other.formats())
                .is_ok_and(|formats| {
                    !formats.is_empty() && formats.iter().all(|format| format.is_compressed)
                })
    }

    /// Returns the frame size of the queue's current format.
    fn current_extent(&self) -> Result<Extent, Error> {
        let format = self.raw_format()?;
        NegotiatedFormat::from_format(&format)
            .map(|format| format.extent)
            .map_err(|_| self.device().failed("VIDIOC_G_FMT", Errno::RANGE))
    }

    /// Returns the argument of VIDIOC_G_SELECTION or VIDIOC_S_SELECTION for this queue. Its buffer type is the single-planar type
    /// even for a multi-planar queue, because kernels before 4.13 accept only that type.
    fn selection(&self, rectangle: sys::Rect) -> sys::Selection {
        let (kind, target) = match self.direction() {
            Direction::Capture => (sys::CAPTURE, sys::SELECTION_COMPOSE),
            Direction::Output => (sys::OUTPUT, sys::SELECTION_CROP),
        };
        sys::Selection {
            kind,
            target,
            rectangle,
            ..Default::default()
        }
    }

    fn parse(
        &self,
        operation: &'static str,
        returned: sys::Rect,
        frame: Extent,
    ) -> Result<Rect, Error> {
        rect_inside(returned, frame).ok_or_else(|| Error::OutsideFrame {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
            operation,
            rectangle: format!(
                "{}x{} at ({}, {})",
                returned.width, returned.height, returned.left, returned.top
            ),
            frame,
        })
    }
}

/// Whether the errno means that the driver does not support the selection target. Drivers differ in which of these they return.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOTTY | Errno::NODATA)
}

/// Converts a rectangle that a driver returned; `None` if it is empty, or not inside of the frame.
fn rect_inside(returned: sys::Rect, frame: Extent) -> Option<Rect> {
    let extent = Extent::new(returned.width, returned.height).ok()?;
    let (x, y) = (
        u32::try_from(returned.left).ok()?,
        u32::try_from(returned.top).ok()?,
    );
    Some(Rect::new(x, y, extent)).filter(|rect| rect.is_inside(frame))
}

fn to_request(rect: Rect) -> Option<sys::Rect> {
    Some(sys::Rect {
        left: i32::try_from(rect.x()).ok()?,
        top: i32::try_from(rect.y()).ok()?,
        width: rect.width(),
        height: rect.height(),
    })
}

/// Returns the constraints on the coded width or height for a picture of this width or height. The minimum is declared only if it
/// does not follow from the picture and the step.
fn coded_length_constraints(picture_length: u32, range: Range) -> SideConstraints {
    let implied = picture_length.checked_next_multiple_of(range.step.max(1)) == Some(range.minimum);
    SideConstraints {
        minimum: if implied { 1 } else { range.minimum },
        maximum: range.maximum,
        multiple_of: range.step.max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(width: u32, height: u32) -> Extent {
        Extent::new(width, height).unwrap()
    }

    fn rect(left: i32, top: i32, width: u32, height: u32) -> sys::Rect {
        sys::Rect {
            left,
            top,
            width,
            height,
        }
    }

    #[test]
    fn rectangle_of_a_driver_is_inside_of_the_frame_or_none() {
        let frame = extent(1920, 1088);
        let visible = Rect::new(0, 8, extent(1920, 1080));
        assert_eq!(rect_inside(rect(0, 8, 1920, 1080), frame), Some(visible));
        for hostile in [
            rect(0, 9, 1920, 1080),
            rect(1, 0, 1920, 1080),
            rect(-1, 0, 1920, 1080),
            rect(0, i32::MIN, 1920, 1080),
            rect(i32::MAX, i32::MAX, u32::MAX, u32::MAX),
            rect(0, 0, 0, 1080),
            rect(0, 0, 1920, 0),
            rect(0, 0, 1921, 1),
        ] {
            assert_eq!(rect_inside(hostile, frame), None, "{hostile:?}");
        }
    }

    #[test]
    fn error_names_the_rectangle_and_the_frame() {
        let device = || std::path::PathBuf::from("/dev/video1");
        let outside = Error::OutsideFrame {
            device: device(),
            driver: "vicodec".to_owned(),
            operation: "VIDIOC_G_SELECTION",
            rectangle: "1920x1080 at (0, -8)".to_owned(),
            frame: extent(1920, 1088),
        };
        let words = outside.to_string();
        for said in ["/dev/video1", "1920x1080 at (0, -8)", "1920x1088"] {
            assert!(words.contains(said), "{words}");
        }
        let other = Error::Visible {
            device: device(),
            driver: "vicodec".to_owned(),
            frame: extent(1920, 1088),
            wanted: Rect::whole(extent(1920, 1080)),
            found: Rect::whole(extent(1280, 720)),
        };
        let words = other.to_string();
        assert!(words.contains("of 1920x1088") && words.ends_with("pictures of 1280x720"));
    }

    #[test]
    fn rectangle_is_unchanged_by_conversion_to_v4l2_rect_and_back() {
        let visible = Rect::new(16, 8, extent(1280, 720));
        let request = to_request(visible).unwrap();
        assert_eq!(rect_inside(request, extent(1296, 736)), Some(visible));
        let far = Rect::new(u32::MAX, 0, extent(1, 1));
        assert_eq!(to_request(far), None);
    }

    #[test]
    fn coded_side_states_its_least_length_only_where_the_step_does_not_imply_it() {
        let rows = Range {
            minimum: 1088,
            maximum: 2176,
            step: 16,
        };
        let sides = |side: SideConstraints| (side.minimum, side.maximum, side.multiple_of);
        assert_eq!(sides(coded_length_constraints(1080, rows)), (1, 2176, 16));
        assert_eq!(
            sides(coded_length_constraints(1060, rows)),
            (1088, 2176, 16)
        );
        assert_eq!(
            sides(coded_length_constraints(1920, Range::exactly(1920))),
            (1, 1920, 1)
        );
        assert_eq!(
            sides(coded_length_constraints(1918, Range::exactly(1920))),
            (1920, 1920, 1)
        );
    }
}
