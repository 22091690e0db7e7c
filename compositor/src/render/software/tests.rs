//! Tests of the CPU renderer.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of the tests are small"
)]

use std::cell::Cell;

use super::*;
use crate::render::float;
use crate::render::view::Transform;

/// A buffer in memory that counts how many of its bytes are read.
struct Picture {
    format: PixelFormat,
    size: (usize, usize),
    bytes: Vec<u8>,
    /// The number of bytes that were read.
    read: Cell<usize>,
}

impl Picture {
    /// Returns an ARGB8888 picture whose pixels have the colours that `colour` returns.
    fn plain(width: u32, height: u32, colour: impl Fn(u32, u32) -> u32) -> Self {
        let bytes = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| colour(x, y).to_le_bytes())
            .collect();
        Self {
            format: PixelFormat::Argb8888,
            size: (width as usize, height as usize),
            bytes,
            read: Cell::new(0),
        }
    }
}

/// Reads the bytes of a picture, and counts them.
struct Planes<'a>(&'a Picture);

impl ReadPlanes for Planes<'_> {
    fn read(&mut self, _plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes.get(offset..offset + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        self.0.read.set(self.0.read.get() + into.len());
        Ok(())
    }

    fn stride(&self, _plane: usize) -> usize {
        self.0.size.0 * 4
    }
}

impl Pixels for Picture {
    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> (usize, usize) {
        self.size
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        Ok(Box::new(Planes(self)))
    }
}

fn layer<'a>(
    pixels: &'a Picture,
    destination: Rect,
    transform: Transform,
    opaque: bool,
) -> Layer<'a> {
    let (width, height) = transform.size(pixels.size);
    Layer {
        pixels,
        colour: ColorRepresentation::default(),
        view: BufferView {
            source: (0.0, 0.0, float(width), float(height)),
            destination,
            transform,
        },
        opaque: if opaque {
            destination.into()
        } else {
            Region::default()
        },
    }
}

const BACKGROUND: u32 = 0xff00_0000;

