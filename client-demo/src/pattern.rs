//! Draws a frame number into a picture, so that a checker can find torn, repeated and reordered frames in the pixels.
//!
//! The picture has eight bands. Each band begins with a strip of 32 black and white cells and continues with eight colour bars,
//! which shift by one bar with each frame:
//!
//! ```text
//!   cell  0 1 │ 2 ……………………………… 25 │ 26 ……………… 29 │ 30 31
//!         □ ■ │ frame number, 24 bits │ sum of its │ ■  □
//!             │ most significant first│ nibbles    │
//!   bars  ████ ████ ████ ████ ████ ████ ████ ████
//! ```
//! A torn frame has strips of two numbers, or bars that do not match its number.

/// The number of cells in a strip.
const CELLS: u32 = 32;
/// The number of bits in a frame number.
const NUMBER_BITS: u32 = 24;
/// The number of bands in a picture.
const BANDS: u32 = 8;
/// The number of distinct frame numbers. Frame numbers wrap here.
pub const NUMBERS: u32 = 1 << NUMBER_BITS;

const WHITE: [u8; 3] = [255, 255, 255];
const BLACK: [u8; 3] = [0, 0, 0];
/// The colours of the bars of frame 0 as red, green and blue, left to right.
const BARS: [[u8; 3]; 8] = [
    WHITE,
    [255, 255, 0],
    [0, 255, 255],
    [0, 255, 0],
    [255, 0, 255],
    [255, 0, 0],
    [0, 0, 255],
    BLACK,
];

/// Why a picture is not a frame of the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The picture is too small for the cells and bands.
    #[error("{width}x{height} is too small for the numbered pattern: it needs {CELLS}x{rows} at least", rows = BANDS * 4)]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The first strip does not contain a valid number.
    #[error("no frame number can be read: {0}")]
    Unreadable(&'static str),
    /// A pixel differs from the frame whose number the first strip shows.
    #[error(
        "the picture is not frame {number}: pixel ({x}, {y}) is {found:?}, expected {expected:?}"
    )]
    Foreign {
        /// The number in the first strip.
        number: u32,
        /// The column of the first pixel that differs.
        x: u32,
        /// The row of the first pixel that differs.
        y: u32,
        /// The colour in the picture as red, green and blue.
        found: [u8; 3],
        /// The colour of the pattern as red, green and blue.
        expected: [u8; 3],
    },
}

/// The pattern for pictures of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    width: u32,
    height: u32,
}

/// The two kinds of rows of one frame in XRGB8888: rows of a strip and rows of the bars. The bytes of a pixel are blue, green,
/// red, 255.
#[derive(Clone, Debug)]
pub struct Rows {
    pattern: Pattern,
    strip: Vec<u8>,
    bars: Vec<u8>,
}

impl Pattern {
    /// Creates the pattern for pictures of `width` by `height` pixels.
    ///
    /// # Errors
    ///
    /// [`PatternError::Size`] if a cell would be narrower than one pixel, or a band would have fewer than four rows.
    pub fn new(width: u32, height: u32) -> Result<Self, PatternError> {
        if width < CELLS || height < BANDS * 4 {
            return Err(PatternError::Size { width, height });
        }
        Ok(Self { width, height })
    }

    /// Draws the two kinds of rows of which frame `number` consists. Frame [`NUMBERS`] equals frame 0.
    #[must_use]
    pub fn rows(self, number: u32) -> Rows {
        let row = |strip| {
            (0..self.width)
                .flat_map(|x| {
                    let [red, green, blue] = self.colour(number, x, strip);
                    [blue, green, red, 255]
                })
                .collect()
        };
        Rows {
            pattern: self,
            strip: row(true),
            bars: row(false),
        }
    }

