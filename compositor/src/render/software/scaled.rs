//! Samples buffers that are scaled or transformed, with bilinear filtering.
//!
//! Output rows are drawn in bands, and only the buffer's pixels that a band shows are decoded. The height of a band is chosen so
//! that it needs little memory, whatever the size of the buffer. Clients choose both sizes, and a few output pixels may show a
//! buffer of any size.

use std::io;

use crate::region::Rect;
use crate::render::blend::{Tap, WidePixel, mix, mix_rows, narrow_pixel, sample_row, widen};
use crate::render::decode::{Encoding, ReadPlanes, RowDecoder};
use crate::render::float;
use crate::render::view::BufferView;

/// The maximum number of output rows in a band.
const BAND_ROWS: i32 = 32;
/// The maximum number of decoded pixels in a band. A band has fewer output rows if it would need more.
const BAND_PIXELS: usize = 1 << 16;
/// The maximum number of decoded pixels for each pixel of an output row. If a band would need more, each sampled pixel is decoded
/// separately.
const PIXELS_PER_OUTPUT_PIXEL: usize = 64;

/// A buffer that is sampled, with its scratch memory.
pub(super) struct Scaled<'a> {
    planes: Box<dyn ReadPlanes + 'a>,
    encoding: Encoding,
    view: BufferView,
    band: Option<Band>,
    /// One row of the band, in which each pixel is a mixture of two rows of the buffer, or of two columns if the transform swaps
    /// the axes.
    mixed: Vec<WidePixel>,
}

/// The decoded pixels for a band of output rows.
struct Band {
    /// The rectangle of the output that the band covers.
    output: Rect,
    /// The buffer's pixels that the columns of the output show.
    columns: Axis,
    /// The buffer's pixels that the rows of the output show.
    rows: Axis,
    /// The decoded pixels of the buffer.
    pixels: Vec<u32>,
    /// Whether each pixel is decoded when it is sampled. Then `pixels` is not used.
    is_sparse: bool,
    /// The number of pixels in a decoded row.
    stride: usize,
}

/// The range of pixels on one axis of the buffer that a part of the output shows.
#[derive(Debug, Default)]
struct Axis {
    /// The index of the first pixel of the range.
    start: usize,
    /// The number of pixels in the range.
    count: usize,
    /// The taps of each column or row of the output. Their indices are relative to `start`.
    taps: Vec<Tap>,
}

impl Axis {
    /// Creates the taps for positions on an axis with `count` pixels. Positions outside of the axis are clamped to its edge.
    fn new(positions: impl Iterator<Item = f64>, count: usize) -> Self {
        let last = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut taps: Vec<Tap> = positions
            .map(|position| {
                let floor = position.floor();
                let weight = u32::try_from(whole((position - floor) * 256.0)).unwrap_or(0);
                match u32::try_from(whole(floor)) {
                    Ok(first) if first < last => Tap { first, weight },
                    Ok(_) => Tap {
                        first: last,
                        weight: 0,
                    },
                    Err(_) => Tap {
                        // The position is before the first pixel or after the last one.
                        first: if floor < 0.0 { 0 } else { last },
                        weight: 0,
                    },
                }
            })
            .collect();
        let start = taps.iter().map(|tap| tap.first).min().unwrap_or(0);
        for tap in &mut taps {
            tap.first = tap.first.saturating_sub(start);
        }
        let mut axis = Self {
            start: usize::try_from(start).unwrap_or(usize::MAX),
            count: 0,
            taps,
        };
        axis.count = axis.extent(axis.taps.len());
        axis
    }

    /// Returns the number of pixels that the first `taps` taps read.
    fn extent(&self, taps: usize) -> usize {
        let ends = self.taps.iter().take(taps).map(|tap| last(*tap));
        ends.max().map_or(0, |end| end.saturating_add(1))
    }

    /// Keeps only the first `taps` taps.
    ///
    /// If the transform reverses the axis, the remaining taps may then begin after `start`.
    fn truncate(&mut self, taps: usize) {
        self.taps.truncate(taps);
        let first = self.taps.iter().map(|tap| tap.first).min().unwrap_or(0);
        for tap in &mut self.taps {
            tap.first = tap.first.saturating_sub(first);
        }
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        self.start = self.start.saturating_add(skipped);
        self.count = self.extent(self.taps.len());
    }
}

