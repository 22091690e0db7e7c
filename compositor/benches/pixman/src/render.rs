//! Includes the modules of the CPU renderer, and calls them as the compositor does.
#![allow(dead_code, unused_imports)]

use std::io;

#[path = "../../../src/render/blend.rs"]
mod blend;
#[path = "../../../src/render/colour.rs"]
pub mod colour;
#[path = "../../../src/render/decode.rs"]
mod decode;
#[path = "../../../src/render/format.rs"]
pub mod format;
#[path = "../../../src/render/software/scaled.rs"]
mod scaled;
#[path = "../../../src/render/view.rs"]
pub mod view;
#[path = "../../../src/render/yuv.rs"]
mod yuv;

use crate::region::Rect;
use colour::ColorRepresentation;
use decode::{Encoding, ReadPlanes, RowDecoder};
use format::PixelFormat;
use scaled::Scaled;
use view::{BufferView, Transform};

fn float(pixels: usize) -> f64 {
    u32::try_from(pixels).map_or(f64::MAX, f64::from)
}

/// The planes of a buffer in memory, each with its stride.
pub struct Memory<'a>(pub Vec<(usize, &'a [u8])>);

impl ReadPlanes for &Memory<'_> {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let part = self.0[plane].1.get(offset..offset + into.len());
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn stride(&self, plane: usize) -> usize {
        self.0[plane].0
    }
}

/// Draws a buffer at the origin of a target in XRGB8888, scaled to `shown`.
pub fn draw(
    memory: &Memory<'_>,
    format: PixelFormat,
    size: (usize, usize),
    shown: (usize, usize),
    target: &mut [u32],
    target_width: usize,
) {
    let side = |pixels: usize| i32::try_from(pixels).unwrap();
    let encoding = Encoding {
        format,
        size,
        colour: ColorRepresentation::default(),
    };
    let mut decoder = RowDecoder::default();
    let mut planes = memory;
    let mut part = vec![0; shown.0];
    let view = BufferView {
        source: (0.0, 0.0, float(size.0), float(size.1)),
        destination: Rect::of_size(side(shown.0), side(shown.1)),
        transform: Transform::Normal,
    };
    let mut scaled = (size != shown).then(|| Scaled::new(encoding, view, Box::new(memory)));
    for (y, row) in target.chunks_exact_mut(target_width).take(shown.1).enumerate() {
        let row = &mut row[..shown.0];
        if let Some(scaled) = &mut scaled {
            let line = Rect::new(0, side(y), side(shown.0), 1);
            scaled.row(&mut decoder, line, row).unwrap();
        } else if format.has_alpha() {
            decoder.read(&mut planes, &encoding, (0, y), &mut part).unwrap();
            blend::over_row(&part, row);
        } else {
            decoder.read_opaque(&mut planes, &encoding, (0, y), row).unwrap();
        }
    }
}
