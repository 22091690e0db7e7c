//! Compares every format with a slow reference decoder that does not use the tables: it takes byte positions from the comments
//! of `drm_fourcc.h`, and computes with floating-point numbers.

use covalent_alloc::model::{Extent, FormatInfo, Fourcc, Layout};
use proptest::prelude::*;

use super::*;

/// Decodes one pixel with the reference decoder: each sample is read at its coordinates and converted in floating point.
fn reference(picture: &Picture, colours: Colours, x: u32, y: u32) -> [f64; 4] {
    let at = |plane: usize, column: u32, row: u32, block: u32, byte: u32| -> u32 {
        let place = picture.layout.planes()[plane];
        let offset = place.offset_bytes
            + u64::from(place.stride_bytes) * u64::from(row)
            + u64::from(column * block + byte);
        picture.bytes[usize::try_from(offset).unwrap()].into()
    };
    let rgb = |bytes: [u32; 4], block: u32| {
        let of = |byte: u32| {
            if byte == 9 {
                1.0
            } else {
                f64::from(at(0, x, y, block, byte)) / 255.0
            }
        };
        bytes.map(of)
    };
    let word = || at(0, x, y, 2, 0) | at(0, x, y, 2, 1) << 8;
    let long = || (0..4).fold(0, |sum, byte| sum | at(0, x, y, 4, byte) << (8 * byte));
    let part = |value: u32, low: u32, bits: u32| {
        f64::from(value / 2_u32.pow(low) % 2_u32.pow(bits)) / f64::from(2_u32.pow(bits) - 1)
    };
    let yuv = |luma: u32, cb: u32, cr: u32| rgb_of_ycbcr(colours, 8, [luma, cb, cr]);
    let semi = |across: u32, down: u32, cb: u32| {
        let pair = |byte| at(1, x / across, y / down, 2, byte);
        yuv(at(0, x, y, 1, 0), pair(cb), pair(1 - cb))
    };
    let planar = |across: u32, down: u32, cb: usize| {
        let of = |plane| at(plane, x / across, y / down, 1, 0);
        yuv(at(0, x, y, 1, 0), of(cb), of(3 - cb))
    };
    let pair = |first: u32, cb: u32, cr: u32| {
        let of = |byte| at(0, x / 2, y, 4, byte);
        yuv(of(first + x % 2 * 2), of(cb), of(cr))
    };
    let float = |place: u32| {
        let bits = at(0, x, y, 8, place * 2) | at(0, x, y, 8, place * 2 + 1) << 8;
        let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f64::from(bits & 1023));
        let size = match exponent {
            0 => fraction / 1024.0 * 2.0_f64.powi(-14),
            31 if fraction > 0.0 => 0.0,
            31 => 2.0,
            _ => (1.0 + fraction / 1024.0) * 2.0_f64.powf(f64::from(exponent) - 15.0),
        };
        if sign == 1 { 0.0 } else { size.min(1.0) }
    };
    // The byte positions of red, green, blue and alpha in memory order; 9 means that the format has no such channel.
    match picture.layout.format().fourcc.to_string().as_str() {
        "XR24" => rgb([2, 1, 0, 9], 4),
        "AR24" => rgb([2, 1, 0, 3], 4),
        "XB24" => rgb([0, 1, 2, 9], 4),
        "AB24" => rgb([0, 1, 2, 3], 4),
        "RX24" => rgb([3, 2, 1, 9], 4),
        "RA24" => rgb([3, 2, 1, 0], 4),
        "BX24" => rgb([1, 2, 3, 9], 4),
        "BA24" => rgb([1, 2, 3, 0], 4),
        "RG24" => rgb([2, 1, 0, 9], 3),
        "BG24" => rgb([0, 1, 2, 9], 3),
        "R8" => rgb([0, 0, 0, 9], 1),
        "RG16" => [
            part(word(), 11, 5),
            part(word(), 5, 6),
            part(word(), 0, 5),
            1.0,
        ],
        "BG16" => [
            part(word(), 0, 5),
            part(word(), 5, 6),
            part(word(), 11, 5),
            1.0,
        ],
        "XR15" => [
            part(word(), 10, 5),
            part(word(), 5, 5),
            part(word(), 0, 5),
            1.0,
        ],
        "AR15" => [
            part(word(), 10, 5),
            part(word(), 5, 5),
            part(word(), 0, 5),
            part(word(), 15, 1),
        ],
        "XR30" => [
            part(long(), 20, 10),
            part(long(), 10, 10),
            part(long(), 0, 10),
            1.0,
        ],
        "AR30" => [
            part(long(), 20, 10),
            part(long(), 10, 10),
            part(long(), 0, 10),
            part(long(), 30, 2),
        ],
        "XB30" => [
            part(long(), 0, 10),
            part(long(), 10, 10),
            part(long(), 20, 10),
            1.0,
        ],
        "AB30" => [
            part(long(), 0, 10),
            part(long(), 10, 10),
            part(long(), 20, 10),
            part(long(), 30, 2),
        ],
        "XB4H" => [float(0), float(1), float(2), 1.0],
        "AB4H" => [float(0), float(1), float(2), float(3)],
        "YUYV" => pair(0, 1, 3),
        "YVYU" => pair(0, 3, 1),
        "UYVY" => pair(1, 0, 2),
        "VYUY" => pair(1, 2, 0),
        "NV12" => semi(2, 2, 0),
        "NV21" => semi(2, 2, 1),
        "NV16" => semi(2, 1, 0),
        "NV61" => semi(2, 1, 1),
        "NV24" => semi(1, 1, 0),
        "NV42" => semi(1, 1, 1),
        "YU12" => planar(2, 2, 1),
        "YV12" => planar(2, 2, 2),
        "YU16" => planar(2, 1, 1),
        "YV16" => planar(2, 1, 2),
        "YU24" => planar(1, 1, 1),
        "YV24" => planar(1, 1, 2),
        "P010" => {
            let ten = |plane, column, row, block, byte| {
                (at(plane, column, row, block, byte) | at(plane, column, row, block, byte + 1) << 8)
                    / 64
            };
            let chroma = |byte| ten(1, x / 2, y / 2, 4, byte);
            rgb_of_ycbcr(colours, 10, [ten(0, x, y, 2, 0), chroma(0), chroma(2)])
        }
        other => panic!("format {other} is new: add its reference decoder here"),
    }
}

