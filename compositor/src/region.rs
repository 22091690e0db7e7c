//! Rectangles in whole pixels, and regions of rectangles.

/// A rectangle in pixels; empty when its width or height is not positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// The left edge in pixels.
    pub x: i32,
    /// The upper edge in pixels.
    pub y: i32,
    /// The width in pixels.
    pub width: i32,
    /// The height in pixels.
    pub height: i32,
}

impl Rect {
    /// Creates a rectangle from its upper left corner and its size.
    pub const fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    /// Creates a rectangle at the origin.
    pub const fn of_size(width: i32, height: i32) -> Self {
        Self::new(0, 0, width, height)
    }

    /// Returns the first column to the right of the rectangle.
    pub const fn right(self) -> i32 {
        self.x.saturating_add(self.width)
    }

    /// Returns the first row below the rectangle.
    pub const fn bottom(self) -> i32 {
        self.y.saturating_add(self.height)
    }

    /// Returns whether the rectangle contains no pixel.
    pub const fn is_empty(self) -> bool {
        self.width <= 0 || self.height <= 0
    }

    /// Returns the number of pixels.
    pub fn area(self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        u64::from(self.width.unsigned_abs()).saturating_mul(u64::from(self.height.unsigned_abs()))
    }

    /// Returns the intersection; `None` if it is empty.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let common = Self::new(
            x,
            y,
            self.right().min(other.right()).saturating_sub(x),
            self.bottom().min(other.bottom()).saturating_sub(y),
        );
        (!common.is_empty()).then_some(common)
    }

    /// Returns whether the rectangle contains every pixel of `other`.
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || self.intersection(other) == Some(other)
    }

    /// Returns the rectangle moved by `x` and `y` pixels.
    #[must_use]
    pub const fn moved(self, x: i32, y: i32) -> Self {
        Self::new(
            self.x.saturating_add(x),
            self.y.saturating_add(y),
            self.width,
            self.height,
        )
    }
}

/// A set of pixels as rectangles that do not overlap, so that the area is the sum of their areas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    rects: Vec<Rect>,
}

/// The maximum number of rectangles that [`simplify`](Region::simplify) keeps.
const RECTS_MAX: usize = 32;

impl Region {
    /// Adds the pixels of `rect`.
    pub fn add(&mut self, rect: Rect) {
        let mut missing = vec![rect];
        for existing in &self.rects {
            missing = missing
                .into_iter()
                .flat_map(|part| without(part, *existing))
                .collect();
        }
        self.rects
            .extend(missing.into_iter().filter(|part| !part.is_empty()));
    }

    /// Replaces the rectangles by their bounding rectangle if there are too many.
    ///
    /// The result may contain more pixels. That is correct for damage, but not for an opaque region.
    pub fn simplify(&mut self) {
        if self.rects.len() > RECTS_MAX {
            self.rects = vec![self.bounds()];
        }
    }

    /// Removes the pixels of `rect`.
    pub fn subtract(&mut self, rect: Rect) {
        self.rects = self
            .rects
            .iter()
            .flat_map(|existing| without(*existing, rect))
            .collect();
    }

    /// Adds the pixels of `other`.
    pub fn merge(&mut self, other: &Self) {
        for rect in &other.rects {
            self.add(*rect);
        }
    }

    /// Removes the pixels outside of `bounds`.
    pub fn clip(&mut self, bounds: Rect) {
        self.rects = self
            .rects
            .iter()
            .filter_map(|rect| rect.intersection(bounds))
            .collect();
    }

    /// Returns the rectangles. They do not overlap.
    pub fn rects(&self) -> &[Rect] {
        &self.rects
    }

    /// Returns whether the region contains no pixel.
    pub fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }

    /// Returns the number of pixels.
    pub fn area(&self) -> u64 {
        self.rects.iter().map(|rect| rect.area()).sum()
    }

    /// Returns whether the region contains every pixel of `rect`.
    pub fn covers(&self, rect: Rect) -> bool {
        let mut missing = vec![rect];
        for existing in &self.rects {
            missing = missing
                .into_iter()
                .flat_map(|part| without(part, *existing))
                .collect();
        }
        missing.iter().all(|part| part.is_empty())
    }

    /// Returns the bounding rectangle.
    pub fn bounds(&self) -> Rect {
        let x = self.rects.iter().map(|rect| rect.x).min().unwrap_or(0);
        let y = self.rects.iter().map(|rect| rect.y).min().unwrap_or(0);
        let right = self.rects.iter().map(|rect| rect.right()).max();
        let bottom = self.rects.iter().map(|rect| rect.bottom()).max();
        Rect::new(
            x,
            y,
            right.unwrap_or(0).saturating_sub(x),
            bottom.unwrap_or(0).saturating_sub(y),
        )
    }
}

impl From<Rect> for Region {
    fn from(rect: Rect) -> Self {
        let mut region = Self::default();
        region.add(rect);
        region
    }
}

impl FromIterator<Rect> for Region {
    fn from_iter<T: IntoIterator<Item = Rect>>(rects: T) -> Self {
        let mut region = Self::default();
        for rect in rects {
            region.add(rect);
        }
        region
    }
}

/// Returns `rect` without `hole`: up to four rectangles above, left, right and below.
fn without(rect: Rect, hole: Rect) -> impl Iterator<Item = Rect> {
    let parts = match rect.intersection(hole) {
        None => [rect, Rect::default(), Rect::default(), Rect::default()],
        Some(cut) => [
            Rect::new(rect.x, rect.y, rect.width, cut.y.saturating_sub(rect.y)),
            Rect::new(rect.x, cut.y, cut.x.saturating_sub(rect.x), cut.height),
            Rect::new(
                cut.right(),
                cut.y,
                rect.right().saturating_sub(cut.right()),
                cut.height,
            ),
            Rect::new(
                rect.x,
                cut.bottom(),
                rect.width,
                rect.bottom().saturating_sub(cut.bottom()),
            ),
        ],
    };
    parts.into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_of_overlapping_rects_counts_each_pixel_once() {
        let mut region = Region::from(Rect::of_size(10, 10));
        region.add(Rect::new(5, 5, 10, 10));
        assert_eq!(region.area(), 175);
        region.add(Rect::new(2, 2, 3, 3));
        assert_eq!(region.area(), 175);
    }

    #[test]
    fn region_with_a_hole_does_not_cover_it() {
        let mut region = Region::from(Rect::of_size(10, 10));
        region.subtract(Rect::new(4, 4, 2, 2));
        assert_eq!(region.area(), 96);
        assert!(!region.covers(Rect::of_size(10, 10)));
        assert!(region.covers(Rect::of_size(10, 4)));
    }

    #[test]
    fn region_of_two_halves_covers_the_whole() {
        let mut region = Region::from(Rect::of_size(5, 10));
        region.add(Rect::new(5, 0, 5, 10));
        assert!(region.covers(Rect::of_size(10, 10)));
    }

    #[test]
    fn region_of_many_rects_is_simplified_to_its_bounds() {
        let mut region = Region::default();
        for place in 0..40 {
            region.add(Rect::new(place * 10, 0, 1, 1));
        }
        assert_eq!(region.area(), 40);
        region.simplify();
        assert_eq!(region.rects().len(), 1);
        assert!(region.covers(Rect::new(390, 0, 1, 1)));
    }

    #[test]
    fn rect_at_the_integer_limits_does_not_overflow() {
        let far = Rect::new(i32::MAX - 1, i32::MAX - 1, i32::MAX, i32::MAX);
        assert_eq!(far.intersection(Rect::of_size(10, 10)), None);
        assert!(Region::from(far).area() > 0);
    }
}