/// Draws the layers into a target of 8x8 pixels; returns the target and the number of written bytes.
fn draw(layers: &[Layer<'_>], damage: Region) -> (Target, u64) {
    let mut target = Target::memory(8, 8);
    let before = target.written_bytes();
    let failed = Software::default().draw(&mut target, &damage, BACKGROUND, layers);
    assert!(failed.unwrap().is_empty());
    let written = target.written_bytes() - before;
    (target, written)
}

#[test]
fn opaque_window_writes_only_its_own_bytes() {
    let buffer = Picture::plain(4, 3, |x, y| 0xff00_0000 | (y * 16 + x));
    let place = Rect::new(2, 2, 4, 3);
    let (target, written) = draw(
        &[layer(&buffer, place, Transform::Normal, true)],
        place.into(),
    );
    assert_eq!(written, 4 * 3 * 4);
    let shown = target.read().unwrap();
    assert_eq!(shown[2 * 8 + 2], 0xff00_0000);
    assert_eq!(shown[4 * 8 + 5], 0xff00_0023);
    assert_eq!(shown[0], 0, "a pixel that was not damaged was written");
}

#[test]
fn window_partly_outside_of_the_output_is_clipped() {
    let buffer = Picture::plain(4, 4, |x, y| 0xff00_0000 | (y * 16 + x));
    let place = Rect::new(-2, -1, 4, 4);
    let (target, _) = draw(
        &[layer(&buffer, place, Transform::Normal, true)],
        Rect::of_size(8, 8).into(),
    );
    let shown = target.read().unwrap();
    assert_eq!(shown[0], 0xff00_0012);
    assert_eq!(shown[3 * 8], BACKGROUND);
}

#[test]
fn opaque_window_of_many_rows_is_copied_with_each_pixel_in_its_place() {
    // The picture has more pixels than are copied at once, and the output clips it at two sides.
    const SIDE: u32 = 300;
    let colour = |x: u32, y: u32| 0xff00_0000 | y << 12 | x;
    for format in [PixelFormat::Argb8888, PixelFormat::Xrgb8888] {
        let mut buffer = Picture::plain(SIDE, SIDE, colour);
        buffer.format = format;
        let place = Rect::new(-3, -2, 300, 300);
        let mut target = Target::memory(280, 280);
        let damage = Region::from(Rect::new(0, 5, 280, 275));
        let layers = [layer(&buffer, place, Transform::Normal, true)];
        let failed = Software::default().draw(&mut target, &damage, BACKGROUND, &layers);
        assert!(failed.unwrap().is_empty());
        assert_eq!(target.written_bytes(), 280 * 275 * 4);
        let shown = target.read().unwrap();
        for (index, pixel) in shown.iter().enumerate().skip(5 * 280) {
            let (x, y) = (index as u32 % 280, index as u32 / 280);
            assert_eq!(*pixel, colour(x + 3, y + 2), "{format:?} at {x}, {y}");
        }
    }
}

#[test]
fn translucent_window_is_blended_over_the_one_below() {
    let below = Picture::plain(8, 8, |_, _| 0xffff_ffff);
    let top = Picture::plain(8, 8, |_, _| 0x8000_0000);
    let full = Rect::of_size(8, 8);
    let (target, written) = draw(
        &[
            layer(&below, full, Transform::Normal, true),
            layer(&top, full, Transform::Normal, false),
        ],
        full.into(),
    );
    assert!(target.read().unwrap().iter().all(|c| *c == 0xff7f_7f7f));
    assert_eq!(
        written,
        8 * 8 * 4,
        "two layers, but each pixel is written once"
    );
}

#[test]
fn scaled_buffer_keeps_its_corners() {
    let buffer = Picture::plain(2, 2, |x, y| 0xff00_0000 | (y * 0x80 + x * 0x40));
    let full = Rect::of_size(8, 8);
    let (target, _) = draw(
        &[layer(&buffer, full, Transform::Normal, true)],
        full.into(),
    );
    let shown = target.read().unwrap();
    assert_eq!([shown[0], shown[7]], [0xff00_0000, 0xff00_0040]);
    assert_eq!([shown[56], shown[63]], [0xff00_0080, 0xff00_00c0]);
}

#[test]
fn transformed_buffer_has_its_first_pixel_where_the_protocol_puts_it() {
    // Only the upper left pixel of the buffer is red. The test expects it at the position to which the transform moves it.
    let buffer = Picture::plain(8, 8, |x, y| {
        if (x, y) == (0, 0) {
            0xffff_0000
        } else {
            BACKGROUND
        }
    });
    let full = Rect::of_size(8, 8);
    let expected = [
        (Transform::Normal, 0),
        (Transform::Rotated90, 7),
        (Transform::Rotated180, 63),
        (Transform::Rotated270, 56),
        (Transform::Flipped, 7),
        (Transform::Flipped90, 0),
        (Transform::Flipped180, 56),
        (Transform::Flipped270, 63),
    ];
    for (transform, place) in expected {
        let (target, _) = draw(&[layer(&buffer, full, transform, true)], full.into());
        let shown = target.read().unwrap();
        assert_eq!(
            shown.iter().position(|colour| *colour == 0xffff_0000),
            Some(place),
            "{transform:?}"
        );
    }
}

#[test]
fn layer_that_cannot_be_read_is_left_out_and_returned() {
    let mut broken = Picture::plain(8, 8, |_, _| 0xffff_ffff);
    broken.bytes.truncate(100);
    let mut target = Target::memory(8, 8);
    let full = Rect::of_size(8, 8);
    let layers = [layer(&broken, full, Transform::Normal, true)];
    let failed = Software::default().draw(&mut target, &full.into(), BACKGROUND, &layers);
    assert_eq!(failed.unwrap()[0].layer, 0);
    assert_eq!(target.read().unwrap()[63], BACKGROUND);
}

#[test]
fn layer_below_an_opaque_one_is_read_only_where_it_is_visible() {
    let below = Picture::plain(8, 8, |_, _| 0xff11_1111);
    let above = Picture::plain(8, 5, |_, _| 0xff22_2222);
    let full = Rect::of_size(8, 8);
    let layers = [
        layer(&below, full, Transform::Normal, true),
        layer(&above, Rect::of_size(8, 5), Transform::Normal, true),
    ];
    let (target, written) = draw(&layers, full.into());
    let shown = target.read().unwrap();
    assert_eq!((shown[39], shown[40]), (0xff22_2222, 0xff11_1111));
    assert_eq!(written, 8 * 8 * 4);
    assert_eq!(below.read.get(), 8 * 3 * 4);
    assert_eq!(above.read.get(), 8 * 5 * 4);
    // A hidden layer that cannot be read is not reported as an error.
    let mut broken = Picture::plain(8, 8, |_, _| 0);
    broken.bytes.clear();
    let layers = [
        layer(&broken, full, Transform::Normal, true),
        layer(&below, full, Transform::Normal, true),
    ];
    draw(&layers, full.into());
}

#[test]
fn scaled_buffer_is_read_only_where_it_is_shown() {
    let buffer = Picture::plain(64, 64, |x, y| 0xff00_0000 | ((y * 2) << 8) | (x * 2));
    let mut shown = layer(&buffer, Rect::of_size(8, 8), Transform::Normal, true);
    shown.view.source = (10.0, 20.0, 16.0, 16.0);
    let (target, _) = draw(&[shown], Rect::new(2, 2, 2, 3).into());
    // Two columns and three rows of the output show four columns and six rows of the buffer, with their neighbours.
    assert!(buffer.read.get() <= 6 * 8 * 4, "{}", buffer.read.get());
    // The pixel at 2,2 is between columns 14 and 15 and rows 24 and 25 of the buffer.
    assert_eq!(target.read().unwrap()[2 * 8 + 2], 0xff00_311d);
}

/// A buffer with very many pixels, all of one colour.
struct Huge {
    size: (usize, usize),
    read: Cell<usize>,
    largest_read: Cell<usize>,
}

impl ReadPlanes for &Huge {
    fn read(&mut self, _plane: usize, _offset: usize, into: &mut [u8]) -> io::Result<()> {
        into.fill(0x40);
        self.read.set(self.read.get() + into.len());
        self.largest_read
            .set(self.largest_read.get().max(into.len()));
        Ok(())
    }

    fn stride(&self, _plane: usize) -> usize {
        self.size.0 * 2
    }
}

impl Pixels for Huge {
    fn format(&self) -> PixelFormat {
        PixelFormat::Rgb565
    }

    fn size(&self) -> (usize, usize) {
        self.size
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        Ok(Box::new(self))
    }
}

#[test]
fn huge_buffer_that_is_scaled_down_is_not_decoded_as_a_whole() {
    for transform in [Transform::Normal, Transform::Rotated90] {
        for side in [1, 8] {
            let huge = Huge {
                size: (65_536, 1024),
                read: Cell::new(0),
                largest_read: Cell::new(0),
            };
            let (width, height) = transform.size(huge.size);
            let shown = Layer {
                pixels: &huge,
                colour: ColorRepresentation::default(),
                view: BufferView {
                    source: (0.0, 0.0, float(width), float(height)),
                    destination: Rect::of_size(side, side),
                    transform,
                },
                opaque: Rect::of_size(side, side).into(),
            };
            let (target, _) = draw(&[shown], Rect::of_size(8, 8).into());
            assert_eq!(target.read().unwrap()[0], 0xff42_0800);
            let (read, largest) = (huge.read.get(), huge.largest_read.get());
            // The whole buffer has 128 MiB.
            assert!(read <= 1 << 18, "{transform:?} {side}: {read} bytes");
            assert!(largest <= 1 << 18, "{transform:?} {side}: {largest} bytes");
        }
    }
}

/// Returns one pixel of a layer by bilinear filtering in floating point.
fn sample(picture: &Picture, view: &BufferView, (x, y): (i32, i32)) -> [f64; 4] {
    let (source_x, source_y, width, height) = view.source;
    let place = view.destination;
    let at = (
        source_x + (f64::from(x - place.x) + 0.5) * width / f64::from(place.width),
        source_y + (f64::from(y - place.y) + 0.5) * height / f64::from(place.height),
    );
    let (across, down) = view.transform.size(picture.size);
    let (x, y) = view.transform.to_buffer(at, (float(across), float(down)));
    let pixel = |x: f64, y: f64| -> [f64; 4] {
        let (width, height) = picture.size;
        let clamp = |place: f64, count: usize| (place.max(0.0) as usize).min(count - 1);
        let at = (clamp(y, height) * width + clamp(x, width)) * 4;
        [0, 1, 2, 3].map(|channel| f64::from(picture.bytes[at + channel]))
    };
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, upper) = (x.floor(), y.floor());
    let mut sum = [0.0; 4];
    for (dx, across) in [(0.0, 1.0 - (x - left)), (1.0, x - left)] {
        for (dy, down) in [(0.0, 1.0 - (y - upper)), (1.0, y - upper)] {
            let found = pixel(left + dx, upper + dy);
            for (sum, found) in sum.iter_mut().zip(found) {
                *sum += found * across * down;
            }
        }
    }
    sum
}

