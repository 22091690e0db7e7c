//! The area of the desktop that an output shows, and the conversion of logical coordinates to pixels of the output.
//!
//! ```text
//!   logical coordinates of the desktop ──▶ moved to the output's corner ──▶ scaled ──▶ transformed ──▶ pixels of the mode
//! ```

use crate::region::{Rect, Region};
use crate::render::BufferView;
use crate::render::view::Transform;

/// The identity of an output. It is the same again when a display is plugged into the same connector again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputId(pub(crate) u32);

/// The position of an output on the desktop, its scale and its transform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputView {
    /// The identity of the output.
    pub id: OutputId,
    /// The rectangle of the output in logical coordinates.
    pub logical: Rect,
    /// The size of the mode in pixels.
    pub pixels: Rect,
    /// The number of physical pixels for each logical pixel.
    pub scale: f64,
    /// The transform from the desktop to the pixels of the mode.
    pub transform: Transform,
}

/// The linear part of a transform from surface to buffer coordinates. The first row computes the buffer's x, and the second its
/// y.
type Matrix = [[i32; 2]; 2];

const MATRICES: [(Transform, Matrix); 8] = [
    (Transform::Normal, [[1, 0], [0, 1]]),
    (Transform::Rotated90, [[0, 1], [-1, 0]]),
    (Transform::Rotated180, [[-1, 0], [0, -1]]),
    (Transform::Rotated270, [[0, -1], [1, 0]]),
    (Transform::Flipped, [[-1, 0], [0, 1]]),
    (Transform::Flipped90, [[0, 1], [1, 0]]),
    (Transform::Flipped180, [[1, 0], [0, -1]]),
    (Transform::Flipped270, [[0, -1], [-1, 0]]),
];

/// Returns the matrix of a transform, for coordinates relative to the centre.
fn matrix(transform: Transform) -> Matrix {
    let found = MATRICES.iter().find(|(other, _)| *other == transform);
    found.map_or([[1, 0], [0, 1]], |(_, matrix)| *matrix)
}

/// Returns the transform with which a buffer is drawn on an output. `surface` is the transform of the buffer, and `output` that
/// of the output.
fn relative(surface: Transform, output: Transform) -> Transform {
    let (surface, output) = (matrix(surface), matrix(output));
    // The inverse of such a matrix is its transpose.
    let product = |row: usize, column: usize| {
        surface[row][0] * output[column][0] + surface[row][1] * output[column][1]
    };
    let product = [
        [product(0, 0), product(0, 1)],
        [product(1, 0), product(1, 1)],
    ];
    let found = MATRICES.iter().find(|(_, matrix)| *matrix == product);
    found.map_or(Transform::Normal, |(transform, _)| *transform)
}

/// Transforms a rectangle (x, y, width, height) within an area of the given size.
fn transform_rect(
    transform: Transform,
    (x, y, width, height): (f64, f64, f64, f64),
    size: (f64, f64),
) -> (f64, f64, f64, f64) {
    let matrix = matrix(transform);
    let row = |row: usize| {
        let [by_x, by_y] = matrix[row];
        let (start, length, whole) = if by_x == 0 {
            (y, height, size.1)
        } else {
            (x, width, size.0)
        };
        let start = if by_x + by_y < 0 {
            whole - start - length
        } else {
            start
        };
        (start, length)
    };
    let ((x, width), (y, height)) = (row(0), row(1));
    (x, y, width, height)
}

impl OutputView {
    /// Creates the view of an output whose upper left corner is at `position`.
    pub fn new(
        id: OutputId,
        position: (i32, i32),
        pixels: Rect,
        scale: f64,
        transform: Transform,
    ) -> Self {
        let (_, _, width, height) = transform_back(pixels, transform);
        let size = |pixels: f64| to_i32((pixels / scale).ceil());
        Self {
            id,
            logical: Rect::new(position.0, position.1, size(width), size(height)),
            pixels,
            scale,
            transform,
        }
    }

