//! The built-in arrow, for machines without a cursor theme.

use super::CursorImage;
use crate::memory_image::MemoryImage;

/// The arrow: `#` is black, `.` is white, and a space is transparent.
const ROWS: [&str; 19] = [
    "#           ",
    "##          ",
    "#.#         ",
    "#..#        ",
    "#...#       ",
    "#....#      ",
    "#.....#     ",
    "#......#    ",
    "#.......#   ",
    "#........#  ",
    "#.........# ",
    "#......#####",
    "#...#..#    ",
    "#..# #..#   ",
    "#.#  #..#   ",
    "##    #..#  ",
    "#     #..#  ",
    "       #..# ",
    "       ###  ",
];

/// Returns the arrow. Its hotspot is the tip.
pub(super) fn image() -> CursorImage {
    let pixels = ROWS.iter().flat_map(|row| row.chars());
    let pixels = pixels.map(|pixel| match pixel {
        '#' => [0, 0, 0, 0xff],
        '.' => [0xff; 4],
        _ => [0; 4],
    });
    CursorImage {
        pixels: MemoryImage::from_pixels(ROWS[0].len(), pixels),
        hotspot: (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Pixels as _;

    #[test]
    fn arrow_has_rows_of_one_length_and_an_opaque_tip() {
        assert!(ROWS.iter().all(|row| row.len() == ROWS[0].len()));
        let image = image().pixels;
        assert_eq!(image.size(), (12, 19));
        let colours =
            crate::screenshot::decode(&image, crate::render::ColorRepresentation::default())
                .unwrap();
        assert_eq!(colours[0], 0xff00_0000);
        assert_eq!(colours[1], 0);
        assert_eq!(colours[2 * 12 + 1], 0xffff_ffff);
    }
}
