//! Judging a picture of a display: where it is one colour, and whether bars stand where a pattern puts them.
//!
//! The pictures come from QEMU's screendump or from a writeback connector, so they show what the display showed and not
//! what some program believes. Colours are compared with a tolerance that only absorbs rounding (a format with fewer
//! bits, a conversion from YUV), never a wrong channel order.

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::bars::{BARS_75, BARS_100, Bars};

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Region {
    /// The whole of `picture`.
    #[must_use]
    pub fn whole(picture: &RgbImage) -> Self {
        Self {
            x: 0,
            y: 0,
            width: picture.width(),
            height: picture.height(),
        }
    }

    /// A region of `width` by `height` in the middle of `picture`, or `None` when it does not fit.
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

/// Why a picture is not the one that was expected.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureError {
    /// The region lies outside of the picture, or is too small to be judged.
    #[error("the picture is {width}x{height}, which does not hold the region {region:?}")]
    Region {
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
        /// What was asked for.
        region: Region,
    },
    /// A bar has another colour than the pattern gives it.
    #[error(
        "{pattern}: bar {bar} (from the left, counting from 1) is {found:?} at ({x}, {y}), expected {expected:?} within {tolerance}"
    )]
    Bar {
        /// The pattern's name.
        pattern: &'static str,
        /// Number of the bar, from 1.
        bar: usize,
        /// Column of the pixel that differs most.
        x: u32,
        /// Row of that pixel.
        y: u32,
        /// What is there.
        found: [u8; 3],
        /// What the pattern puts there.
        expected: [u8; 3],
        /// Largest difference allowed in a channel.
        tolerance: u8,
    },
}

fn distance(a: Rgb<u8>, b: [u8; 3]) -> u8 {
    a.0.iter()
        .zip(b)
        .map(|(x, y)| x.abs_diff(y))
        .max()
        .unwrap_or(u8::MAX)
}

/// Checks that `region` of `picture` shows `bars`, bar by bar, every pixel but the edges between bars.
///
/// # Errors
/// [`PictureError::Bar`] with the worst pixel of the first bar that differs; [`PictureError::Region`] when the region is
/// outside of the picture or has fewer than four columns a bar.
pub fn check_bars(
    picture: &RgbImage,
    region: Region,
    bars: &Bars,
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
        // A bar's edge may fall inside a pixel pair; two columns on either side are left out.
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

/// The one colour that every pixel of `region` has within `tolerance` of its first, or `None`.
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

    fn draw(bars: &Bars, width: u32, height: u32) -> RgbImage {
        let count = u32::try_from(bars.colours.len()).unwrap();
        RgbImage::from_fn(width, height, |x, _| {
            Rgb(bars.colours[usize::try_from(x * count / width).unwrap()])
        })
    }

    #[test]
    fn bars_of_the_pattern_are_accepted_at_odd_sizes() {
        for (width, height) in [(640, 480), (641, 3), (322, 7), (1920, 2)] {
            let picture = draw(&BARS_100, width, height);
            check_bars(&picture, Region::whole(&picture), &BARS_100, 0).unwrap();
        }
    }

    #[test]
    fn bars_of_another_pattern_name_the_first_bar_that_differs() {
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
    fn bars_with_one_wrong_pixel_are_refused() {
        let mut picture = draw(&BARS_100, 640, 480);
        picture.put_pixel(333, 444, Rgb([1, 2, 3]));
        let error = check_bars(&picture, Region::whole(&picture), &BARS_100, 8).unwrap_err();
        assert!(
            matches!(error, PictureError::Bar { x: 333, y: 444, .. }),
            "{error}"
        );
    }

    #[test]
    fn bars_with_red_and_blue_swapped_are_refused() {
        let mut picture = draw(&BARS_100, 640, 4);
        for pixel in picture.pixels_mut() {
            pixel.0.swap(0, 2);
        }
        assert!(check_bars(&picture, Region::whole(&picture), &BARS_100, 16).is_err());
    }

    #[test]
    fn region_outside_the_picture_is_an_error() {
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
    fn single_colour_sees_one_pixel_that_differs() {
        let mut picture = RgbImage::from_pixel(9, 9, Rgb([7, 7, 7]));
        assert_eq!(
            single_colour(&picture, Region::whole(&picture), 0),
            Some([7, 7, 7])
        );
        picture.put_pixel(8, 8, Rgb([9, 7, 7]));
        assert_eq!(single_colour(&picture, Region::whole(&picture), 0), None);
    }
}
