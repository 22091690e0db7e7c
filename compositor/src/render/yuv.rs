//! Converts rows of YUV to RGB.
//!
//! The crate `yuv` converts them with the SIMD instructions of the CPU. Rows are copied to scratch memory first, because a client
//! can change its buffer at any time.

use std::io;

use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};

use super::colour::{ChromaLocation, Coefficients, QuantizationRange, YuvEncoding};
use super::decode::{Encoding, ReadPlanes, read_row, read_row_of_words};
use super::format::PixelFormat;

/// Reads rows of YUV. Its scratch memory is reused for each row.
#[derive(Debug, Default)]
pub(super) struct YuvDecoder {
    luma: Vec<u8>,
    chroma: Vec<u8>,
    other: Vec<u8>,
    ten_bit_luma: Vec<u16>,
    deep_chroma: Vec<u16>,
    /// The pixels of whole chroma blocks, used if the requested pixels start or end inside of a block.
    blocks: Vec<u32>,
    upsampled: Upsampled,
}

/// The interpolated chroma of each pixel of a row.
#[derive(Debug, Default)]
struct Upsampled {
    u: Vec<u8>,
    v: Vec<u8>,
}

impl YuvDecoder {
    /// Reads `into.len()` pixels of row `y`, starting at column `x`.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read.
    pub(super) fn read(
        &mut self,
        memory: &mut dyn ReadPlanes,
        encoding: &Encoding,
        (x, y): (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        if let (Some(location), (2, 2)) = (
            encoding.colour.chroma_location,
            encoding.format.subsampling(),
        ) {
            return self.read_interpolated(memory, encoding, location, (x, y), into);
        }
        // The requested columns are extended to whole chroma blocks, except at the end of the row.
        let (across, _) = encoding.format.subsampling();
        let first = x / across * across;
        let skip = x.saturating_sub(first);
        let end = x.saturating_add(into.len());
        let count = end.next_multiple_of(across).saturating_sub(first);
        if skip == 0 && count == into.len() {
            return self.read_blocks(memory, encoding, (first, y), into);
        }
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.resize(count, 0);
        let read = self.read_blocks(memory, encoding, (first, y), &mut blocks);
        let requested = blocks.iter().skip(skip);
        for (pixel, block) in into.iter_mut().zip(requested) {
            *pixel = *block;
        }
        self.blocks = blocks;
        read
    }

    /// Reads whole chroma blocks. The last block may extend beyond the buffer's width.
    fn read_blocks(
        &mut self,
        memory: &mut dyn ReadPlanes,
        encoding: &Encoding,
        (x, y): (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        let width = u32::try_from(into.len()).map_err(io::Error::other)?;
        let count = into.len();
        // The last block has only one luma column if the buffer's width is odd.
        let inside = count.min(encoding.size.0.saturating_sub(x));
        let yuv = encoding.colour.yuv_encoding(encoding.size.1);
        let (range, matrix, black) = (range(yuv), matrix(yuv), black(yuv));
        let stride = width.saturating_mul(4);
        let mode = YuvConversionMode::Balanced;
        match encoding.format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                read_row(&mut self.luma, memory, 0, y, x * 2, count * 2)?;
                let first = usize::from(encoding.format == PixelFormat::Uyvy);
                for luma in self.luma.iter_mut().skip(first).step_by(2) {
                    *luma = black.max(*luma);
                }
                let image = YuvPackedImage {
                    yuy: &self.luma,
                    yuy_stride: width.saturating_mul(2),
                    width,
                    height: 1,
                };
                let convert = if encoding.format == PixelFormat::Yuyv {
                    yuv::yuyv422_to_bgra
                } else {
                    yuv::uyvy422_to_bgra
                };
                convert(
                    &image,
                    bytemuck::cast_slice_mut(into),
                    stride,
                    range,
                    matrix,
                )
            }
            PixelFormat::P010 => {
                read_row_of_words(&mut self.ten_bit_luma, memory, 0, (x, y), inside)?;
                self.ten_bit_luma.resize(count, 0);
                clamp_minimum(&mut self.ten_bit_luma, u16::from(black) << 8);
                read_row_of_words(&mut self.deep_chroma, memory, 1, (x, y / 2), count)?;
                let image = YuvBiPlanarImage {
                    y_plane: &self.ten_bit_luma,
                    y_stride: width,
                    uv_plane: &self.deep_chroma,
                    uv_stride: width,
                    width,
                    height: 1,
                };
                let into = bytemuck::cast_slice_mut(into);
                yuv::p010_to_bgra(&image, into, stride, range, matrix, mode)
            }
            PixelFormat::Yuv420 => {
                read_row(&mut self.luma, memory, 0, y, x, inside)?;
                self.luma.resize(count, 0);
                clamp_minimum(&mut self.luma, black);
                let image = YuvPlanarImage {
                    y_plane: &self.luma,
                    y_stride: width,
                    u_plane: read_row(&mut self.chroma, memory, 1, y / 2, x / 2, count / 2)?,
                    u_stride: width / 2,
                    v_plane: read_row(&mut self.other, memory, 2, y / 2, x / 2, count / 2)?,
                    v_stride: width / 2,
                    width,
                    height: 1,
                };
                let into = bytemuck::cast_slice_mut(into);
                yuv::yuv420_to_bgra(&image, into, stride, range, matrix)
            }
            _ => {
                read_row(&mut self.luma, memory, 0, y, x, inside)?;
                self.luma.resize(count, 0);
                clamp_minimum(&mut self.luma, black);
                let image = YuvBiPlanarImage {
                    y_plane: &self.luma,
                    y_stride: width,
                    uv_plane: read_row(&mut self.chroma, memory, 1, y / 2, x, count)?,
                    uv_stride: width,
                    width,
                    height: 1,
                };
                let convert = if encoding.format == PixelFormat::Nv12 {
                    yuv::yuv_nv12_to_bgra
                } else {
                    yuv::yuv_nv21_to_bgra
                };
                let into = bytemuck::cast_slice_mut(into);
                convert(&image, into, stride, range, matrix, mode)
            }
        }
        .map_err(invalid)?;
        to_native_order(into);
        Ok(())
    }

