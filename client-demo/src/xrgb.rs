//! Converts rows of a picture to XRGB8888, the format that every compositor can read from `wl_shm` buffers.
//!
//! The crate `yuv` converts YUV with the SIMD instructions of the CPU.

use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::model::Fourcc;
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};

/// The formats that can be converted, in order of increasing cost.
pub const FORMATS: [Fourcc; 14] = [
    Fourcc::XRGB8888,
    Fourcc::ARGB8888,
    Fourcc::XBGR8888,
    Fourcc::ABGR8888,
    Fourcc::RGB888,
    Fourcc::BGR888,
    Fourcc::RGB565,
    Fourcc::NV12,
    Fourcc::NV21,
    Fourcc::YUV420,
    Fourcc::NV16,
    Fourcc::YUV422,
    Fourcc::YUYV,
    Fourcc::UYVY,
];

/// The bytes of a pixel of XRGB8888.
pub const PIXEL_BYTES: usize = 4;

/// Why rows cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The format is not in [`FORMATS`].
    #[error("{0} cannot be converted to XRGB8888; choose another format with --format")]
    Format(Fourcc),
    /// The rows are shorter than the picture.
    #[error("rows of {format} cannot be converted: {source}")]
    Rows {
        /// The format of the rows.
        format: Fourcc,
        /// The error of the crate `yuv`.
        source: YuvError,
    },
}

/// Consecutive rows of one plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlaneRows<'a> {
    /// The bytes of the rows.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

/// Consecutive rows of a picture. For a format with subsampled chroma the number of rows is even, except at the picture's last
/// row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The planes, in the format's order.
    pub planes: [PlaneRows<'a>; 3],
    /// The width in pixels.
    pub width: u32,
    /// The number of rows.
    pub height: u32,
}

/// The conversion of one format to XRGB8888.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    format: Fourcc,
    range: YuvRange,
    matrix: YuvStandardMatrix,
}

impl Conversion {
    /// Creates the conversion of a format. `colours` is ignored for RGB formats.
    ///
    /// # Errors
    ///
    /// [`ConversionError::Format`].
    pub fn new(format: Fourcc, colours: Colours) -> Result<Self, ConversionError> {
        if !FORMATS.contains(&format) {
            return Err(ConversionError::Format(format));
        }
        Ok(Self {
            format,
            range: match colours.is_full_range {
                true => YuvRange::Full,
                false => YuvRange::Limited,
            },
            matrix: match colours.encoding {
                Encoding::Bt709 => YuvStandardMatrix::Bt709,
                Encoding::Bt2020 => YuvStandardMatrix::Bt2020,
                _ => YuvStandardMatrix::Bt601,
            },
        })
    }

    /// Converts rows. `into` receives `width * height * 4` bytes, without padding between the rows.
    ///
    /// # Errors
    ///
    /// [`ConversionError::Rows`] if the rows are shorter than the picture.
    pub fn convert(&self, rows: &Rows<'_>, into: &mut Vec<u8>) -> Result<(), ConversionError> {
        let [width, height] = [rows.width, rows.height].map(|side| usize::try_from(side).ok());
        let bytes = width
            .zip(height)
            .and_then(|(width, height)| width.checked_mul(height)?.checked_mul(PIXEL_BYTES))
            .unwrap_or_default();
        into.resize(bytes, 0);
        match self.format {
            Fourcc::XRGB8888 | Fourcc::ARGB8888 => each_row(rows, into, |from, to| {
                to.copy_from_slice(from);
            }),
            Fourcc::XBGR8888 | Fourcc::ABGR8888 => {
                each_pixel::<4>(rows, into, |[red, green, blue, _]| [blue, green, red]);
            }
            Fourcc::RGB888 => each_pixel::<3>(rows, into, |[blue, green, red]| [blue, green, red]),
            Fourcc::BGR888 => each_pixel::<3>(rows, into, |[red, green, blue]| [blue, green, red]),
            Fourcc::RGB565 => each_pixel::<2>(rows, into, rgb565),
            _ => self
                .convert_yuv(rows, into)
                .map_err(|source| ConversionError::Rows {
                    format: self.format,
                    source,
                })?,
        }
        Ok(())
    }

