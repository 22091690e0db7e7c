//! Tests the YUV conversion against a floating-point reference.

use super::*;
use crate::render::colour::ColorRepresentation;
use crate::render::memory_planes::MemoryPlanes;
use crate::render::reference;

const SIZE: (usize, usize) = (38, 6);

const FORMATS: [PixelFormat; 6] = [
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Nv21,
    PixelFormat::Yuv420,
    PixelFormat::P010,
];

fn decode(
    format: PixelFormat,
    colour: ColorRepresentation,
    size: (usize, usize),
    at: (usize, usize),
    count: usize,
) -> Vec<u32> {
    let mut pixels = vec![0; count];
    let encoding = Encoding {
        format,
        size,
        colour,
    };
    let mut planes = MemoryPlanes(reference::planes(format, size));
    YuvDecoder::default()
        .read(&mut planes, &encoding, at, &mut pixels)
        .unwrap();
    pixels
}

#[track_caller]
fn assert_close(found: u32, expected: [f64; 3], tolerance: f64, what: &str) {
    for (shift, expected) in [16, 8, 0].into_iter().zip(expected) {
        let found = f64::from(found >> shift & 0xff);
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}: {found} is not {expected:.2} (shift {shift})"
        );
    }
}

#[test]
fn every_format_matrix_and_range_is_close_to_the_reference() {
    for format in FORMATS {
        for encoding in reference::encodings() {
            let colour = ColorRepresentation {
                yuv: Some(encoding),
                ..ColorRepresentation::default()
            };
            for y in 0..SIZE.1 {
                let row = decode(format, colour, SIZE, (0, y), SIZE.0);
                for (x, found) in row.into_iter().enumerate() {
                    let expected = reference::colour(format, colour, SIZE, (x, y));
                    let what = format!("{format:?} {encoding:?} at {x},{y}");
                    assert_close(found, expected, reference::TOLERANCE, &what);
                    assert_eq!(found >> 24, 0xff, "{what} is not opaque");
                }
            }
        }
    }
}

#[test]
fn every_chroma_location_is_close_to_the_reference() {
    for format in FORMATS {
        for number in 0..6 {
            let colour = ColorRepresentation {
                chroma_location: ChromaLocation::of_type(number),
                ..ColorRepresentation::default()
            };
            for y in 0..SIZE.1 {
                let row = decode(format, colour, SIZE, (0, y), SIZE.0);
                for (x, found) in row.into_iter().enumerate() {
                    let expected = reference::colour(format, colour, SIZE, (x, y));
                    let what = format!("{format:?} {number} at {x},{y}");
                    assert_close(found, expected, reference::INTERPOLATED_TOLERANCE, &what);
                }
            }
        }
    }
}

#[test]
fn part_of_a_row_has_the_colours_of_the_whole_row() {
    // The width is odd, so the last chroma block has one column.
    let size = (37, 5);
    for format in FORMATS {
        for number in [None, Some(1), Some(2)] {
            let colour = ColorRepresentation {
                chroma_location: number.and_then(ChromaLocation::of_type),
                ..ColorRepresentation::default()
            };
            for y in [0, 4] {
                let whole = decode(format, colour, size, (0, y), size.0);
                for (x, count) in [(0, 37), (1, 5), (2, 35), (3, 34), (36, 1), (35, 2)] {
                    let part = decode(format, colour, size, (x, y), count);
                    assert_eq!(part, whole[x..x + count], "{format:?} {count} at {x},{y}");
                }
            }
        }
    }
}