    /// Reads pixels of 4:2:0. The chroma of each pixel is interpolated between the chroma samples.
    fn read_interpolated(
        &mut self,
        memory: &mut dyn ReadPlanes,
        encoding: &Encoding,
        location: ChromaLocation,
        (x, y): (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        let (width, height) = encoding.size;
        let count = into.len();
        let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
        let (upper, lower, down) = chroma_neighbours(y, location.y_halves, chroma_height);
        let (first, _, _) = chroma_neighbours(x, location.x_halves, chroma_width);
        let end = x.saturating_add(count).saturating_sub(1);
        let (_, last, _) = chroma_neighbours(end, location.x_halves, chroma_width);
        let samples = last.saturating_sub(first).saturating_add(1);
        let mut rows = [Chroma::default(), Chroma::default()];
        for (row, place) in rows.iter_mut().zip([upper, lower]) {
            self.read_chroma(memory, encoding.format, (first, place), samples, row)?;
        }
        let [upper, lower] = &rows;
        let is_ten_bit = encoding.format == PixelFormat::P010;
        let yuv = encoding.colour.yuv_encoding(height);
        let narrow = |sum: u32, weights: u32, zero: u32| {
            let scale = if is_ten_bit && yuv.range == QuantizationRange::Full {
                TEN_BIT_FULL_SCALE
            } else {
                SCALE
            };
            round_to_byte(sum, weights, zero, scale)
        };
        self.upsampled.u.clear();
        self.upsampled.v.clear();
        for column in (x..).take(count) {
            let (left, right, across) = chroma_neighbours(column, location.x_halves, chroma_width);
            let (left, right) = (left.saturating_sub(first), right.saturating_sub(first));
            let mixed = |upper: &[u16], lower: &[u16]| {
                let at = |row: &[u16], place: usize| row.get(place).copied().map_or(0, u32::from);
                let upper_row = at(upper, left) * (4 - across) + at(upper, right) * across;
                let lower_row = at(lower, left) * (4 - across) + at(lower, right) * across;
                // The weights sum to 16.
                narrow(upper_row * (4 - down) + lower_row * down, 16, 128)
            };
            self.upsampled.u.push(mixed(&upper.u, &lower.u));
            self.upsampled.v.push(mixed(&upper.v, &lower.v));
        }
        if is_ten_bit {
            read_row_of_words(&mut self.ten_bit_luma, memory, 0, (x, y), count)?;
            let samples = self.ten_bit_luma.iter();
            self.luma.clear();
            self.luma
                .extend(samples.map(|sample| narrow(u32::from(*sample), 1, 0)));
        } else {
            read_row(&mut self.luma, memory, 0, y, x, count)?;
        }
        clamp_minimum(&mut self.luma, black(yuv));
        let pixels = u32::try_from(count).map_err(io::Error::other)?;
        let image = YuvPlanarImage {
            y_plane: &self.luma,
            y_stride: pixels,
            u_plane: &self.upsampled.u,
            u_stride: pixels,
            v_plane: &self.upsampled.v,
            v_stride: pixels,
            width: pixels,
            height: 1,
        };
        yuv::yuv444_to_bgra(
            &image,
            bytemuck::cast_slice_mut(into),
            pixels.saturating_mul(4),
            range(yuv),
            matrix(yuv),
        )
        .map_err(invalid)?;
        to_native_order(into);
        Ok(())
    }

    /// Reads `count` chroma samples of a row of 4:2:0 as 16-bit values.
    fn read_chroma(
        &mut self,
        memory: &mut dyn ReadPlanes,
        format: PixelFormat,
        (x, y): (usize, usize),
        count: usize,
        into: &mut Chroma,
    ) -> io::Result<()> {
        let wide = |sample: &u8| u16::from(*sample) << 8;
        match format {
            PixelFormat::Yuv420 => {
                for (plane, samples) in [(1, &mut into.u), (2, &mut into.v)] {
                    let row = read_row(&mut self.chroma, memory, plane, y, x, count)?;
                    samples.extend(row.iter().map(wide));
                }
            }
            PixelFormat::P010 => {
                read_row_of_words(&mut self.deep_chroma, memory, 1, (x * 2, y), count * 2)?;
                for pair in self.deep_chroma.chunks_exact(2) {
                    into.u.push(pair[0]);
                    into.v.push(pair[1]);
                }
            }
            _ => {
                let row = read_row(&mut self.chroma, memory, 1, y, x * 2, count * 2)?;
                for pair in row.chunks_exact(2) {
                    into.u.push(wide(&pair[0]));
                    into.v.push(wide(&pair[1]));
                }
                if format == PixelFormat::Nv21 {
                    std::mem::swap(&mut into.u, &mut into.v);
                }
            }
        }
        Ok(())
    }
}

/// A part of a row of 16-bit chroma samples.
#[derive(Default)]
struct Chroma {
    u: Vec<u16>,
    v: Vec<u16>,
}

/// Returns the indices of the two chroma samples beside the centre of a pixel, and the weight of the second in quarters. `halves`
/// is the offset of the first chroma sample from the first pixel, in halves of a pixel.
fn chroma_neighbours(pixel: usize, halves: u8, samples: usize) -> (usize, usize, u32) {
    let last = samples.saturating_sub(1);
    // The unit is a quarter of the distance between chroma samples. The index is increased by one, so that no value is negative.
    let quarters = pixel
        .saturating_mul(2)
        .saturating_add(4)
        .saturating_sub(halves.into());
    let second = quarters / 4;
    let weight = u32::try_from(quarters % 4).unwrap_or(0);
    (second.saturating_sub(1).min(last), second.min(last), weight)
}

/// The number of steps of a 16-bit sample per step of an 8-bit sample.
const SCALE: f64 = 256.0;
/// The number of steps of a 16-bit sample per step of an 8-bit sample for 10-bit samples of full range, whose maximum is 1023 and
/// not four times 255.
const TEN_BIT_FULL_SCALE: f64 = 1023.0 * 64.0 / 255.0;

/// Rounds the mean of weighted 16-bit samples to 8 bits. `zero` is the 8-bit value of black luma or neutral chroma.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the number is that of a byte"
)]
fn round_to_byte(sum: u32, weights: u32, zero: u32, scale: f64) -> u8 {
    let sample = f64::from(sum) / f64::from(weights);
    let zero = f64::from(zero);
    ((sample - zero * 256.0) / scale + zero).round() as u8
}

