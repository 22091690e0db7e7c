//! Tests that the GPU renderer draws the same pixels as the CPU renderer. Mesa's software rasteriser is used instead of a GPU.

use std::io;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::gles::GlesRenderbuffer;
use smithay::backend::renderer::{Bind, Offscreen};
use smithay::utils::Rectangle;

use super::{Gles, sys};
use crate::region::{Rect, Region};
use crate::render::colour::{AlphaMode, ChromaLocation};
use crate::render::memory_planes::MemoryPlanes;
use crate::render::reference;
use crate::render::software::{Layer, Pixels, Software};
use crate::render::view::{BufferView, Transform};
use crate::render::{ColorRepresentation, PixelFormat, ReadPlanes, Target};

const SIZE: (i32, i32) = (32, 24);
const BACKGROUND: u32 = 0xff20_4060;
const TRANSFORMS: [Transform; 8] = [
    Transform::Normal,
    Transform::Rotated90,
    Transform::Rotated180,
    Transform::Rotated270,
    Transform::Flipped,
    Transform::Flipped90,
    Transform::Flipped180,
    Transform::Flipped270,
];

/// A buffer in which all pixels differ.
struct Picture {
    size: (usize, usize),
    format: PixelFormat,
    bytes: Vec<u8>,
}

impl Picture {
    fn new(width: u8, height: u8, alpha: u8) -> Self {
        let bytes = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [x * 8, y * 9, 120 - x * 3, alpha])
            .collect();
        Self {
            size: (width.into(), height.into()),
            format: if alpha == 0xff {
                PixelFormat::Xrgb8888
            } else {
                PixelFormat::Argb8888
            },
            bytes,
        }
    }
}

impl ReadPlanes for &Picture {
    fn read(&mut self, _plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.bytes[offset..offset + into.len()]);
        Ok(())
    }

    fn stride(&self, _plane: usize) -> usize {
        self.size.0 * 4
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
        Ok(Box::new(self))
    }
}

/// The YUV test picture of `reference.rs`.
struct Video {
    format: PixelFormat,
    size: (usize, usize),
}

impl Pixels for Video {
    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> (usize, usize) {
        self.size
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        Ok(Box::new(MemoryPlanes(reference::planes(
            self.format,
            self.size,
        ))))
    }
}

/// Returns the GPU renderer on a driver that draws with the CPU.
fn gles() -> Gles {
    let renderer = sys::drawn_by_cpu().unwrap();
    Gles::new(renderer, None, "test".to_owned(), true).unwrap()
}

