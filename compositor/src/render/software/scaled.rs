//! Buffers that are scaled or transformed. They are decoded as a whole and sampled with bilinear filtering.

use std::io;

use super::{Layer, View};
use crate::region::Rect;
use crate::render::float;
use crate::render::format::{ReadPlanes, RowDecoder};

/// The pixels of a whole buffer.
pub(super) struct Scaled {
    colours: Vec<u32>,
    width: usize,
    height: usize,
}

impl Scaled {
    pub(super) fn decode(
        decoder: &mut RowDecoder,
        layer: &Layer<'_>,
        mut planes: Box<dyn ReadPlanes + '_>,
    ) -> io::Result<Self> {
        let format = layer.pixels.format();
        let (width, height) = layer.pixels.size();
        let pixels = width
            .checked_mul(height)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut colours = vec![0; pixels];
        for (y, row) in colours.chunks_exact_mut(width).enumerate() {
            decoder.read(&mut *planes, format, height, (0, y), row)?;
        }
        Ok(Self {
            colours,
            width,
            height,
        })
    }

    /// Samples the pixels under `line` with bilinear filtering.
    pub(super) fn sample(&self, view: &View, line: Rect, into: &mut [u32]) {
        let (source_x, source_y, source_width, source_height) = view.source;
        let destination = view.destination;
        let (width, height) = view.transform.size((self.width, self.height));
        let size = (float(width), float(height));
        let across = source_width / f64::from(destination.width);
        let down = source_height / f64::from(destination.height);
        let y = source_y + (f64::from(line.y) - f64::from(destination.y) + 0.5) * down;
        for (column, colour) in (line.x..line.right()).zip(into) {
            let x = source_x + (f64::from(column) - f64::from(destination.x) + 0.5) * across;
            let (x, y) = view.transform.to_buffer((x, y), size);
            *colour = self.at(x - 0.5, y - 0.5);
        }
    }

    fn at(&self, x: f64, y: f64) -> u32 {
        let (left, right, weight_x) = neighbours(x, self.width);
        let (upper, lower, weight_y) = neighbours(y, self.height);
        let colour = |x: usize, y: usize| self.colours[y * self.width + x];
        let upper_row = mix(colour(left, upper), colour(right, upper), weight_x);
        let lower_row = mix(colour(left, lower), colour(right, lower), weight_x);
        mix(upper_row, lower_row, weight_y)
    }
}

/// Returns the two pixels next to a coordinate and the weight of the second in 1/256. Coordinates are clamped to the edge.
fn neighbours(place: f64, count: usize) -> (usize, usize, u32) {
    let last = count.saturating_sub(1);
    let floor = place.floor();
    let clamp = |value: i64| usize::try_from(value.max(0)).map_or(last, |value| value.min(last));
    let first = whole(floor);
    let weight = u32::try_from(whole((place - floor) * 256.0)).unwrap_or(0);
    (clamp(first), clamp(first.saturating_add(1)), weight)
}

fn mix(first: u32, second: u32, weight: u32) -> u32 {
    if weight == 0 || first == second {
        return first;
    }
    let mut colour = 0;
    for shift in [0, 8, 16, 24] {
        let sum = (first >> shift & 0xff) * (256 - weight) + (second >> shift & 0xff) * weight;
        colour |= (sum >> 8) << shift;
    }
    colour
}

#[allow(clippy::cast_possible_truncation)] // `as` saturates, and places far outside are clamped by every caller
pub(super) fn whole(value: f64) -> i64 {
    value as i64
}
