//! The numbered pattern as a judge knows it: the checksum of each frame's picture, from the pattern's definition alone.
//!
//! ```text
//! eight bands, each: a strip (first quarter) of 32 cells: 1 0, number (24 bits), sum of its nibbles (4 bits), 0 1
//!                    then eight bars (white yellow cyan green magenta red blue black), moved left by the number
//! ```

/// The colours of frame 0's bars, left to right: red, green, blue.
const BARS: [[u8; 3]; 8] = [
    [255, 255, 255],
    [255, 255, 0],
    [0, 255, 255],
    [0, 255, 0],
    [255, 0, 255],
    [255, 0, 0],
    [0, 0, 255],
    [0, 0, 0],
];

/// The checksum of frame `number` at `width` by `height` pixels: FNV-1a with 64 bits over pixels, each as blue, green and red
/// in the low three bytes of a word.
#[must_use]
pub fn checksum(number: u32, width: u32, height: u32) -> u64 {
    let nibbles = (0..6)
        .map(|nibble| number >> (4 * nibble) & 0xf)
        .sum::<u32>()
        & 0xf;
    let cells = (0b10 << 30) | ((number & 0x00ff_ffff) << 6) | (nibbles << 2) | 0b01;
    let strip: Vec<u64> = (0..width)
        .map(|x| {
            // The last cell that begins at or before this column.
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
        .collect();
    let bars: Vec<u64> = (0..width)
        .map(|x| {
            let place = (x * 8 / width).wrapping_add(number % 8) % 8;
            let [red, green, blue] = BARS[usize::try_from(place).unwrap_or(0)];
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

/// The number of the frame with that checksum, searched from `from` on through `span` numbers.
#[must_use]
pub fn identify(sum: u64, from: u32, span: u32, width: u32, height: u32) -> Option<u32> {
    (from..from.saturating_add(span)).find(|number| checksum(*number, width, height) == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_tells_frames_with_the_same_bars_apart() {
        assert_ne!(checksum(0, 64, 32), checksum(8, 64, 32));
        assert_eq!(checksum(7, 64, 32), checksum(7, 64, 32));
    }

    #[test]
    fn identify_finds_the_number_within_its_span_alone() {
        let sum = checksum(42, 64, 64);
        assert_eq!(identify(sum, 40, 5, 64, 64), Some(42));
        assert_eq!(identify(sum, 43, 100, 64, 64), None);
        assert_eq!(identify(sum, 40, 2, 64, 64), None);
    }
}