#[test]
fn scaled_and_transformed_buffers_are_close_to_bilinear_filtering() {
    let buffer = Picture::plain(13, 9, |x, y| {
        0xff00_0000 | (x * 19) << 16 | (y * 28) << 8 | (x * y * 2)
    });
    let transforms = [
        Transform::Normal,
        Transform::Rotated90,
        Transform::Rotated180,
        Transform::Rotated270,
        Transform::Flipped,
        Transform::Flipped90,
        Transform::Flipped180,
        Transform::Flipped270,
    ];
    for transform in transforms {
        let (width, height) = transform.size(buffer.size);
        let whole = (0.0, 0.0, float(width), float(height));
        for (source, destination) in [
            (whole, Rect::new(-20, -3, 60, 51)),
            (whole, Rect::new(1, 2, 6, 5)),
            ((1.5, 2.25, 5.0, 4.5), Rect::new(0, 0, 8, 8)),
        ] {
            let mut shown = layer(&buffer, destination, transform, true);
            shown.view.source = source;
            let view = shown.view;
            // The damage consists of two pieces of different widths.
            let mut damage = Region::from(Rect::new(0, 0, 8, 4));
            damage.add(Rect::new(0, 4, 3, 4));
            damage.add(Rect::new(3, 4, 5, 4));
            let (target, _) = draw(&[shown], damage);
            let pixels = target.read().unwrap();
            let inside = destination.intersection(Rect::of_size(8, 8)).unwrap();
            for y in inside.y..inside.bottom() {
                for x in inside.x..inside.right() {
                    let found = pixels[(y * 8 + x) as usize].to_le_bytes();
                    let expected = sample(&buffer, &view, (x, y));
                    for (found, expected) in found.into_iter().zip(expected) {
                        // The weights have 8 bits, and both steps of the interpolation are rounded.
                        assert!(
                            (f64::from(found) - expected).abs() <= 2.0,
                            "{transform:?} to {destination:?} at {x},{y}: {found}, {expected}"
                        );
                    }
                }
            }
        }
    }
}

