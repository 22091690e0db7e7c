//! A rectangle of pixels inside of an image.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Extent, ExtentError};

/// A rectangle of pixels inside of an image, such as the picture in a decoder's padded buffer.
///
/// # References
/// `struct v4l2_rect`; the source rectangle of a KMS plane (`SRC_X`, `SRC_Y`, `SRC_W` and `SRC_H`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct Rect {
    x: u32,
    y: u32,
    extent: Extent,
}

/// The JSON form of a rectangle.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Rect {
    /// Makes a rectangle whose top left pixel is at `x` and `y`.
    #[must_use]
    pub const fn new(x: u32, y: u32, extent: Extent) -> Self {
        Self { x, y, extent }
    }

    /// Returns the rectangle that contains all pixels of an image.
    #[must_use]
    pub const fn whole(extent: Extent) -> Self {
        Self::new(0, 0, extent)
    }

    /// Returns the first column of the rectangle.
    #[must_use]
    pub const fn x(self) -> u32 {
        self.x
    }

    /// Returns the first row of the rectangle.
    #[must_use]
    pub const fn y(self) -> u32 {
        self.y
    }

    /// Returns the width and height of the rectangle.
    #[must_use]
    pub const fn extent(self) -> Extent {
        self.extent
    }

    /// Returns the width of the rectangle in pixels.
    #[must_use]
    pub const fn width(self) -> u32 {
        self.extent.width()
    }

    /// Returns the height of the rectangle in pixels.
    #[must_use]
    pub const fn height(self) -> u32 {
        self.extent.height()
    }

    /// Returns whether all pixels of the rectangle are inside of an image with this extent.
    #[must_use]
    pub fn is_inside(self, extent: Extent) -> bool {
        let fits = |begin: u32, length: u32, whole: u32| {
            begin.checked_add(length).is_some_and(|end| end <= whole)
        };
        fits(self.x, self.width(), extent.width()) && fits(self.y, self.height(), extent.height())
    }
}

impl From<Rect> for Fields {
    fn from(rect: Rect) -> Self {
        Self {
            x: rect.x,
            y: rect.y,
            width: rect.width(),
            height: rect.height(),
        }
    }
}

impl TryFrom<Fields> for Rect {
    type Error = ExtentError;

    fn try_from(fields: Fields) -> Result<Self, ExtentError> {
        let extent = Extent::new(fields.width, fields.height)?;
        Ok(Self::new(fields.x, fields.y, extent))
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at ({}, {})", self.extent, self.x, self.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangle_is_inside_up_to_the_last_row_and_column() {
        let extent = Extent::new(1920, 1088).unwrap();
        let visible = Rect::new(0, 8, Extent::new(1920, 1080).unwrap());
        assert!(visible.is_inside(extent) && Rect::whole(extent).is_inside(extent));
        assert!(!Rect::new(0, 9, visible.extent()).is_inside(extent));
        assert!(!Rect::new(1, 0, visible.extent()).is_inside(extent));
        assert!(!Rect::new(u32::MAX, 0, visible.extent()).is_inside(extent));
        assert_eq!(visible.to_string(), "1920x1080 at (0, 8)");
    }

    #[test]
    fn rectangle_without_pixels_is_not_read() {
        let text = |width: u32| format!(r#"{{"x": 2, "y": 4, "width": {width}, "height": 5}}"#);
        let read: Rect = serde_json::from_str(&text(3)).unwrap();
        assert_eq!(read, Rect::new(2, 4, Extent::new(3, 5).unwrap()));
        assert!(serde_json::from_str::<Rect>(&text(0)).is_err());
    }
}
