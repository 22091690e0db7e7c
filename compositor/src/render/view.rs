//! The view of a buffer: its source rectangle, its destination on the output, and its transform.

use crate::region::Rect;

/// The transform that a surface applies to its buffer.
///
/// # References
///
/// `wl_output.transform` and `wl_surface.set_buffer_transform`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names of wl_output.transform
pub enum Transform {
    #[default]
    Normal,
    Rotated90,
    Rotated180,
    Rotated270,
    Flipped,
    Flipped90,
    Flipped180,
    Flipped270,
}

impl Transform {
    /// Returns the width and height of a buffer in pixels after the transform.
    pub fn size(self, (width, height): (usize, usize)) -> (usize, usize) {
        match self {
            Self::Normal | Self::Rotated180 | Self::Flipped | Self::Flipped180 => (width, height),
            _ => (height, width),
        }
    }

    /// Returns whether the transform turns rows of the buffer into columns.
    pub(super) const fn swaps_axes(self) -> bool {
        matches!(
            self,
            Self::Rotated90 | Self::Rotated270 | Self::Flipped90 | Self::Flipped270
        )
    }

    /// Maps a point of the transformed buffer, which has the given width and height, to the point of the buffer itself.
    pub(super) fn to_buffer(self, (x, y): (f64, f64), (width, height): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Normal => (x, y),
            // The client rotated its content counter-clockwise, so the right edge of the surface is the upper edge of the buffer.
            Self::Rotated90 => (y, width - x),
            Self::Rotated180 => (width - x, height - y),
            Self::Rotated270 => (height - y, x),
            Self::Flipped => (width - x, y),
            Self::Flipped90 => (y, x),
            Self::Flipped180 => (x, height - y),
            Self::Flipped270 => (height - y, width - x),
        }
    }
}

/// The source rectangle, the destination rectangle and the transform of a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BufferView {
    /// The source rectangle in pixels of the transformed buffer: x, y, width, height.
    pub source: (f64, f64, f64, f64),
    /// The destination rectangle in output pixels.
    pub destination: Rect,
    /// The transform of the buffer.
    pub transform: Transform,
}

impl BufferView {
    /// Returns whether the buffer is neither scaled nor transformed, so that each output pixel is one buffer pixel.
    pub fn is_plain(&self) -> bool {
        let (x, y, width, height) = self.source;
        self.transform == Transform::Normal
            && x.fract() == 0.0
            && y.fract() == 0.0
            && width == f64::from(self.destination.width)
            && height == f64::from(self.destination.height)
    }

    /// Returns the source rectangle in whole pixels of the buffer; `None` if the buffer is transformed, or an edge of the
    /// rectangle is inside of a pixel.
    pub fn source_pixels(&self) -> Option<Rect> {
        let (x, y, width, height) = self.source;
        let whole = |length: f64| {
            let is_whole = length.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&length);
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
            is_whole.then_some(length as i32)
        };
        if self.transform != Transform::Normal {
            return None;
        }
        Some(Rect::new(
            whole(x)?,
            whole(y)?,
            whole(width)?,
            whole(height)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_of_whole_pixels_is_a_part_of_the_buffer() {
        let view = |source, transform| BufferView {
            source,
            destination: Rect::of_size(1920, 1080),
            transform,
        };
        let cropped = view((0.0, 8.0, 1920.0, 1080.0), Transform::Normal);
        let expected = Rect::new(0, 8, 1920, 1080);
        assert_eq!(cropped.source_pixels(), Some(expected));
        assert!(cropped.is_plain());
        for (source, transform) in [
            ((0.0, 0.5, 1920.0, 1080.0), Transform::Normal),
            ((0.0, -1.0, 1920.0, 1080.0), Transform::Normal),
            ((0.0, 0.0, f64::INFINITY, 1080.0), Transform::Normal),
            ((0.0, 0.0, f64::NAN, 1080.0), Transform::Normal),
            ((0.0, 8.0, 1920.0, 1080.0), Transform::Rotated180),
        ] {
            assert_eq!(view(source, transform).source_pixels(), None, "{source:?}");
        }
    }
}