    /// Converts rows of a YUV format.
    fn convert_yuv(&self, rows: &Rows<'_>, into: &mut [u8]) -> Result<(), YuvError> {
        let [first, second, third] = rows.planes;
        let (width, height) = (rows.width, rows.height);
        let (range, matrix) = (self.range, self.matrix);
        let stride = width.saturating_mul(4);
        let mode = YuvConversionMode::Balanced;
        let packed = YuvPackedImage {
            yuy: first.bytes,
            yuy_stride: first.stride_bytes,
            width,
            height,
        };
        let bi_planar = YuvBiPlanarImage {
            y_plane: first.bytes,
            y_stride: first.stride_bytes,
            uv_plane: second.bytes,
            uv_stride: second.stride_bytes,
            width,
            height,
        };
        let planar = YuvPlanarImage {
            y_plane: first.bytes,
            y_stride: first.stride_bytes,
            u_plane: second.bytes,
            u_stride: second.stride_bytes,
            v_plane: third.bytes,
            v_stride: third.stride_bytes,
            width,
            height,
        };
        match self.format {
            Fourcc::YUYV => yuv::yuyv422_to_bgra(&packed, into, stride, range, matrix),
            Fourcc::UYVY => yuv::uyvy422_to_bgra(&packed, into, stride, range, matrix),
            Fourcc::NV21 => yuv::yuv_nv21_to_bgra(&bi_planar, into, stride, range, matrix, mode),
            Fourcc::NV16 => yuv::yuv_nv16_to_bgra(&bi_planar, into, stride, range, matrix, mode),
            Fourcc::YUV420 => yuv::yuv420_to_bgra(&planar, into, stride, range, matrix),
            Fourcc::YUV422 => yuv::yuv422_to_bgra(&planar, into, stride, range, matrix),
            _ => yuv::yuv_nv12_to_bgra(&bi_planar, into, stride, range, matrix, mode),
        }
    }
}

/// Returns blue, green and red of an RGB565 pixel as 8-bit values. The highest bits of a channel are repeated as its lowest bits.
fn rgb565(bytes: [u8; 2]) -> [u8; 3] {
    let pixel = u16::from_le_bytes(bytes);
    let channel = |shift: u32, bits: u32| {
        let value = pixel >> shift & ((1 << bits) - 1);
        let wide = value << (8 - bits) | value >> (2 * bits - 8);
        u8::try_from(wide).unwrap_or(u8::MAX)
    };
    [channel(0, 5), channel(5, 6), channel(11, 5)]
}

/// Returns each row of the first plane together with the output row that it is converted to.
fn row_pairs<'a>(
    rows: &Rows<'a>,
    into: &'a mut [u8],
) -> impl Iterator<Item = (&'a [u8], &'a mut [u8])> {
    let [plane, ..] = rows.planes;
    let stride = usize::try_from(plane.stride_bytes)
        .unwrap_or(usize::MAX)
        .max(1);
    let row_bytes = usize::try_from(rows.width)
        .unwrap_or(usize::MAX)
        .saturating_mul(PIXEL_BYTES)
        .max(1);
    plane
        .bytes
        .chunks(stride)
        .zip(into.chunks_exact_mut(row_bytes))
}

/// Calls `copy` with each row of the buffer and of the result.
fn each_row(rows: &Rows<'_>, into: &mut [u8], copy: impl Fn(&[u8], &mut [u8])) {
    for (from, to) in row_pairs(rows, into) {
        let bytes = from.len().min(to.len());
        copy(&from[..bytes], &mut to[..bytes]);
    }
}