/// Returns the index of the first pixel of a tap.
fn first(tap: Tap) -> usize {
    usize::try_from(tap.first).unwrap_or(usize::MAX)
}

/// Returns the index of the last pixel that a tap reads.
fn last(tap: Tap) -> usize {
    first(tap).saturating_add(usize::from(tap.weight > 0))
}

impl<'a> Scaled<'a> {
    pub(super) fn new(
        encoding: Encoding,
        view: BufferView,
        planes: Box<dyn ReadPlanes + 'a>,
    ) -> Self {
        Self {
            planes,
            encoding,
            view,
            band: None,
            mixed: Vec::new(),
        }
    }

    /// Samples the pixels inside of `line`, which is one row high.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read.
    pub(super) fn row(
        &mut self,
        decoder: &mut RowDecoder,
        line: Rect,
        into: &mut [u32],
    ) -> io::Result<()> {
        let band = match self.band.take() {
            Some(band) if band.output.contains(line) => band,
            old => self.decode(decoder, line, old)?,
        };
        let result = if band.is_sparse {
            self.sample_single(decoder, &band, line, into)
        } else {
            self.sample(&band, line, into);
            Ok(())
        };
        self.band = Some(band);
        result
    }

    /// Decodes the pixels for a band of output rows that starts with `line`. The memory of the previous band is reused. Its
    /// `columns` are reused too if the new band has the same output columns.
    fn decode(
        &mut self,
        decoder: &mut RowDecoder,
        line: Rect,
        old: Option<Band>,
    ) -> io::Result<Band> {
        let (old, mut pixels) = match old {
            Some(mut band) => {
                let pixels = std::mem::take(&mut band.pixels);
                (Some(band), pixels)
            }
            None => (None, Vec::new()),
        };
        let (width, height) = self.encoding.size;
        let (across, down) = if self.view.transform.swaps_axes() {
            (height, width)
        } else {
            (width, height)
        };
        let columns = match old {
            Some(band) if (band.output.x, band.output.width) == (line.x, line.width) => {
                band.columns
            }
            _ => Axis::new(
                (line.x..line.right()).map(|column| self.column(column)),
                across,
            ),
        };
        let bottom = self.view.destination.bottom();
        let max_rows = bottom.saturating_sub(line.y).clamp(1, BAND_ROWS);
        let places = (line.y..line.y.saturating_add(max_rows)).map(|row| self.line(row));
        let mut rows = Axis::new(places, down);
        while rows.taps.len() > 1 && columns.count.saturating_mul(rows.count) > BAND_PIXELS {
            rows.truncate(rows.taps.len() / 2);
        }
        let height = i32::try_from(rows.taps.len()).unwrap_or(1);
        let ((x, y), (stride, decoded_rows)) = if self.view.transform.swaps_axes() {
            ((rows.start, columns.start), (rows.count, columns.count))
        } else {
            ((columns.start, rows.start), (columns.count, rows.count))
        };
        let count = stride.saturating_mul(decoded_rows);
        let largest = columns
            .taps
            .len()
            .saturating_mul(PIXELS_PER_OUTPUT_PIXEL)
            .max(BAND_PIXELS);
        let is_sparse = count > largest;
        pixels.resize(if is_sparse { 0 } else { count }, 0);
        for (y, decoded) in (y..).zip(pixels.chunks_exact_mut(stride.max(1))) {
            decoder.read(&mut *self.planes, &self.encoding, (x, y), decoded)?;
        }
        Ok(Band {
            output: Rect::new(line.x, line.y, line.width, height),
            columns,
            rows,
            pixels,
            is_sparse,
            stride,
        })
    }

    /// Returns the position in the buffer that a column of the output shows. It is a column, or a row if the transform swaps the
    /// axes.
    fn column(&self, column: i32) -> f64 {
        let (source, _, width, _) = self.view.source;
        let destination = self.view.destination;
        let scale = width / f64::from(destination.width);
        let x = source + (f64::from(column) - f64::from(destination.x) + 0.5) * scale;
        let (x, y) = self.to_buffer((x, 0.0));
        if self.view.transform.swaps_axes() {
            y - 0.5
        } else {
            x - 0.5
        }
    }