/// A pseudo-random number generator for tests.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }

    fn rect(&mut self) -> Rect {
        let mut number = |limit| i32::try_from(self.below(limit)).unwrap();
        Rect::new(number(10) - 3, number(10) - 3, number(8) + 1, number(8) + 1)
    }
}

#[test]
fn random_layers_are_drawn_as_one_after_another() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let pictures: Vec<(Picture, Rect)> = (0..5)
            .map(|index| {
                let place = numbers.rect();
                let alpha = [0xff, 0x80, 0][numbers.below(3) as usize];
                let grey = (index + 1) * 40 * alpha / 0xff;
                let colour = alpha << 24 | grey << 16 | grey << 8 | grey;
                let (width, height) = (place.width.unsigned_abs(), place.height.unsigned_abs());
                (Picture::plain(width, height, |_, _| colour), place)
            })
            .collect();
        let layers: Vec<Layer<'_>> = pictures
            .iter()
            .map(|(picture, place)| {
                let mut layer = layer(picture, *place, Transform::Normal, false);
                if picture.bytes[3] == 0xff {
                    // Only a part of the opaque picture is declared as opaque.
                    for _ in 0..2 {
                        let part = numbers.rect().intersection(*place).unwrap_or_default();
                        layer.opaque.add(part);
                    }
                }
                layer
            })
            .collect();
        let damage: Region = (0..2)
            .filter_map(|_| numbers.rect().intersection(Rect::of_size(8, 8)))
            .collect();
        let (target, written) = draw(&layers, damage.clone());
        assert_eq!(written, damage.area() * 4, "seed {seed}");
        let found = target.read().unwrap();
        for (place, found) in (0i32..).zip(found) {
            let pixel = Rect::new(place % 8, place / 8, 1, 1);
            let mut expected = 0;
            if damage.covers(pixel) {
                expected = BACKGROUND;
                for (picture, place) in &pictures {
                    if place.contains(pixel) {
                        let top = u32::from_le_bytes(picture.bytes[..4].try_into().unwrap());
                        let mut row = [expected];
                        over_row(&[top], &mut row);
                        expected = row[0];
                    }
                }
            }
            assert_eq!(found, expected, "seed {seed} at {},{}", pixel.x, pixel.y);
        }
    }
}

#[test]
fn opaque_regions_that_cross_each_other_give_a_bounded_number_of_pieces() {
    let buffer = Picture::plain(1, 1, |_, _| 0xff00_0000);
    let layers: Vec<Layer<'_>> = (0..40)
        .map(|index| {
            let mut layer = layer(&buffer, Rect::of_size(4000, 4000), Transform::Normal, false);
            for stripe in 0..64 {
                let at = stripe * 60 + index;
                layer.opaque.add(if index % 2 == 0 {
                    Rect::new(at, 0, 1, 4000)
                } else {
                    Rect::new(0, at, 4000, 1)
                });
            }
            layer
        })
        .collect();
    let damage = Region::from(Rect::of_size(4000, 4000));
    let pieces = divide(&damage, &layers);
    assert!(pieces.len() <= 2100, "{} pieces", pieces.len());
    let area: u64 = pieces.iter().map(|piece| piece.rect.area()).sum();
    assert_eq!(area, damage.area());
}
