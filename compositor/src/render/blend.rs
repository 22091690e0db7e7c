//! Blends and mixes rows of premultiplied pixels (`0xAARRGGBB`).
//!
//! Four pixels are one 128-bit vector. Every CPU with SSE2 or NEON has vectors of this size, so no other code is needed for older
//! CPUs.

use wide::{i16x8, u8x16, u16x8, u32x4};

/// The number of pixels in a vector.
const LANES: usize = 4;
/// The number of pixels in one iteration of a loop.
const BLOCK: usize = 2 * LANES;
/// The alpha bits of an opaque pixel.
const OPAQUE: u32 = 0xff00_0000;
/// The bits of the four alpha bytes in a mask with one bit for each byte of four pixels.
const ALPHAS: i32 = 0x8888;
/// A mask with one bit for each byte of four pixels, all of them set.
const EVERY_BYTE: i32 = 0xffff;

/// Blends the premultiplied pixels of `top` over those of `below`. The shorter slice determines the number of pixels.
pub(super) fn over_row(top: &[u32], below: &mut [u32]) {
    let count = top.len().min(below.len());
    let (top, below) = (&top[..count], &mut below[..count]);
    let mut tops = top.chunks_exact(BLOCK);
    let mut belows = below.chunks_exact_mut(BLOCK);
    for (top, below) in (&mut tops).zip(&mut belows) {
        let (Ok(top), Ok(below)) = (
            <&[u32; BLOCK]>::try_from(top),
            <&mut [u32; BLOCK]>::try_from(below),
        ) else {
            continue;
        };
        let tops: [u32x4; 2] = bytemuck::cast(*top);
        let are_full = bytes(tops[0] & tops[1]).cmp_eq(u8x16::splat(0xff));
        if are_full.move_mask() & ALPHAS == ALPHAS {
            *below = *top;
            continue;
        }
        let are_zero = bytes(tops[0] | tops[1]).cmp_eq(u8x16::splat(0));
        if are_zero.move_mask() != EVERY_BYTE {
            let belows: [u32x4; 2] = bytemuck::cast(*below);
            let blended = [over_four(tops[0], belows[0]), over_four(tops[1], belows[1])];
            *below = bytemuck::cast(blended);
        }
    }
    for (top, below) in tops.remainder().iter().zip(belows.into_remainder()) {
        *below = over(*top, *below);
    }
}

/// Blends four pixels at once.
fn over_four(top: u32x4, below: u32x4) -> u32x4 {
    let inverse_alpha = u32x4::splat(255) - (top >> 24);
    pixels(bytes(top).saturating_add(multiply(below, inverse_alpha)))
}

/// Multiplies the channels of each of four pixels with the pixel's factor, and divides the products by 255 with rounding.
fn multiply(colours: u32x4, factors: u32x4) -> u8x16 {
    let factors: u16x8 = bytemuck::cast(factors | factors << 16);
    let colours: u16x8 = bytemuck::cast(colours);
    // In the two 16-bit halves of a pixel, blue and red are the lower bytes, and green and alpha the upper bytes.
    let lower = divide((colours & u16x8::splat(0xff)) * factors);
    let upper = divide((colours >> 8u16) * factors);
    bytemuck::cast(lower | upper << 8u16)
}

/// Divides products of two bytes by 255. The result is the exact quotient rounded to the nearest integer.
fn divide(product: u16x8) -> u16x8 {
    // With x = product + 128, the upper half of the multiplication is (x + x / 256) / 256, which is product / 255 rounded.
    (product + u16x8::splat(128)).mul_keep_high(u16x8::splat(257))
}

/// Blends a premultiplied pixel over another one.
fn over(top: u32, below: u32) -> u32 {
    let alpha = top >> 24;
    if alpha == 0xff {
        return top;
    }
    let mut colour = 0;
    for shift in [0, 8, 16, 24] {
        let scaled = divide_by_255((below >> shift & 0xff) * (255 - alpha));
        colour |= ((top >> shift & 0xff) + scaled).min(255) << shift;
    }
    colour
}

/// Divides the product of two bytes by 255. The result is the exact quotient rounded to the nearest integer.
const fn divide_by_255(product: u32) -> u32 {
    let product = product + 128;
    (product + (product >> 8)) >> 8
}

