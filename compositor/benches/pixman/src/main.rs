//! Measures how fast the CPU renderer and pixman draw pictures into a target of 1920×1080 pixels.

#[allow(dead_code)]
#[path = "../../../src/region.rs"]
mod region;
mod render;

use std::hint::black_box;
use std::time::{Duration, Instant};

use pixman::{Filter, Fixed, FormatCode, Image, Operation, Transform};
use render::format::PixelFormat;
use render::{Memory, draw};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;

/// A picture to draw. It is scaled from `size` to `shown`.
struct Picture {
    name: &'static str,
    format: PixelFormat,
    /// The pixman format of the picture; `None` if pixman does not support the format.
    pixman_format: Option<FormatCode>,
    size: (usize, usize),
    shown: (usize, usize),
}

const PICTURES: [Picture; 6] = [
    Picture {
        name: "copy",
        format: PixelFormat::Xrgb8888,
        pixman_format: Some(FormatCode::X8R8G8B8),
        size: (WIDTH, HEIGHT),
        shown: (WIDTH, HEIGHT),
    },
    Picture {
        name: "blend",
        format: PixelFormat::Argb8888,
        pixman_format: Some(FormatCode::A8R8G8B8),
        size: (WIDTH, HEIGHT),
        shown: (WIDTH, HEIGHT),
    },
    Picture {
        name: "scaled",
        format: PixelFormat::Xrgb8888,
        pixman_format: Some(FormatCode::X8R8G8B8),
        size: (1280, 720),
        shown: (WIDTH, HEIGHT),
    },
    Picture {
        name: "rgb565",
        format: PixelFormat::Rgb565,
        pixman_format: Some(FormatCode::R5G6B5),
        size: (WIDTH, HEIGHT),
        shown: (WIDTH, HEIGHT),
    },
    Picture {
        name: "yuyv",
        format: PixelFormat::Yuyv,
        pixman_format: Some(FormatCode::YUY2),
        size: (1280, 720),
        shown: (1280, 720),
    },
    Picture {
        name: "nv12",
        format: PixelFormat::Nv12,
        pixman_format: None,
        size: (1280, 720),
        shown: (1280, 720),
    },
];

/// The renderer that draws.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MeasuredRenderer {
    Covalent,
    Pixman,
}

/// Draws a picture once with one renderer.
#[inline(never)]
fn draw_once(
    picture: &Picture,
    renderer: MeasuredRenderer,
    pixels: &mut [u32],
    target: &mut [u32],
) {
    let (width, height) = picture.size;
    match renderer {
        MeasuredRenderer::Covalent => {
            let bytes: &[u8] = bytemuck::cast_slice(pixels);
            let memory = Memory(match picture.format {
                PixelFormat::Nv12 => {
                    let (luma, chroma) = bytes.split_at(width * height);
                    vec![(width, luma), (width, chroma)]
                }
                PixelFormat::Yuyv | PixelFormat::Rgb565 => vec![(width * 2, bytes)],
                _ => vec![(width * 4, bytes)],
            });
            draw(
                &memory,
                picture.format,
                picture.size,
                picture.shown,
                target,
                WIDTH,
            );
        }
        MeasuredRenderer::Pixman => {
            let code = picture
                .pixman_format
                .expect("pixman supports the format of the picture");
            let bytes = match picture.format {
                PixelFormat::Yuyv | PixelFormat::Rgb565 => 2,
                _ => 4,
            };
            let mut from =
                Image::from_slice_mut(code, width, height, pixels, width * bytes, false).unwrap();
            let mut into = Image::from_slice_mut(
                FormatCode::X8R8G8B8,
                WIDTH,
                HEIGHT,
                target,
                WIDTH * 4,
                false,
            )
            .unwrap();
            if picture.size != picture.shown {
                let scale = |size: usize, shown: usize| Fixed::from(size as f64 / shown as f64);
                let across = scale(width, picture.shown.0);
                let down = scale(height, picture.shown.1);
                let zero = Fixed::ZERO;
                from.set_transform(Transform::new([
                    [across, zero, zero],
                    [zero, down, zero],
                    [zero, zero, Fixed::ONE],
                ]))
                .unwrap();
                from.set_filter(Filter::Bilinear, &[]).unwrap();
                from.set_repeat(pixman::Repeat::Pad);
            }
            let operation = if picture.format.has_alpha() {
                Operation::Over
            } else {
                Operation::Src
            };
            let shown = (picture.shown.0 as i32, picture.shown.1 as i32);
            into.composite32(operation, &from, None, (0, 0), (0, 0), (0, 0), shown);
        }
    }
}

/// Returns a picture with gradients. A third of its pixels are opaque, a third transparent, and the others translucent.
fn pixels() -> Vec<u32> {
    (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).map(move |x| (x, y)))
        .map(|(x, y)| {
            let alpha = match x * 3 / WIDTH {
                0 => 0xff,
                1 => 0,
                _ => 0x40 + (y as u32 & 0x7f),
            };
            let channel = |value: usize| (value as u32 & 0xff) * alpha / 0xff;
            alpha << 24 | channel(x) << 16 | channel(y) << 8 | channel(x + y)
        })
        .collect()
}

fn main() {
    let mut pixels = pixels();
    let mut target = vec![0xff33_6699; WIDTH * HEIGHT];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, renderer] = arguments.as_slice() {
        let picture = PICTURES
            .iter()
            .find(|one| one.name == name)
            .expect("a picture");
        let renderer = if renderer == "pixman" {
            MeasuredRenderer::Pixman
        } else {
            MeasuredRenderer::Covalent
        };
        draw_once(picture, renderer, &mut pixels, &mut target);
        black_box(&target);
        return;
    }
    println!("picture    covalent      pixman   ratio   (median of 5 rounds, one after the other)");
    for picture in &PICTURES {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (renderer, times) in [MeasuredRenderer::Covalent, MeasuredRenderer::Pixman]
                .into_iter()
                .zip(&mut rounds)
            {
                if renderer == MeasuredRenderer::Pixman && picture.pixman_format.is_none() {
                    continue;
                }
                let start = Instant::now();
                for _ in 0..20 {
                    draw_once(picture, renderer, &mut pixels, &mut target);
                    black_box(&target);
                }
                times.push(start.elapsed() / 20);
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times.get(times.len() / 2).copied()
        };
        let [ours, theirs] = &mut rounds;
        let milliseconds =
            |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
        let (ours, theirs) = (milliseconds(median(ours)), milliseconds(median(theirs)));
        println!(
            "{:8} {ours:8.3} ms {theirs:8.3} ms {:7.2}",
            picture.name,
            ours / theirs
        );
    }
}