/// Converts pixels of `BYTES` bytes by `convert`, which returns blue, green and red.
fn each_pixel<const BYTES: usize>(
    rows: &Rows<'_>,
    into: &mut [u8],
    convert: impl Fn([u8; BYTES]) -> [u8; 3],
) {
    for (from, to) in row_pairs(rows, into) {
        for (from, to) in from
            .chunks_exact(BYTES)
            .zip(to.chunks_exact_mut(PIXEL_BYTES))
        {
            if let Ok(pixel) = from.try_into() {
                let [blue, green, red] = convert(pixel);
                to.copy_from_slice(&[blue, green, red, u8::MAX]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURS: Colours = Colours {
        encoding: Encoding::Bt601,
        is_full_range: false,
    };

    fn converted(
        format: Fourcc,
        planes: [&[u8]; 3],
        strides: [u32; 3],
        size: (u32, u32),
    ) -> Vec<u8> {
        let mut into = vec![7; 3];
        let plane = |index: usize| PlaneRows {
            bytes: planes[index],
            stride_bytes: strides[index],
        };
        let rows = Rows {
            planes: [plane(0), plane(1), plane(2)],
            width: size.0,
            height: size.1,
        };
        Conversion::new(format, COLOURS)
            .unwrap()
            .convert(&rows, &mut into)
            .unwrap();
        into
    }

    fn near(found: &[u8], expected: [u8; 4]) {
        for pixel in found.chunks_exact(4) {
            for (found, expected) in pixel.iter().zip(expected) {
                assert!(found.abs_diff(expected) <= 2, "{pixel:?}");
            }
        }
    }

    #[test]
    fn rgb_of_each_order_becomes_blue_green_red() {
        let one = |format, bytes: &[u8]| {
            let stride = u32::try_from(bytes.len()).unwrap();
            converted(format, [bytes, &[], &[]], [stride, 0, 0], (1, 1))
        };
        assert_eq!(one(Fourcc::XRGB8888, &[1, 2, 3, 4]), [1, 2, 3, 4]);
        assert_eq!(one(Fourcc::XBGR8888, &[1, 2, 3, 4]), [3, 2, 1, 255]);
        assert_eq!(one(Fourcc::RGB888, &[1, 2, 3]), [1, 2, 3, 255]);
        assert_eq!(one(Fourcc::BGR888, &[1, 2, 3]), [3, 2, 1, 255]);
        assert_eq!(one(Fourcc::RGB565, &[0x00, 0xf8]), [0, 0, 255, 255]);
        assert_eq!(one(Fourcc::RGB565, &[0xff, 0xff]), [255; 4]);
    }

    #[test]
    fn gap_after_a_row_is_left_out() {
        let bytes = [1, 2, 3, 0, 9, 9, 4, 5, 6, 0, 9, 9];
        let found = converted(Fourcc::XRGB8888, [&bytes, &[], &[]], [6, 0, 0], (1, 2));
        assert_eq!(found, [1, 2, 3, 0, 4, 5, 6, 0]);
    }

    #[test]
    fn yuv_of_every_format_and_odd_size_is_red() {
        // These are the BT.601 limited-range values of red.
        let (y, u, v) = (81, 90, 240);
        let red = [0, 0, 255, 255];
        for (width, height) in [(4, 4), (5, 3), (1, 1)] {
            let (chroma_width, chroma_height) =
                (width_of(width).div_ceil(2), width_of(height).div_ceil(2));
            let (columns, lines) = (width_of(width), width_of(height));
            let luma = vec![y; columns * lines];
            let pairs = |first, second, lines| [first, second].repeat(chroma_width * lines);
            let single = |value, lines| vec![value; chroma_width * lines];
            let half = u32::try_from(chroma_width).unwrap();
            let bi = [width, half * 2, 0];
            let size = (width, height);
            for (format, planes, strides) in [
                (Fourcc::NV12, [pairs(u, v, chroma_height), vec![]], bi),
                (Fourcc::NV21, [pairs(v, u, chroma_height), vec![]], bi),
                (Fourcc::NV16, [pairs(u, v, lines), vec![]], bi),
                (
                    Fourcc::YUV420,
                    [single(u, chroma_height), single(v, chroma_height)],
                    [width, half, half],
                ),
                (
                    Fourcc::YUV422,
                    [single(u, lines), single(v, lines)],
                    [width, half, half],
                ),
            ] {
                let found = converted(format, [&luma, &planes[0], &planes[1]], strides, size);
                assert_eq!(found.len(), columns * lines * 4, "{format} {size:?}");
                near(&found, red);
            }
            for (format, block) in [(Fourcc::YUYV, [y, u, y, v]), (Fourcc::UYVY, [u, y, v, y])] {
                let packed = block.repeat(chroma_width * lines);
                let found = converted(format, [&packed, &[], &[]], [half * 4, 0, 0], size);
                near(&found, red);
            }
        }
    }

    fn width_of(side: u32) -> usize {
        usize::try_from(side).unwrap()
    }

    #[test]
    fn rows_that_are_too_short_are_an_error_and_an_unknown_format_is_refused() {
        let conversion = Conversion::new(Fourcc::NV12, COLOURS).unwrap();
        let rows = Rows {
            planes: [PlaneRows::default(); 3],
            width: 4,
            height: 4,
        };
        assert!(conversion.convert(&rows, &mut Vec::new()).is_err());
        assert!(Conversion::new(Fourcc::P010, COLOURS).is_err());
    }
}
