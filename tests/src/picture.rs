//! Checks pictures of a display: whether a region has a single colour, and whether it shows the colour bars of a pattern.
//!
//! The pictures come from QEMU's screendump, from a writeback connector or from a program's own output. Colours are compared with
//! a tolerance that covers rounding (a format with fewer bits, a conversion from YUV), but not a wrong order of the channels.

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::bars::{BARS_75, BARS_100, ColourBars};

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The column of the left edge.
    pub x: u32,
    /// The row of the top edge.
    pub y: u32,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
}

impl Region {
    /// Returns the region that covers all of `picture`.
    #[must_use]
    pub fn whole(picture: &RgbImage) -> Self {
        Self {
            x: 0,
            y: 0,
            width: picture.width(),
            height: picture.height(),
        }
    }

    /// Returns a region of `width` by `height` pixels in the middle of `picture`; `None` if the picture is smaller.
    #[must_use]
    pub fn centred(picture: &RgbImage, width: u32, height: u32) -> Option<Self> {
        Some(Self {
            x: picture.width().checked_sub(width)? / 2,
            y: picture.height().checked_sub(height)? / 2,
            width,
            height,
        })
    }
}

/// The reason why a picture is not the expected one.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureError {
    /// The region is outside of the picture, or too small.
    #[error("the picture is {width}x{height}, which does not contain the region {region:?}")]
    Region {
        /// The picture's width in pixels.
        width: u32,
        /// The picture's height in pixels.
        height: u32,
        /// The region that the check compares.
        region: Region,
    },
    /// A bar does not have the pattern's colour.
    #[error(
        "{pattern}: bar {bar} (from the left, counting from 1) is {found:?} at ({x}, {y}), expected {expected:?} within {tolerance}"
    )]
    Bar {
        /// The pattern's name.
        pattern: &'static str,
        /// The number of the bar, from 1.
        bar: usize,
        /// The column of the pixel that differs most.
        x: u32,
        /// The row of that pixel.
        y: u32,
        /// The colour of that pixel.
        found: [u8; 3],
        /// The colour of the pattern.
        expected: [u8; 3],
        /// The largest difference in a channel that is accepted.
        tolerance: u8,
    },
}

/// Returns the largest difference of two colours in a channel.
fn distance(a: Rgb<u8>, b: [u8; 3]) -> u8 {
    a.0.iter()
        .zip(b)
        .map(|(x, y)| x.abs_diff(y))
        .max()
        .unwrap_or(u8::MAX)
}

/// Checks that `region` of `picture` shows `bars`. Every pixel is compared, except those in the two columns next to each edge of
/// a bar.
///
/// # Errors
/// [`PictureError::Bar`] with the most different pixel of the first wrong bar; [`PictureError::Region`] if the region is outside
/// of the picture, or has fewer than four columns for each bar.
pub fn check_bars(
    picture: &RgbImage,
    region: Region,
    bars: &ColourBars,
    tolerance: u8,
) -> Result<(), PictureError> {
    let outside = || PictureError::Region {
        width: picture.width(),
        height: picture.height(),
        region,
    };
    let count = u32::try_from(bars.colours.len()).map_err(|_| outside())?;
    let fits = region
        .x
        .checked_add(region.width)
        .is_some_and(|right| right <= picture.width())
        && region
            .y
            .checked_add(region.height)
            .is_some_and(|bottom| bottom <= picture.height());
    if !fits || region.height == 0 || region.width < count * 4 {
        return Err(outside());
    }
    for ((index, expected), bar) in bars.colours.iter().enumerate().zip(0u32..) {
        // The edge of a bar may be between two pixels that share their chroma sample, so two columns at each edge are not
        // compared.
        let left = region.x + region.width * bar / count + 2;
        let right = region.x + region.width * (bar + 1) / count - 2;
        let worst = (region.y..region.y + region.height)
            .flat_map(|y| (left..right).map(move |x| (x, y)))
            .max_by_key(|&(x, y)| distance(*picture.get_pixel(x, y), *expected))
            .ok_or_else(outside)?;
        let found = *picture.get_pixel(worst.0, worst.1);
        if distance(found, *expected) > tolerance {
            return Err(PictureError::Bar {
                pattern: bars.name,
                bar: index + 1,
                x: worst.0,
                y: worst.1,
                found: found.0,
                expected: *expected,
                tolerance,
            });
        }
    }
    Ok(())
}

/// Returns the colour of the first pixel of `region` if all its pixels are within `tolerance` of that colour; otherwise `None`.
#[must_use]
pub fn single_colour(picture: &RgbImage, region: Region, tolerance: u8) -> Option<[u8; 3]> {
    let first = picture.get_pixel_checked(region.x, region.y)?.0;
    let right = region.x.checked_add(region.width)?;
    let bottom = region.y.checked_add(region.height)?;
    for y in region.y..bottom {
        for x in region.x..right {
            if distance(*picture.get_pixel_checked(x, y)?, first) > tolerance {
                return None;
            }
        }
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(bars: &ColourBars, width: u32, height: u32) -> RgbImage {
        let count = u32::try_from(bars.colours.len()).unwrap();
        RgbImage::from_fn(width, height, |x, _| {
            Rgb(bars.colours[usize::try_from(x * count / width).unwrap()])
        })
    }

    #[test]
    fn check_bars_of_the_pattern_at_odd_sizes_passes() {
        for (width, height) in [(640, 480), (641, 3), (322, 7), (1920, 2)] {
            let picture = draw(&BARS_100, width, height);
            check_bars(&picture, Region::whole(&picture), &BARS_100, 0).unwrap();
        }
    }

    #[test]
    fn check_bars_of_another_pattern_names_the_first_wrong_bar() {
        let picture = draw(&BARS_75, 640, 8);
        let error = check_bars(&picture, Region::whole(&picture), &BARS_100, 8).unwrap_err();
        assert!(
            matches!(
                error,
                PictureError::Bar {
                    bar: 1,
                    found: [191, 191, 191],
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn check_bars_with_one_wrong_pixel_is_an_error() {
        let mut picture = draw(&BARS_100, 640, 480);
        picture.put_pixel(333, 444, Rgb([1, 2, 3]));
        let error = check_bars(&picture, Region::whole(&picture), &BARS_100, 8).unwrap_err();
        assert!(
            matches!(error, PictureError::Bar { x: 333, y: 444, .. }),
            "{error}"
        );
    }

    #[test]
    fn check_bars_with_red_and_blue_swapped_is_an_error() {
        let mut picture = draw(&BARS_100, 640, 4);
        for pixel in picture.pixels_mut() {
            pixel.0.swap(0, 2);
        }
        assert!(check_bars(&picture, Region::whole(&picture), &BARS_100, 16).is_err());
    }

    #[test]
    fn check_bars_outside_the_picture_is_an_error() {
        let picture = draw(&BARS_100, 640, 4);
        let region = Region {
            x: u32::MAX,
            y: 0,
            width: 640,
            height: 4,
        };
        assert!(matches!(
            check_bars(&picture, region, &BARS_100, 0),
            Err(PictureError::Region { .. })
        ));
        assert_eq!(Region::centred(&picture, 641, 1), None);
    }

    #[test]
    fn single_colour_with_one_other_pixel_is_none() {
        let mut picture = RgbImage::from_pixel(9, 9, Rgb([7, 7, 7]));
        assert_eq!(
            single_colour(&picture, Region::whole(&picture), 0),
            Some([7, 7, 7])
        );
        picture.put_pixel(8, 8, Rgb([9, 7, 7]));
        assert_eq!(single_colour(&picture, Region::whole(&picture), 0), None);
    }
}
