//! A floating-point reference of the YUV conversion, with which tests compare the renderers.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of the tests are small"
)]

use super::colour::{Coefficients, ColorRepresentation, QuantizationRange, YuvEncoding};
use super::format::PixelFormat;

/// The maximum difference of a channel to the reference. Half of a step is explained by the reference, which is not rounded. The
/// CPU renderer computes with 16-bit vectors and rounds after each multiplication; a channel needs up to three multiplications.
pub(super) const TOLERANCE: f64 = 3.0;

/// The maximum difference of a channel if chroma is interpolated. Luma and chroma are rounded to 8 bits before the conversion,
/// which multiplies chroma by up to 2.15.
pub(super) const INTERPOLATED_TOLERANCE: f64 = 4.0;

/// Returns every matrix with every range.
pub(super) fn encodings() -> Vec<YuvEncoding> {
    Coefficients::ALL
        .into_iter()
        .flat_map(|coefficients| {
            [QuantizationRange::Full, QuantizationRange::Limited].map(|range| YuvEncoding {
                coefficients,
                range,
            })
        })
        .collect()
}

/// Returns the luma of a pixel of the test picture. Its values cover the full range, and therefore exceed the limited range.
fn luma(x: usize, y: usize) -> u8 {
    u8::try_from((x * 7 + y * 41) % 256).unwrap()
}

/// Returns a chroma sample of the test picture.
fn chroma(x: usize, y: usize) -> (u8, u8) {
    let (x, y) = (x % 19, y);
    (
        u8::try_from(20 + (x * 12 + y * 5) % 220).unwrap(),
        u8::try_from(235 - (x * 9 + y * 17) % 220).unwrap(),
    )
}

/// Returns the planes of the test picture with their strides, which are longer than the rows.
pub(super) fn planes(
    format: PixelFormat,
    (width, height): (usize, usize),
) -> Vec<(usize, Vec<u8>)> {
    let (across, down) = format.subsampling();
    let (chroma_width, chroma_height) = (width.div_ceil(across), height.div_ceil(down));
    let plane = |stride: usize, rows: usize, row: &dyn Fn(usize) -> Vec<u8>| {
        let bytes = (0..rows).flat_map(|y| {
            let mut bytes = row(y);
            assert!(bytes.len() <= stride);
            bytes.resize(stride, 0x77);
            bytes
        });
        (stride, bytes.collect::<Vec<u8>>())
    };
    let luma_row = |y: usize| (0..width).map(|x| luma(x, y)).collect::<Vec<u8>>();
    let deep = |samples: Vec<u8>| -> Vec<u8> {
        let ten = samples.into_iter().map(|sample| u16::from(sample) << 8);
        ten.flat_map(u16::to_le_bytes).collect()
    };
    let pairs = |y: usize, swapped: bool| -> Vec<u8> {
        (0..chroma_width)
            .flat_map(|x| {
                let (u, v) = chroma(x, y);
                if swapped { [v, u] } else { [u, v] }
            })
            .collect()
    };
    let packed = |y: usize, chroma_first: bool| -> Vec<u8> {
        (0..chroma_width)
            .flat_map(|x| {
                let (u, v) = chroma(x, y);
                let (one, other) = (luma(x * 2, y), luma(x * 2 + 1, y));
                if chroma_first {
                    [u, one, v, other]
                } else {
                    [one, u, other, v]
                }
            })
            .collect()
    };
    match format {
        PixelFormat::Yuyv => vec![plane(width * 2 + 6, height, &|y| packed(y, false))],
        PixelFormat::Uyvy => vec![plane(width * 2 + 6, height, &|y| packed(y, true))],
        PixelFormat::Nv12 | PixelFormat::Nv21 => vec![
            plane(width + 3, height, &luma_row),
            plane(width + 5, chroma_height, &|y| {
                pairs(y, format == PixelFormat::Nv21)
            }),
        ],
        PixelFormat::P010 => vec![
            plane(width * 2 + 4, height, &|y| deep(luma_row(y))),
            plane(width * 2 + 8, chroma_height, &|y| deep(pairs(y, false))),
        ],
        PixelFormat::Yuv420 => {
            let one = |y: usize, second: bool| -> Vec<u8> {
                (0..chroma_width)
                    .map(|x| {
                        let (u, v) = chroma(x, y);
                        if second { v } else { u }
                    })
                    .collect()
            };
            vec![
                plane(width + 3, height, &luma_row),
                plane(width, chroma_height, &|y| one(y, false)),
                plane(width, chroma_height, &|y| one(y, true)),
            ]
        }
        _ => panic!("{format:?} is not YUV"),
    }
}