    /// Returns the position in the buffer that a row of the output shows. It is a row, or a column if the transform swaps the
    /// axes.
    fn line(&self, row: i32) -> f64 {
        let (_, source, _, height) = self.view.source;
        let destination = self.view.destination;
        let scale = height / f64::from(destination.height);
        let y = source + (f64::from(row) - f64::from(destination.y) + 0.5) * scale;
        let (x, y) = self.to_buffer((0.0, y));
        if self.view.transform.swaps_axes() {
            x - 0.5
        } else {
            y - 0.5
        }
    }

    /// Converts a point of the view to coordinates of the buffer.
    fn to_buffer(&self, point: (f64, f64)) -> (f64, f64) {
        let (width, height) = self.view.transform.size(self.encoding.size);
        self.view
            .transform
            .to_buffer(point, (float(width), float(height)))
    }

    /// Samples a row of decoded pixels. It first mixes two rows of the buffer into one (two columns if the transform swaps the
    /// axes), and then interpolates along the result.
    fn sample(&mut self, band: &Band, line: Rect, into: &mut [u32]) {
        let Some((row, columns)) = band.taps(line) else {
            return;
        };
        let weight = u16::try_from(row.weight).unwrap_or(0);
        // There is one more pixel than columns, because each tap reads two pixels.
        self.mixed.resize(band.columns.count.saturating_add(1), 0);
        if self.view.transform.swaps_axes() {
            let lines = band.pixels.chunks_exact(band.stride.max(1));
            for (line, mixed) in lines.zip(&mut self.mixed) {
                let at = |place: usize| widen(line.get(place).copied().unwrap_or(0));
                *mixed = mix(at(first(row)), at(last(row)), weight);
            }
        } else {
            let at = |place: usize| {
                let start = place.saturating_mul(band.stride);
                band.pixels.get(start..start.saturating_add(band.stride))
            };
            if let (Some(first), Some(second)) = (at(first(row)), at(last(row))) {
                mix_rows(first, second, weight, &mut self.mixed);
            }
        }
        sample_row(&self.mixed, columns, into);
    }

    /// Decodes and samples each pixel separately.
    fn sample_single(
        &mut self,
        decoder: &mut RowDecoder,
        band: &Band,
        line: Rect,
        into: &mut [u32],
    ) -> io::Result<()> {
        let Some((row, columns)) = band.taps(line) else {
            return Ok(());
        };
        let (column_start, row_start) = (band.columns.start, band.rows.start);
        for (column, pixel) in columns.iter().zip(into) {
            let ((x, x_start), (y, y_start)) = if self.view.transform.swaps_axes() {
                ((row, row_start), (*column, column_start))
            } else {
                ((*column, column_start), (row, row_start))
            };
            let weight = |tap: Tap| u16::try_from(tap.weight).unwrap_or(0);
            let mut pair = |y: usize| -> io::Result<WidePixel> {
                let mut pixels = [0; 2];
                let count = if x.weight > 0 { 2 } else { 1 };
                let at = (first(x).saturating_add(x_start), y.saturating_add(y_start));
                decoder.read(&mut *self.planes, &self.encoding, at, &mut pixels[..count])?;
                Ok(mix(widen(pixels[0]), widen(pixels[1]), weight(x)))
            };
            *pixel = narrow_pixel(mix(pair(first(y))?, pair(last(y))?, weight(y)));
        }
        Ok(())
    }
}

impl Band {
    /// Returns the taps of `line` in the band: the tap of its row, and the taps of its columns.
    fn taps(&self, line: Rect) -> Option<(Tap, &[Tap])> {
        let row = usize::try_from(line.y.checked_sub(self.output.y)?).ok()?;
        let start = usize::try_from(line.x.checked_sub(self.output.x)?).ok()?;
        Some((*self.rows.taps.get(row)?, self.columns.taps.get(start..)?))
    }
}

/// Returns a number without its fraction.
#[allow(clippy::cast_possible_truncation)] // `as` saturates, and places far outside are clamped by every caller
pub(super) fn whole(value: f64) -> i64 {
    value as i64
}