    /// Returns whether logical coordinates and pixels differ only by the output's position.
    fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.transform == Transform::Normal
    }

    /// Converts a logical rectangle to pixels of the output. Its edges are rounded to the nearest pixel.
    pub fn rect(&self, rect: Rect) -> Rect {
        self.map(rect, f64::round, f64::round)
    }

    /// Converts a logical region to pixels. The result contains at least the logical region.
    pub fn outer_region(&self, region: &Region) -> Region {
        let rects = region.rects().iter();
        rects
            .map(|rect| self.map(*rect, f64::floor, f64::ceil))
            .collect()
    }

    /// Converts a logical region to pixels. The result has only pixels that are completely inside of the logical region.
    pub fn inner_region(&self, region: &Region) -> Region {
        let rects = region.rects().iter();
        rects
            .map(|rect| self.map(*rect, f64::ceil, f64::floor))
            .filter(|rect| !rect.is_empty())
            .collect()
    }

    /// Converts a logical rectangle to pixels. `low` rounds the left and upper edges, and `high` the right and lower edges.
    fn map(&self, rect: Rect, low: fn(f64) -> f64, high: fn(f64) -> f64) -> Rect {
        let moved = rect.moved(
            self.logical.x.saturating_neg(),
            self.logical.y.saturating_neg(),
        );
        if self.is_plain() {
            return moved;
        }
        let left = low(f64::from(moved.x) * self.scale);
        let top = low(f64::from(moved.y) * self.scale);
        let right = high(f64::from(moved.right()) * self.scale);
        let bottom = high(f64::from(moved.bottom()) * self.scale);
        let (_, _, width, height) = transform_back(self.pixels, self.transform);
        let rect = (left, top, right - left, bottom - top);
        let (x, y, width, height) = transform_rect(self.transform, rect, (width, height));
        Rect::new(to_i32(x), to_i32(y), to_i32(width), to_i32(height))
    }

    /// Converts the destination of a buffer's view to pixels of the output, and combines the transforms. `view` has a logical
    /// destination, and `size` is the size of the buffer in pixels.
    pub fn view(&self, view: BufferView, size: (usize, usize)) -> BufferView {
        let destination = self.rect(view.destination);
        if self.transform == Transform::Normal {
            return BufferView {
                destination,
                ..view
            };
        }
        let pixels = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let (width, height) = view.transform.size(size);
        BufferView {
            source: transform_rect(self.transform, view.source, (pixels(width), pixels(height))),
            destination,
            transform: relative(view.transform, self.transform),
        }
    }

    /// Returns the logical position of a point that is given as fractions of the output's logical width and height, from 0 to 1.
    pub fn point(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            f64::from(self.logical.x) + x * f64::from(self.logical.width),
            f64::from(self.logical.y) + y * f64::from(self.logical.height),
        )
    }
}

/// Returns a rectangle with the size of the mode before the transform.
fn transform_back(pixels: Rect, transform: Transform) -> (f64, f64, f64, f64) {
    let swaps = matrix(transform)[0][0] == 0;
    let (width, height) = (f64::from(pixels.width), f64::from(pixels.height));
    if swaps {
        (0.0, 0.0, height, width)
    } else {
        (0.0, 0.0, width, height)
    }
}

/// Converts a number without its fraction. Numbers beyond the range become its limits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, and a saturated rectangle is clipped to the output"
)]
fn to_i32(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(scale: f64, transform: Transform) -> OutputView {
        let pixels = Rect::of_size(640, 480);
        OutputView::new(OutputId(0), (100, 50), pixels, scale, transform)
    }

    #[test]
    fn logical_size_is_the_size_in_pixels_after_transform_and_scale() {
        assert_eq!(
            view(1.0, Transform::Normal).logical,
            Rect::new(100, 50, 640, 480)
        );
        assert_eq!(
            view(2.0, Transform::Normal).logical,
            Rect::new(100, 50, 320, 240)
        );
        assert_eq!(
            view(1.0, Transform::Rotated90).logical,
            Rect::new(100, 50, 480, 640)
        );
        assert_eq!(
            view(1.5, Transform::Flipped270).logical,
            Rect::new(100, 50, 320, 427)
        );
    }

    #[test]
    fn whole_output_is_its_mode_for_each_transform() {
        for (transform, _) in MATRICES {
            let view = view(1.0, transform);
            assert_eq!(view.rect(view.logical), view.pixels, "{transform:?}");
        }
    }

    #[test]
    fn corner_is_where_the_transform_of_wl_output_puts_it() {
        // The expected values are the positions of the desktop's upper left corner in the mode. The compositor rotates
        // counter-clockwise, so the corner is at the lower left for 90 degrees.
        for (transform, expected) in [
            (Transform::Normal, (0, 0)),
            (Transform::Rotated90, (0, 470)),
            (Transform::Rotated180, (630, 470)),
            (Transform::Rotated270, (630, 0)),
            (Transform::Flipped, (630, 0)),
            (Transform::Flipped90, (0, 0)),
            (Transform::Flipped180, (0, 470)),
            (Transform::Flipped270, (630, 470)),
        ] {
            let rect = view(1.0, transform).rect(Rect::new(100, 50, 10, 10));
            assert_eq!((rect.x, rect.y), expected, "{transform:?}");
        }
    }

    #[test]
    fn buffer_with_the_outputs_transform_is_neither_scaled_nor_transformed() {
        for (transform, _) in MATRICES {
            let output = view(1.0, transform);
            let logical = (
                f64::from(output.logical.width),
                f64::from(output.logical.height),
            );
            let buffer = BufferView {
                source: (0.0, 0.0, logical.0, logical.1),
                destination: output.logical,
                transform,
            };
            let mapped = output.view(buffer, (640, 480));
            assert!(mapped.is_plain(), "{transform:?}: {mapped:?}");
            assert_eq!(mapped.source_pixels(), Some(output.pixels));
        }
    }

    #[test]
    fn regions_are_rounded_outwards_and_inwards() {
        let output = view(1.5, Transform::Normal);
        let region = Region::from(Rect::new(101, 51, 1, 1));
        assert_eq!(output.outer_region(&region).bounds(), Rect::new(1, 1, 2, 2));
        assert!(output.inner_region(&region).area() <= 1);
    }
}