    /// Reads the number that the first strip of a picture shows; `pixel` returns red, green and blue at a column and a row.
    ///
    /// # Errors
    ///
    /// [`PatternError::Unreadable`] if a cell is neither black nor white, if the cells at the ends of the strip are wrong, or if
    /// the sum does not match the frame number.
    pub fn read(self, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Result<u32, PatternError> {
        let mut cells = 0u32;
        for cell in 0..CELLS {
            let (left, right) = (self.cell_edge(cell), self.cell_edge(cell + 1));
            let bit = match pixel(left + (right - left) / 2, 0) {
                [r, g, b] if r.min(g).min(b) > 200 => 1,
                [r, g, b] if r.max(g).max(b) < 55 => 0,
                _ => {
                    return Err(PatternError::Unreadable(
                        "a cell is neither black nor white",
                    ));
                }
            };
            cells = cells << 1 | bit;
        }
        let number = cells >> 6 & (NUMBERS - 1);
        if cells == strip_cells(number) {
            Ok(number)
        } else {
            Err(PatternError::Unreadable(
                "the cells at the strip's ends or the sum of the nibbles are wrong",
            ))
        }
    }

    /// Compares every pixel of a picture with the frame whose number it shows, and returns that number.
    ///
    /// Channels may differ by `tolerance`, for formats with fewer bits.
    ///
    /// # Errors
    ///
    /// The errors of [`read`](Self::read), and [`PatternError::Foreign`] for the first pixel that differs.
    pub fn verify(
        self,
        tolerance: u8,
        pixel: impl Fn(u32, u32) -> [u8; 3],
    ) -> Result<u32, PatternError> {
        let number = self.read(&pixel)?;
        let rows = self.rows(number);
        for y in 0..self.height {
            for (x, expected) in (0..self.width).zip(rows.row(y).chunks_exact(4)) {
                let expected = [expected[2], expected[1], expected[0]];
                let found = pixel(x, y);
                let differs = found
                    .iter()
                    .zip(expected)
                    .any(|(a, b)| a.abs_diff(b) > tolerance);
                if differs {
                    return Err(PatternError::Foreign {
                        number,
                        x,
                        y,
                        found,
                        expected,
                    });
                }
            }
        }
        Ok(number)
    }

    /// Returns the colour of a pixel in the column `x` of frame `number`, in a strip or below it.
    fn colour(self, number: u32, x: u32, strip: bool) -> [u8; 3] {
        if strip {
            let cell = (0..CELLS)
                .find(|cell| x < self.cell_edge(cell + 1))
                .unwrap_or(CELLS - 1);
            if strip_cells(number) >> (CELLS - 1 - cell) & 1 == 1 {
                WHITE
            } else {
                BLACK
            }
        } else {
            let bar = u64::from(x) * 8 / u64::from(self.width) + u64::from(number);
            usize::try_from(bar % 8)
                .ok()
                .and_then(|bar| BARS.get(bar))
                .copied()
                .unwrap_or(BLACK)
        }
    }

    /// Returns the column at which a cell begins. The 32 cells cover any width without a gap.
    fn cell_edge(self, cell: u32) -> u32 {
        let edge = u64::from(self.width) * u64::from(cell) / u64::from(CELLS);
        u32::try_from(edge).unwrap_or(self.width)
    }

    /// Returns whether row `y` belongs to a strip, which is the first quarter of each band.
    fn is_strip(self, y: u32) -> bool {
        let (row, height) = (u64::from(y), u64::from(self.height));
        row * u64::from(BANDS) * 4 / height % 4 == 0
    }
}

impl Rows {
    /// Returns the bytes of row `y`.
    #[must_use]
    pub fn row(&self, y: u32) -> &[u8] {
        if self.pattern.is_strip(y) {
            &self.strip
        } else {
            &self.bars
        }
    }
}

/// Returns the 32 cells of a frame's strip, the leftmost in the highest bit. A white cell is 1.
#[must_use]
pub fn strip_cells(number: u32) -> u32 {
    let number = number % NUMBERS;
    let sum = (0..6)
        .map(|nibble| number >> (nibble * 4) & 15)
        .sum::<u32>()
        & 15;
    0b10 << 30 | number << 6 | sum << 2 | 0b01
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(pattern: Pattern, number: u32) -> Vec<u8> {
        let rows = pattern.rows(number);
        (0..pattern.height)
            .flat_map(|y| rows.row(y).to_vec())
            .collect()
    }

    fn pixel(pattern: Pattern, picture: &[u8]) -> impl Fn(u32, u32) -> [u8; 3] {
        move |x, y| {
            let at = usize::try_from((y * pattern.width + x) * 4).unwrap();
            [picture[at + 2], picture[at + 1], picture[at]]
        }
    }

    #[test]
    fn number_drawn_at_any_size_is_read_back() {
        for (width, height) in [(32, 32), (33, 35), (640, 480), (641, 479)] {
            let pattern = Pattern::new(width, height).unwrap();
            for number in [0, 1, 2999, 0x00a5_5a3c, NUMBERS - 1] {
                let picture = draw(pattern, number);
                assert_eq!(
                    pattern.verify(0, pixel(pattern, &picture)),
                    Ok(number),
                    "{width}x{height}"
                );
            }
        }
    }

    #[test]
    fn picture_torn_at_any_row_is_refused() {
        let pattern = Pattern::new(64, 64).unwrap();
        let (old, new) = (draw(pattern, 41), draw(pattern, 42));
        for row in 1..64 {
            let mut torn = new.clone();
            torn[row * 256..].copy_from_slice(&old[row * 256..]);
            assert!(
                pattern.verify(0, pixel(pattern, &torn)).is_err(),
                "torn at row {row}"
            );
        }
    }

    #[test]
    fn picture_with_one_wrong_bit_in_the_strip_is_unreadable() {
        let pattern = Pattern::new(320, 32).unwrap();
        let picture = draw(pattern, 9);
        for cell in 0..32 {
            let read = pattern.read(|x, y| {
                let [r, g, b] = pixel(pattern, &picture)(x, y);
                if x / 10 == cell {
                    [!r, !g, !b]
                } else {
                    [r, g, b]
                }
            });
            assert!(read.is_err(), "cell {cell}");
        }
    }

    #[test]
    fn pattern_of_a_too_small_picture_is_refused() {
        assert!(Pattern::new(31, 480).is_err());
        assert!(Pattern::new(640, 31).is_err());
    }
}