/// Returns red, green and blue of a pixel of the test picture, each from 0 to 255.
pub(super) fn colour(
    format: PixelFormat,
    colour: ColorRepresentation,
    (width, height): (usize, usize),
    (x, y): (usize, usize),
) -> [f64; 3] {
    let (across, down) = format.subsampling();
    let location = colour.chroma_location.filter(|_| down == 2);
    let (u, v) = match location {
        None => {
            let (u, v) = chroma(x / across, y / down);
            (f64::from(u), f64::from(v))
        }
        Some(location) => {
            let place = |pixel: usize, halves: u8| (pixel as f64 - f64::from(halves) / 2.0) / 2.0;
            let (left, right, across) = neighbours(place(x, location.x_halves), width.div_ceil(2));
            let (upper, lower, down) = neighbours(place(y, location.y_halves), height.div_ceil(2));
            let mix = |pick: &dyn Fn((u8, u8)) -> u8| {
                let at = |x, y| f64::from(pick(chroma(x, y)));
                let upper_row = at(left, upper) * (1.0 - across) + at(right, upper) * across;
                let lower_row = at(left, lower) * (1.0 - across) + at(right, lower) * across;
                upper_row * (1.0 - down) + lower_row * down
            };
            (mix(&|(u, _)| u), mix(&|(_, v)| v))
        }
    };
    let bits = if format == PixelFormat::P010 { 10 } else { 8 };
    convert(colour.yuv_encoding(height), bits, [luma(x, y).into(), u, v])
}

/// Returns the indices of the two samples beside a position, and the weight of the second.
fn neighbours(place: f64, samples: usize) -> (usize, usize, f64) {
    let clamp = |place: f64| (place.max(0.0) as usize).min(samples - 1);
    let floor = place.floor();
    (clamp(floor), clamp(floor + 1.0), place - floor)
}

/// Converts luma and chroma by the equations of H.273. The samples have `bits` bits and are scaled to the range of 8 bits.
fn convert(encoding: YuvEncoding, bits: i32, [luma, u, v]: [f64; 3]) -> [f64; 3] {
    let (kr, kb) = match encoding.coefficients {
        Coefficients::Bt601 => (0.299, 0.114),
        Coefficients::Bt709 => (0.2126, 0.0722),
        Coefficients::Bt2020 => (0.2627, 0.0593),
    };
    let kg = 1.0 - kr - kb;
    let (luma, u, v) = match encoding.range {
        QuantizationRange::Full => {
            let scale = 2f64.powi(bits - 8) / (2f64.powi(bits) - 1.0);
            (luma * scale, (u - 128.0) * scale, (v - 128.0) * scale)
        }
        QuantizationRange::Limited => (
            // Luma below black is clamped to black, as in the renderers.
            ((luma - 16.0) / 219.0).max(0.0),
            (u - 128.0) / 224.0,
            (v - 128.0) / 224.0,
        ),
    };
    let red = luma + 2.0 * (1.0 - kr) * v;
    let blue = luma + 2.0 * (1.0 - kb) * u;
    let green = (luma - kr * red - kb * blue) / kg;
    [red, green, blue].map(|channel| (channel * 255.0).clamp(0.0, 255.0))
}