/// Converts pixels from the buffer's little-endian byte order to the byte order of the CPU.
fn to_native_order(row: &mut [u32]) {
    if cfg!(target_endian = "big") {
        for pixel in row {
            *pixel = u32::from_le(*pixel);
        }
    }
}

/// Returns the luma value of black. Lower luma is clamped to this value before the conversion, because the crate `yuv` converts
/// it to wrong colours with some SIMD instruction sets.
const fn black(encoding: YuvEncoding) -> u8 {
    match encoding.range {
        QuantizationRange::Full => 0,
        QuantizationRange::Limited => 16,
    }
}

/// Clamps samples to a minimum.
fn clamp_minimum<T: Copy + Ord>(samples: &mut [T], minimum: T) {
    for sample in samples {
        *sample = minimum.max(*sample);
    }
}

/// Returns the range as the YUV library names it.
const fn range(encoding: YuvEncoding) -> YuvRange {
    match encoding.range {
        QuantizationRange::Full => YuvRange::Full,
        QuantizationRange::Limited => YuvRange::Limited,
    }
}

/// Returns the matrix of the coefficients as the YUV library names it.
const fn matrix(encoding: YuvEncoding) -> YuvStandardMatrix {
    match encoding.coefficients {
        Coefficients::Bt601 => YuvStandardMatrix::Bt601,
        Coefficients::Bt709 => YuvStandardMatrix::Bt709,
        Coefficients::Bt2020 => YuvStandardMatrix::Bt2020,
    }
}

/// Converts an error of the crate `yuv`. No error is expected, because the sizes that the crate checks are computed above.
fn invalid(error: YuvError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

#[cfg(test)]
mod tests;