/// Multiplies the colours of pixels with straight alpha by their alpha.
pub(super) fn premultiply_row(row: &mut [u32]) {
    let mut fours = row.chunks_exact_mut(LANES);
    for four in &mut fours {
        let &mut [a, b, c, d] = four else { continue };
        if a & b & c & d >= OPAQUE {
            continue;
        }
        let straight = u32x4::from([a, b, c, d]);
        let alpha = straight >> 24;
        // Alpha is set to 255 here, so that the multiplication with alpha gives alpha.
        let colours = straight | u32x4::splat(OPAQUE);
        four.copy_from_slice(&pixels(multiply(colours, alpha)).to_array());
    }
    for pixel in fours.into_remainder() {
        let alpha = *pixel >> 24;
        let channel = |shift: u32| divide_by_255((*pixel >> shift & 0xff) * alpha) << shift;
        *pixel = alpha << 24 | channel(16) | channel(8) | channel(0);
    }
}

/// A pixel with 16 bits per channel, of which blue is in the lowest bits. A channel can be multiplied by a weight without
/// overflow.
pub(super) type WidePixel = u64;

/// The mask of the lowest byte of each channel of a [`WidePixel`].
const CHANNELS: WidePixel = 0x00ff_00ff_00ff_00ff;
/// The value 128 in each channel, which rounds the result of a division by 256.
const HALVES: WidePixel = 0x0080_0080_0080_0080;

/// Mixes two rows into a row with 16 bits per channel. `weight` is the weight of the second row in units of 1/256, from 0 to 256.
///
/// The shortest of the three slices determines the number of pixels.
pub(super) fn mix_rows(first: &[u32], second: &[u32], weight: u16, into: &mut [WidePixel]) {
    let count = first.len().min(second.len()).min(into.len());
    let (first, second) = (&first[..count], &second[..count]);
    let into = &mut into[..count];
    let weight = weight.min(256);
    let (weights_first, weights_second) = (u16x8::splat(256 - weight), u16x8::splat(weight));
    let firsts = first.chunks_exact(BLOCK);
    let seconds = second.chunks_exact(BLOCK);
    let remainder = firsts.remainder().iter().zip(seconds.remainder());
    let mut blocks = into.chunks_exact_mut(BLOCK);
    for ((first, second), into) in firsts.zip(seconds).zip(&mut blocks) {
        let (Ok(first), Ok(second), Ok(into)) = (
            <&[u32; BLOCK]>::try_from(first),
            <&[u32; BLOCK]>::try_from(second),
            <&mut [WidePixel; BLOCK]>::try_from(into),
        ) else {
            continue;
        };
        let first: [u8x16; 2] = bytemuck::cast(*first);
        let second: [u8x16; 2] = bytemuck::cast(*second);
        let mixed = |first: u16x8, second: u16x8| -> u16x8 {
            (first * weights_first + second * weights_second + u16x8::splat(128)) >> 8u16
        };
        let low = |half: usize| {
            mixed(
                u16x8::from_u8x16_low(first[half]),
                u16x8::from_u8x16_low(second[half]),
            )
        };
        let high = |half: usize| {
            mixed(
                u16x8::from_u8x16_high(first[half]),
                u16x8::from_u8x16_high(second[half]),
            )
        };
        *into = bytemuck::cast([low(0), high(0), low(1), high(1)]);
    }
    for ((first, second), into) in remainder.zip(blocks.into_remainder()) {
        *into = mix(widen(*first), widen(*second), weight);
    }
}

/// Mixes two pixels. `weight` is the weight of the second pixel in units of 1/256, from 0 to 256.
pub(super) fn mix(first: WidePixel, second: WidePixel, weight: u16) -> WidePixel {
    let weight = u64::from(weight.min(256));
    // No channel exceeds 255 × 256 + 128, so none overflows into the next one.
    let sum = first
        .wrapping_mul(256 - weight)
        .wrapping_add(second.wrapping_mul(weight))
        .wrapping_add(HALVES);
    sum >> 8 & CHANNELS
}

/// Two neighbouring pixels of a row that are mixed, and the weight of the second in units of 1/256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// The index of the first pixel. The second pixel follows it, and is not read if the weight is 0.
    pub(super) first: u32,
    /// The weight of the second pixel, below 256.
    pub(super) weight: u32,
}

