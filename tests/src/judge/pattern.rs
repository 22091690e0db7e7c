//! The numbered pattern of `covalent-pattern`, implemented independently from its definition, for the independent checker.
//!
//! ```text
//! eight bands, each: a strip (the first quarter) of 32 cells: 1 0, number (24 bits), sum of its nibbles (4 bits), 0 1
//!                    then eight bars (white yellow cyan green magenta red blue black), shifted left by the number
//! ```

use image::RgbImage;

use crate::picture::{BARS_100, Region};

/// Returns the checksum of frame `number` at `width` by `height` pixels: FNV-1a with 64 bits over the pixels. Each pixel is a
/// 64-bit number with blue, green and red in its low three bytes.
#[must_use]
pub fn checksum(number: u32, width: u32, height: u32) -> u64 {
    let strip = strip(number, width);
    let bars: Vec<u64> = (0..width)
        .map(|x| {
            let place = (x * 8 / width).wrapping_add(number % 8) % 8;
            let [red, green, blue] = BARS_100.colours[usize::try_from(place).unwrap_or(0)];
            u64::from(blue) | u64::from(green) << 8 | u64::from(red) << 16
        })
        .collect();
    (0..height).fold(0xcbf2_9ce4_8422_2325, |sum: u64, y| {
        let row = if y * 32 / height % 4 == 0 {
            &strip
        } else {
            &bars
        };
        row.iter().fold(sum, |sum, pixel| {
            (sum ^ pixel).wrapping_mul(0x0000_0100_0000_01b3)
        })
    })
}

/// Returns the pixels of one row of a strip, each as a 64-bit number.
fn strip(number: u32, width: u32) -> Vec<u64> {
    let nibbles = (0..6)
        .map(|nibble| number >> (4 * nibble) & 0xf)
        .sum::<u32>()
        & 0xf;
    let cells = (0b10 << 30) | ((number & 0x00ff_ffff) << 6) | (nibbles << 2) | 0b01;
    (0..width)
        .map(|x| {
            // A pixel belongs to the last cell that begins at its column or before.
            let cell = (0..32)
                .rev()
                .find(|cell| width * cell / 32 <= x)
                .unwrap_or(0);
            if cells >> (31 - cell) & 1 == 1 {
                0x00ff_ffff
            } else {
                0
            }
        })
        .collect()
}

/// Reads the frame number from the strips of a region. Every pixel of the first `bands` strips must match this number. Other
/// pixels are not checked.
///
/// # Errors
/// A message: the region is not in the picture, or a strip does not match the number, as in a torn picture.
pub fn number(picture: &RgbImage, region: Region, bands: u32) -> Result<u32, String> {
    let Region {
        x: left,
        y: top,
        width,
        height,
    } = region;
    if left + width > picture.width() || top + height > picture.height() || width < 32 {
        return Err(format!("{region:?} is not in the picture"));
    }
    let cells = (0..32).fold(0_u32, |cells, cell| {
        let middle = (width * cell / 32 + width * (cell + 1) / 32) / 2;
        let pixel = picture.get_pixel(left + middle, top).0;
        cells << 1 | u32::from(pixel[1] > 127)
    });
    let number = cells >> 6 & 0x00ff_ffff;
    let expected = strip(number, width);
    let rows = (0..height).filter(|y| y * 32 / height % 4 == 0 && y * 32 / height / 4 < bands);
    for y in rows {
        for (x, expected) in (0..width).zip(&expected) {
            let [red, green, blue] = picture.get_pixel(left + x, top + y).0;
            let found = u64::from(blue) | u64::from(green) << 8 | u64::from(red) << 16;
            if found != *expected {
                return Err(format!(
                    "the first strip shows {number}, but the pixel at {x}, {y} is {found:06x} instead of {expected:06x}"
                ));
            }
        }
    }
    Ok(number)
}

/// Returns the frame number, among the `span` numbers from `from` on, whose picture has this checksum; `None` if no number
/// matches.
#[must_use]
pub fn identify(sum: u64, from: u32, span: u32, width: u32, height: u32) -> Option<u32> {
    (from..from.saturating_add(span)).find(|number| checksum(*number, width, height) == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_frames_with_the_same_bars_differs() {
        assert_ne!(checksum(0, 64, 32), checksum(8, 64, 32));
        assert_eq!(checksum(7, 64, 32), checksum(7, 64, 32));
    }

    #[test]
    fn number_is_read_where_all_strips_match_and_refused_otherwise() {
        let mut picture = RgbImage::new(70, 64);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let cell = strip(4711, 70)[usize::try_from(x).unwrap()];
            if y * 32 / 64 % 4 == 0 && cell != 0 {
                pixel.0 = [255; 3];
            }
        }
        let whole = Region::whole(&picture);
        assert_eq!(number(&picture, whole, 8), Ok(4711));
        // This pixel is in the strip of the third band.
        picture.put_pixel(0, 16, image::Rgb([0, 0, 0]));
        assert!(number(&picture, whole, 8).is_err());
        assert_eq!(number(&picture, whole, 2), Ok(4711));
        picture.put_pixel(40, 0, image::Rgb([9, 9, 9]));
        assert!(number(&picture, whole, 1).is_err());
    }

    #[test]
    fn identify_finds_only_numbers_within_the_span() {
        let sum = checksum(42, 64, 64);
        assert_eq!(identify(sum, 40, 5, 64, 64), Some(42));
        assert_eq!(identify(sum, 43, 100, 64, 64), None);
        assert_eq!(identify(sum, 40, 2, 64, 64), None);
    }
}