/// The equations of ITU-R BT.601, BT.709 and BT.2020.
fn rgb_of_ycbcr(colours: Colours, bits: i32, [luma, cb, cr]: [u32; 3]) -> [f64; 4] {
    let scale = 2.0_f64.powi(bits - 8);
    let full = 2.0_f64.powi(bits) - 1.0;
    let middle = 2.0_f64.powi(bits - 1);
    let (luma, cb, cr) = (
        f64::from(luma),
        f64::from(cb) - middle,
        f64::from(cr) - middle,
    );
    let (y, cb, cr) = match colours.range {
        Range::Limited => (
            (luma / scale - 16.0) / 219.0,
            cb / scale / 224.0,
            cr / scale / 224.0,
        ),
        Range::Full => (luma / full, cb / full, cr / full),
    };
    let (kr, kg, kb) = match colours.standard {
        Standard::Bt601 => (0.299, 0.587, 0.114),
        Standard::Bt709 => (0.2126, 0.7152, 0.0722),
        Standard::Bt2020 => (0.2627, 0.678, 0.0593),
    };
    let (red, blue) = (y + 2.0 * (1.0 - kr) * cr, y + 2.0 * (1.0 - kb) * cb);
    // Luma is kr × red + kg × green + kb × blue.
    let green = (y - kr * red - kb * blue) / kg;
    [red, green, blue, 1.0].map(|channel| channel.clamp(0.0, 1.0))
}

/// A picture with random pixels.
#[derive(Debug)]
struct Picture {
    layout: Layout,
    bytes: Vec<u8>,
}

/// Decodes a whole picture row by row, as the tool does.
fn decode_picture(picture: &Picture, colours: Colours) -> Vec<Vec<Colour>> {
    let layout = &picture.layout;
    let info = layout.format().fourcc.info().unwrap();
    let decoder = Decoder::new(layout.format().fourcc, colours).unwrap();
    let (width, height) = (layout.extent().width(), layout.extent().height());
    (0..height)
        .map(|y| {
            let rows: Vec<&[u8]> = layout
                .planes()
                .iter()
                .zip(info.planes)
                .enumerate()
                .map(|(number, (place, shape))| {
                    let start = place.offset_bytes
                        + u64::from(place.stride_bytes) * u64::from(y / shape.vsub);
                    let start = usize::try_from(start).unwrap();
                    let length = layout.row_bytes(number).unwrap() as usize;
                    &picture.bytes[start..start + length]
                })
                .collect();
            let mut colours = vec![[7; 4]; width as usize];
            decoder.row(&rows, &mut colours);
            colours
        })
        .collect()
}

fn pictures() -> impl Strategy<Value = Picture> {
    let colours = Colours {
        standard: Standard::Bt601,
        range: Range::Full,
    };
    let all: Vec<Fourcc> = FormatInfo::all()
        .map(|info| info.fourcc)
        .filter(|fourcc| Decoder::new(*fourcc, colours).is_some())
        .collect();
    (proptest::sample::select(all), 1_u32..10, 1_u32..6, 0_u32..9).prop_flat_map(
        |(fourcc, width, height, padding)| {
            let extent = Extent::new(width, height).unwrap();
            let row = fourcc.info().unwrap().planes[0].row_bytes(width).unwrap();
            let layout = Layout::linear(extent, fourcc, 1, row + padding).unwrap();
            let count = usize::try_from(layout.total_bytes()).unwrap();
            proptest::collection::vec(any::<u8>(), count).prop_map(move |bytes| Picture {
                layout: layout.clone(),
                bytes,
            })
        },
    )
}