/// Draws the layers with the GPU renderer onto a black picture, and returns its pixels.
fn by_gles(gles: &mut Gles, damage: &Region, layers: &[Layer<'_>]) -> Vec<u32> {
    let size = SIZE.into();
    let mut picture: GlesRenderbuffer =
        gles.renderer.create_buffer(Fourcc::Abgr8888, size).unwrap();
    let everything = Region::from(Rect::of_size(SIZE.0, SIZE.1));
    let mut target = gles.renderer.bind(&mut picture).unwrap();
    // Pixels outside of the damage must keep this content.
    let nothing = super::Textures::default();
    let cleared = gles.draw_to(&mut target, &everything, 0xff00_0000, &[], &nothing);
    cleared.unwrap().wait().unwrap();
    let textures = gles.textures(damage, layers).unwrap();
    assert!(textures.failed.is_empty());
    let drawn = gles.draw_to(&mut target, damage, BACKGROUND, layers, &textures);
    drawn.unwrap().wait().unwrap();
    gles.read_target(&target, Rectangle::from_size(size))
        .unwrap()
}

/// Draws the layers with the CPU renderer, and returns the pixels.
fn by_cpu(damage: &Region, layers: &[Layer<'_>]) -> Vec<u32> {
    let mut target = Target::memory(32, 24);
    let failed = Software::default().draw(&mut target, damage, BACKGROUND, layers);
    assert!(failed.unwrap().is_empty());
    let colours = target.read().unwrap();
    colours
        .into_iter()
        .map(|colour| colour | 0xff00_0000)
        .collect()
}

/// Checks that the pictures of both renderers differ by at most 2 in each channel. `what` names the check in messages.
#[track_caller]
fn assert_alike(gles: &mut Gles, damage: &Region, layers: &[Layer<'_>], what: &str) {
    let found = by_gles(gles, damage, layers);
    let expected = by_cpu(damage, layers);
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for shift in [0, 8, 16] {
            let (found, expected) = (found >> shift & 0xff, expected >> shift & 0xff);
            assert!(
                found.abs_diff(expected) <= 2,
                "{what}: at {},{} the GPU has {found}, the CPU {expected} (shift {shift})",
                place % 32,
                place / 32
            );
        }
    }
}

fn layer(
    pixels: &Picture,
    source: (f64, f64, f64, f64),
    destination: Rect,
    transform: Transform,
) -> Layer<'_> {
    Layer {
        pixels,
        colour: ColorRepresentation::default(),
        view: BufferView {
            source,
            destination,
            transform,
        },
        opaque: Region::default(),
    }
}

/// Returns the region of the whole picture.
fn whole() -> Region {
    Rect::of_size(SIZE.0, SIZE.1).into()
}

#[test]
fn gles_with_a_transformed_buffer_matches_the_cpu_renderer() {
    let mut gles = gles();
    let picture = Picture::new(10, 6, 0xff);
    for transform in TRANSFORMS {
        let (width, height) = transform.size(picture.size);
        let (across, down) = (
            i32::try_from(width).unwrap(),
            i32::try_from(height).unwrap(),
        );
        let source = (0.0, 0.0, f64::from(across), f64::from(down));
        let plain = layer(&picture, source, Rect::new(3, 4, across, down), transform);
        assert_alike(&mut gles, &whole(), &[plain], &format!("{transform:?}"));
        // This view shows a part of the buffer that is not centred.
        let part = layer(
            &picture,
            (1.0, 2.0, 4.0, 3.0),
            Rect::new(5, 1, 4, 3),
            transform,
        );
        assert_alike(
            &mut gles,
            &whole(),
            &[part],
            &format!("part of {transform:?}"),
        );
    }
}

#[test]
fn gles_with_scaled_and_translucent_layers_draws_only_within_the_damage() {
    let mut gles = gles();
    let below = Picture::new(12, 10, 0xff);
    let above = Picture::new(9, 7, 0x80);
    let layers = [
        layer(
            &below,
            (0.0, 0.0, 12.0, 10.0),
            Rect::new(2, 2, 24, 20),
            Transform::Normal,
        ),
        layer(
            &above,
            (0.0, 0.0, 9.0, 7.0),
            Rect::new(-3, 8, 9, 7),
            Transform::Normal,
        ),
    ];
    assert_alike(&mut gles, &whole(), &layers, "everything");
    let mut part = Region::from(Rect::new(1, 9, 7, 5));
    part.add(Rect::new(20, 3, 8, 2));
    assert_alike(&mut gles, &part, &layers, "part");
}

#[test]
fn gles_counts_only_the_bytes_of_uploads() {
    let mut gles = gles();
    let picture = Picture::new(4, 3, 0xff);
    let source = (0.0, 0.0, 4.0, 3.0);
    let shown = [layer(
        &picture,
        source,
        Rect::new(0, 0, 4, 3),
        Transform::Normal,
    )];
    by_gles(&mut gles, &whole(), &shown);
    assert_eq!(gles.uploaded_bytes(), 4 * 3 * 4);
    let elsewhere = Region::from(Rect::new(10, 10, 4, 4));
    by_gles(&mut gles, &elsewhere, &shown);
    assert_eq!(gles.uploaded_bytes(), 4 * 3 * 4);
}

#[test]
fn gles_draws_yuv_of_every_matrix_range_and_chroma_location_close_to_the_reference() {
    let mut gles = gles();
    for format in PixelFormat::ALL.into_iter().filter(|one| one.is_yuv()) {
        for encoding in reference::encodings() {
            for location in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)] {
                let colour = ColorRepresentation {
                    yuv: Some(encoding),
                    chroma_location: location.and_then(ChromaLocation::of_type),
                    ..ColorRepresentation::default()
                };
                let tolerance = if location.is_some() {
                    reference::INTERPOLATED_TOLERANCE
                } else {
                    reference::TOLERANCE
                };
                let size = (31, 23);
                let video = Video { format, size };
                let shown = Layer {
                    pixels: &video,
                    colour,
                    view: BufferView {
                        source: (0.0, 0.0, 31.0, 23.0),
                        destination: Rect::new(1, 1, 31, 23),
                        transform: Transform::Normal,
                    },
                    opaque: Rect::new(1, 1, 31, 23).into(),
                };
                let layers = [shown];
                let by_gpu = by_gles(&mut gles, &whole(), &layers);
                let by_cpu = by_cpu(&whole(), &layers);
                for place in 0..31 * 23 {
                    let (x, y) = (place % 31, place / 31);
                    let at = (y + 1) * 32 + x + 1;
                    let expected = reference::colour(format, colour, size, (x, y));
                    for (shift, expected) in [16, 8, 0].into_iter().zip(expected) {
                        for (who, pixels) in [("GPU", &by_gpu), ("CPU", &by_cpu)] {
                            let found = f64::from(pixels[at] >> shift & 0xff);
                            assert!(
                                (found - expected).abs() <= tolerance,
                                "{format:?} {encoding:?} {location:?} at {x},{y}: the {who} has {found}, not {expected:.2}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn gles_with_straight_alpha_matches_the_cpu_renderer() {
    let mut gles = gles();
    let picture = Picture::new(10, 6, 0x60);
    let mut shown = layer(
        &picture,
        (0.0, 0.0, 10.0, 6.0),
        Rect::new(3, 4, 10, 6),
        Transform::Normal,
    );
    let premultiplied = by_gles(&mut gles, &whole(), std::slice::from_ref(&shown));
    shown.colour.alpha = AlphaMode::Straight;
    let layers = [shown];
    assert_alike(&mut gles, &whole(), &layers, "straight alpha");
    assert_ne!(by_gles(&mut gles, &whole(), &layers), premultiplied);
}

#[test]
fn gles_draws_nothing_below_an_opaque_layer() {
    let mut gles = gles();
    let below = Picture::new(12, 10, 0xff);
    let above = Picture::new(12, 6, 0xff);
    let place = |height| Rect::new(2, 2, 12, height);
    let mut layers = [
        layer(&below, (0.0, 0.0, 12.0, 10.0), place(10), Transform::Normal),
        layer(&above, (0.0, 0.0, 12.0, 6.0), place(6), Transform::Normal),
    ];
    layers[1].opaque = place(6).into();
    assert_alike(&mut gles, &whole(), &layers, "opaque");
    let (rest, parts) = super::visible_parts(&whole(), &layers);
    assert_eq!(rest.area(), 32 * 24 - 12 * 6);
    assert_eq!((parts[0].area(), parts[1].area()), (12 * 4, 12 * 6));
}

#[test]
fn copy_by_the_gpu_has_the_pixels_of_the_buffer() {
    let mut gles = gles();
    let picture = Picture::new(9, 7, 0x90);
    let copied = gles.copy(&picture, ColorRepresentation::default()).unwrap();
    let expected = crate::screenshot::decode(&picture, ColorRepresentation::default()).unwrap();
    let found = crate::screenshot::decode(&copied, ColorRepresentation::default()).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn pixels_that_are_mapped_after_the_draw_match_the_cpu_renderer_and_have_its_alpha() {
    let mut gles = gles();
    for alpha in [0xff, 0x80] {
        let picture = Picture::new(10, 6, alpha);
        let place = Rect::new(-3, 20, 10, 6);
        let source = (0.0, 0.0, 10.0, 6.0);
        let layers = [layer(&picture, source, place, Transform::Normal)];
        let (pending, failed) = gles.start_read(SIZE, 0, &layers).unwrap();
        assert!(failed.is_empty());
        pending.done.wait().unwrap();
        let found = gles.finish_read(&pending).unwrap();
        let mut target = Target::memory(32, 24);
        let drawn = Software::default().draw(&mut target, &whole(), 0, &layers);
        assert!(drawn.unwrap().is_empty());
        let expected = target.read().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            for shift in [0, 8, 16, 24] {
                let (found, expected) = (found >> shift & 0xff, expected >> shift & 0xff);
                assert!(found.abs_diff(expected) <= 2, "{found} {expected} {shift}");
            }
        }
    }
}