/// Mixes two pixels of `row` for each tap.
///
/// The row needs one more pixel than the largest `first`. A tap outside of the row gives a transparent pixel. The shorter of
/// `taps` and `into` determines the number of pixels.
pub(super) fn sample_row(row: &[WidePixel], taps: &[Tap], into: &mut [u32]) {
    let count = taps.len().min(into.len());
    let (taps, into) = (&taps[..count], &mut into[..count]);
    let sum = |tap: &Tap| -> WidePixel {
        let first = usize::try_from(tap.first).unwrap_or(usize::MAX);
        let (Some(&second), Some(&first)) = (row.get(first.wrapping_add(1)), row.get(first)) else {
            return 0;
        };
        // The result is first × (256 − weight) + second × weight in each channel, computed with a single multiplication. If the
        // subtraction borrows from the next channel, the addition returns the borrow.
        let difference = second.wrapping_sub(first);
        (first << 8).wrapping_add(difference.wrapping_mul(u64::from(tap.weight)))
    };
    let blocks = taps.chunks_exact(BLOCK);
    let remainder = blocks.remainder();
    let mut intos = into.chunks_exact_mut(BLOCK);
    for (taps, into) in blocks.zip(&mut intos) {
        let (Ok(taps), Ok(into)) = (
            <&[Tap; BLOCK]>::try_from(taps),
            <&mut [u32; BLOCK]>::try_from(into),
        ) else {
            continue;
        };
        let halved = |one: &Tap, other: &Tap| -> u16x8 {
            let sums: u16x8 = bytemuck::cast([sum(one), sum(other)]);
            (sums + u16x8::splat(128)) >> 8u16
        };
        let [a, b, c, d, e, f, g, h] = taps;
        *into = bytemuck::cast([
            narrow(halved(a, b), halved(c, d)),
            narrow(halved(e, f), halved(g, h)),
        ]);
    }
    for (tap, into) in remainder.iter().zip(intos.into_remainder()) {
        *into = narrow_pixel(sum(tap).wrapping_add(HALVES) >> 8 & CHANNELS);
    }
}

/// Converts a pixel to 16 bits per channel.
pub(super) const fn widen(pixel: u32) -> WidePixel {
    let pixel = pixel as u64;
    let pixel = (pixel | pixel << 16) & 0x0000_ffff_0000_ffff;
    (pixel | pixel << 8) & CHANNELS
}

/// Converts a pixel with 16 bits per channel to 8 bits. The values of the channels are at most 255.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is discarded"
)]
pub(super) const fn narrow_pixel(pixel: WidePixel) -> u32 {
    let pixel = (pixel | pixel >> 8) & 0x0000_ffff_0000_ffff;
    (pixel | pixel >> 16) as u32
}

/// Converts pixels of RGB565 to opaque XRGB8888 pixels. The highest bits of each channel are repeated as its lowest.
///
/// The shorter slice determines the number of pixels.
pub(super) fn expand_565(from: &[u16], into: &mut [u32]) {
    let count = from.len().min(into.len());
    let (from, into) = (&from[..count], &mut into[..count]);
    let from_blocks = from.chunks_exact(BLOCK);
    let remainder = from_blocks.remainder();
    let mut blocks = into.chunks_exact_mut(BLOCK);
    for (from, into) in from_blocks.zip(&mut blocks) {
        let Ok(words) = <&[u16; BLOCK]>::try_from(from) else {
            continue;
        };
        let words = u16x8::from(*words);
        let red = (words >> 8u16 & u16x8::splat(0xf8)) | words >> 13u16;
        let green = (words << 5u16 & u16x8::splat(0xfc00)) | (words >> 1u16 & u16x8::splat(0x0300));
        let blue = (words << 3u16 & u16x8::splat(0xf8)) | (words >> 2u16 & u16x8::splat(0x07));
        let lower = (green | blue).to_array();
        let upper = (red | u16x8::splat(0xff00)).to_array();
        for ((pixel, lower), upper) in into.iter_mut().zip(lower).zip(upper) {
            *pixel = u32::from(lower) | u32::from(upper) << 16;
        }
    }
    for (word, pixel) in remainder.iter().zip(blocks.into_remainder()) {
        let word = u32::from(*word);
        let (red, green, blue) = (word >> 11, word >> 5 & 0x3f, word & 0x1f);
        *pixel = OPAQUE
            | (red << 3 | red >> 2) << 16
            | (green << 2 | green >> 4) << 8
            | (blue << 3 | blue >> 2);
    }
}

fn bytes(pixels: u32x4) -> u8x16 {
    bytemuck::cast(pixels)
}

fn pixels(bytes: u8x16) -> u32x4 {
    bytemuck::cast(bytes)
}