/// Chooses a colour standard and a range.
fn yuv_colours() -> impl Strategy<Value = Colours> {
    (
        proptest::sample::select(vec![Standard::Bt601, Standard::Bt709, Standard::Bt2020]),
        proptest::sample::select(vec![Range::Limited, Range::Full]),
    )
        .prop_map(|(standard, range)| Colours { standard, range })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn picture_of_any_format_matches_the_reference_decoder(picture in pictures(), colours in yuv_colours()) {
        for (y, row) in (0..).zip(decode_picture(&picture, colours)) {
            for (x, colour) in (0..).zip(row) {
                let expected = reference(&picture, colours, x, y).map(|one| one * 65535.0);
                for (found, expected) in colour.into_iter().zip(expected) {
                    let off = (f64::from(found) - expected).abs();
                    prop_assert!(off <= 1.0, "{x} {y}: {colour:?} is {found}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn rows_that_are_too_short_leave_pixels_unchanged(picture in pictures(), cut in 0_usize..9) {
        let colours = Colours { standard: Standard::Bt601, range: Range::Full };
        let decoder = Decoder::new(picture.layout.format().fourcc, colours).unwrap();
        let mut into = vec![[7; 4]; 64];
        for planes in 0..=3 {
            let short = &picture.bytes[..cut.min(picture.bytes.len())];
            decoder.row(&vec![short; planes], &mut into);
        }
        prop_assert_eq!(into[63], [7; 4]);
    }
}

/// The formats that the tool does not convert, besides the Bayer formats: some formats with more than eight bits a sample, and
/// formats with one chroma sample for four columns.
const WITHOUT_PIXELS: [&str; 33] = [
    "P012",
    "P016",
    "P030",
    "P210",
    "NV15",
    "NV20",
    "NV30",
    "Y210",
    "Y212",
    "Y216",
    "Y410",
    "Y412",
    "Y416",
    "XVYU2101010",
    "Q410",
    "Q401",
    "YUV410",
    "YVU410",
    "YUV411",
    "YVU411",
    "RGBX1010102",
    "RGBA1010102",
    "BGRX1010102",
    "BGRA1010102",
    "XRGB16161616",
    "ARGB16161616",
    "XBGR16161616",
    "ABGR16161616",
    "R10",
    "R12",
    "R16",
    "XRGB16161616F",
    "ARGB16161616F",
];
/// The pixel orders of the Bayer formats.
const BAYER: [&str; 4] = ["SBGGR", "SGBRG", "SGRBG", "SRGGB"];

#[test]
fn decoder_exists_for_every_known_format_but_those_that_are_listed() {
    let colours = Colours {
        standard: Standard::Bt709,
        range: Range::Limited,
    };
    for info in FormatInfo::all() {
        let has_pixels = Decoder::new(info.fourcc, colours).is_some();
        let is_left_out = WITHOUT_PIXELS.contains(&info.name)
            || BAYER.iter().any(|order| info.name.starts_with(order));
        assert_eq!(has_pixels, !is_left_out, "{}", info.name);
    }
    assert!(Decoder::new(Fourcc::of(*b"nope"), colours).is_none());
    let deep = |fourcc| Decoder::new(fourcc, colours).unwrap().is_deep();
    assert!(deep(Fourcc::P010) && deep(Fourcc::XRGB2101010) && deep(Fourcc::ABGR16161616F));
    assert!(!deep(Fourcc::NV12) && !deep(Fourcc::RGB565) && !deep(Fourcc::R8));
}

#[test]
fn channels_of_eight_bits_are_kept_exactly() {
    let colours = Colours {
        standard: Standard::Bt601,
        range: Range::Limited,
    };
    let decoder = Decoder::new(Fourcc::ARGB8888, colours).unwrap();
    let mut into = [[0; 4]];
    decoder.row(&[&[0x33, 0x22, 0x11, 0x80]], &mut into);
    assert_eq!(
        into[0].map(|channel| channel / 257),
        [0x11, 0x22, 0x33, 0x80]
    );
    assert!(into[0].iter().all(|channel| channel % 257 == 0));
    let decoder = Decoder::new(Fourcc::NV12, colours).unwrap();
    let mut into = [[0; 4]; 2];
    decoder.row(&[&[16, 235], &[128, 128]], &mut into);
    assert_eq!(into, [[0, 0, 0, 65535], [65535; 4]]);
}