/// Packs two vectors of 16-bit values into one vector of bytes. The values are at most 255.
fn narrow(low: u16x8, high: u16x8) -> u8x16 {
    let signed = |half: u16x8| -> i16x8 { bytemuck::cast(half) };
    u8x16::narrow_i16x8(signed(low), signed(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_with_extreme_alpha_is_exact() {
        assert_eq!(over(0, 0xff12_3456), 0xff12_3456);
        assert_eq!(over(0xff65_4321, 0xff12_3456), 0xff65_4321);
        assert_eq!(over(0x8080_8080, 0xff00_0000), 0xff80_8080);
        assert_eq!(over(0x8000_0000, 0xffff_ffff), 0xff7f_7f7f);
    }

    /// Returns pixels that differ in every channel, some of them opaque or transparent.
    fn assorted(seed: u32) -> Vec<u32> {
        let mut state = seed;
        (0..203)
            .map(|index| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let random = state ^ state >> 13;
                match index % 24 {
                    0..4 => random | OPAQUE,
                    4..8 => 0,
                    _ => random,
                }
            })
            .collect()
    }

    #[test]
    fn row_is_blended_as_each_of_its_pixels() {
        let (top, below) = (assorted(1), assorted(2));
        let mut row = below.clone();
        over_row(&top, &mut row);
        for ((top, below), found) in top.iter().zip(&below).zip(&row) {
            assert_eq!(*found, over(*top, *below), "{top:#x} over {below:#x}");
        }
    }

    #[test]
    fn channel_that_exceeds_its_alpha_does_not_change_another_channel() {
        let mut row = [0xffff_ffff; 5];
        over_row(&[0x8000_ff00; 5], &mut row);
        assert_eq!(row, [0xff7f_ff7f; 5]);
    }

    #[test]
    fn straight_pixels_are_multiplied_with_their_alpha() {
        let mut row = [
            0x80ff_8000,
            0xff12_3456,
            0x00ff_ffff,
            0x8080_8080,
            0x40ff_0080,
        ];
        premultiply_row(&mut row);
        assert_eq!(row, [0x8080_4000, 0xff12_3456, 0, 0x8040_4040, 0x4040_0020]);
    }

    #[test]
    fn rgb565_is_expanded_with_every_channel_from_0_to_255() {
        // There are eleven pixels, so that the last three are converted without vectors.
        let words = [
            0xffff, 0, 0xf800, 0x07e0, 0x001f, 0x8410, 0x4208, 0x1234, 0xabcd, 0xf81f, 0x0841,
        ];
        let mut pixels = [0; 11];
        expand_565(&words, &mut pixels);
        for (word, pixel) in words.into_iter().zip(pixels) {
            let bits = [word >> 11, word >> 5 & 0x3f, word & 0x1f].map(u32::from);
            let expected = [bits[0] * 255 / 31, bits[1] * 255 / 63, bits[2] * 255 / 31];
            for (shift, expected) in [16, 8, 0].into_iter().zip(expected) {
                let found = pixel >> shift & 0xff;
                assert!(found.abs_diff(expected) <= 1, "{word:#x} is {pixel:#x}");
            }
            assert_eq!(pixel >> 24, 0xff);
        }
        assert_eq!((pixels[0], pixels[1]), (0xffff_ffff, 0xff00_0000));
    }

    #[test]
    fn sampled_row_mixes_the_pixels_of_each_tap() {
        let row: Vec<WidePixel> = assorted(5).into_iter().map(widen).collect();
        let taps: Vec<Tap> = (0..151)
            .map(|tap| Tap {
                first: tap,
                weight: tap * 37 % 256,
            })
            .collect();
        let mut into = vec![0; taps.len()];
        sample_row(&row, &taps, &mut into);
        for (tap, found) in taps.iter().zip(&into) {
            let first = tap.first as usize;
            let weight = u16::try_from(tap.weight).unwrap();
            let expected = narrow_pixel(mix(row[first], row[first + 1], weight));
            assert_eq!(*found, expected, "{tap:?}");
        }
        let outside = Tap {
            first: u32::MAX,
            weight: 1,
        };
        let second = into[1];
        sample_row(&row, &[outside], &mut into);
        assert_eq!(into[..2], [0, second]);
    }

    #[test]
    fn mixed_rows_are_between_both_and_equal_them_at_the_ends() {
        let (first, second) = (assorted(3), assorted(4));
        // The target has one pixel more than the rows, and this pixel must not be written.
        let mut into = vec![7; first.len() + 1];
        for weight in [0, 1, 77, 128, 255, 256] {
            mix_rows(&first, &second, weight, &mut into);
            assert_eq!(into[first.len()], 7);
            for ((first, second), found) in first.iter().zip(&second).zip(&into) {
                assert_eq!(*found, mix(widen(*first), widen(*second), weight));
                if weight == 0 {
                    assert_eq!(narrow_pixel(*found), *first);
                }
                if weight == 256 {
                    assert_eq!(narrow_pixel(*found), *second);
                }
            }
        }
    }
}
