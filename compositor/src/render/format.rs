//! The pixel formats that the CPU renderer reads, and their conversion to RGB.
//!
//! A pixel is `0xAARRGGBB` with premultiplied alpha, as Wayland requires.
//!
//! YUV is read as limited range (16 to 235), with the BT.601 matrix below 720 rows and BT.709 from 720 rows on. No supported
//! protocol carries the colour encoding, and cameras and video players use this convention.

use std::io;

/// A pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is the fourcc of its name
pub enum PixelFormat {
    Xrgb8888,
    Argb8888,
    Xbgr8888,
    Abgr8888,
    Rgb565,
    Rgb888,
    Bgr888,
    Yuyv,
    Uyvy,
    Nv12,
    Nv21,
    Yuv420,
}

/// Returns the number of a four-character code.
pub const fn code(name: [u8; 4]) -> u32 {
    u32::from_le_bytes(name)
}

impl PixelFormat {
    /// All formats, the cheapest for composition first.
    pub const ALL: [Self; 12] = [
        Self::Xrgb8888,
        Self::Argb8888,
        Self::Xbgr8888,
        Self::Abgr8888,
        Self::Rgb565,
        Self::Rgb888,
        Self::Bgr888,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv21,
        Self::Yuv420,
    ];

    /// Returns the DRM fourcc.
    pub const fn fourcc(self) -> u32 {
        code(match self {
            Self::Xrgb8888 => *b"XR24",
            Self::Argb8888 => *b"AR24",
            Self::Xbgr8888 => *b"XB24",
            Self::Abgr8888 => *b"AB24",
            Self::Rgb565 => *b"RG16",
            Self::Rgb888 => *b"RG24",
            Self::Bgr888 => *b"BG24",
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Nv12 => *b"NV12",
            Self::Nv21 => *b"NV21",
            Self::Yuv420 => *b"YU12",
        })
    }

    /// Returns the format of a DRM fourcc; `None` if it is not supported.
    pub fn from_fourcc(fourcc: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() == fourcc)
    }

    /// Returns the fourcc as text.
    pub fn name(self) -> String {
        name(self.fourcc())
    }

    /// Returns whether the format has an alpha channel.
    pub const fn has_alpha(self) -> bool {
        matches!(self, Self::Argb8888 | Self::Abgr8888)
    }

    /// Returns whether a pixel has 32 bits.
    pub const fn has_four_bytes(self) -> bool {
        matches!(
            self,
            Self::Xrgb8888 | Self::Argb8888 | Self::Xbgr8888 | Self::Abgr8888
        )
    }

    /// Returns whether the format is YUV.
    pub const fn is_yuv(self) -> bool {
        matches!(
            self,
            Self::Yuyv | Self::Uyvy | Self::Nv12 | Self::Nv21 | Self::Yuv420
        )
    }

    /// Returns the number of planes.
    pub const fn planes(self) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 => 2,
            Self::Yuv420 => 3,
            _ => 1,
        }
    }

    /// Returns the number of columns and rows that share one chroma sample.
    pub const fn subsampling(self) -> (usize, usize) {
        match self {
            Self::Yuyv | Self::Uyvy => (2, 1),
            Self::Nv12 | Self::Nv21 | Self::Yuv420 => (2, 2),
            _ => (1, 1),
        }
    }
}

/// Formats a fourcc as text, or in hexadecimal if it is not printable.
pub fn name(fourcc: u32) -> String {
    let bytes = fourcc.to_le_bytes();
    if bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    } else {
        format!("{fourcc:#010x}")
    }
}

/// Read access to the planes of a buffer.
pub trait ReadPlanes {
    /// Copies bytes of `plane`, starting `offset` bytes after the plane's first byte.
    ///
    /// # Errors
    ///
    /// When the range exceeds the memory, or the memory cannot be read.
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()>;

    /// Returns the stride of `plane` in bytes a row.
    fn stride(&self, plane: usize) -> usize;
}

/// Reads rows of pixels and converts them to RGB. It keeps its scratch memory from row to row.
#[derive(Debug, Default)]
pub struct RowDecoder {
    bytes: Vec<u8>,
    chroma: Vec<u8>,
    other: Vec<u8>,
}

impl RowDecoder {
    /// Reads `into.len()` pixels of row `y`, starting at column `x`.
    ///
    /// `rows` is the height of the buffer, which selects the YUV matrix.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read.
    pub fn read(
        &mut self,
        memory: &mut dyn ReadPlanes,
        format: PixelFormat,
        rows: usize,
        (x, y): (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let (across, down) = format.subsampling();
        // The range is extended to whole chroma blocks.
        let first = x / across * across;
        let skip = x - first;
        let count = (skip + into.len()).next_multiple_of(across);
        let matrix = Matrix::for_rows(rows);
        match format {
            PixelFormat::Xrgb8888
            | PixelFormat::Argb8888
            | PixelFormat::Xbgr8888
            | PixelFormat::Abgr8888 => {
                let bytes = row(&mut self.bytes, memory, 0, y, x * 4, into.len() * 4)?;
                for (colour, pixel) in into.iter_mut().zip(bytes.chunks_exact(4)) {
                    *colour = match format {
                        PixelFormat::Xrgb8888 => {
                            u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff])
                        }
                        PixelFormat::Argb8888 => {
                            u32::from_le_bytes([pixel[0], pixel[1], pixel[2], pixel[3]])
                        }
                        PixelFormat::Xbgr8888 => {
                            u32::from_le_bytes([pixel[2], pixel[1], pixel[0], 0xff])
                        }
                        _ => u32::from_le_bytes([pixel[2], pixel[1], pixel[0], pixel[3]]),
                    };
                }
            }
            PixelFormat::Rgb565 => {
                let bytes = row(&mut self.bytes, memory, 0, y, x * 2, into.len() * 2)?;
                for (colour, pixel) in into.iter_mut().zip(bytes.chunks_exact(2)) {
                    let value = u32::from(u16::from_le_bytes([pixel[0], pixel[1]]));
                    let (red, green, blue) = (value >> 11, value >> 5 & 0x3f, value & 0x1f);
                    *colour = 0xff00_0000
                        | (red << 3 | red >> 2) << 16
                        | (green << 2 | green >> 4) << 8
                        | (blue << 3 | blue >> 2);
                }
            }
            PixelFormat::Rgb888 | PixelFormat::Bgr888 => {
                let bytes = row(&mut self.bytes, memory, 0, y, x * 3, into.len() * 3)?;
                for (colour, pixel) in into.iter_mut().zip(bytes.chunks_exact(3)) {
                    *colour = if format == PixelFormat::Rgb888 {
                        u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff])
                    } else {
                        u32::from_le_bytes([pixel[2], pixel[1], pixel[0], 0xff])
                    };
                }
            }
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                let bytes = row(&mut self.bytes, memory, 0, y, first * 2, count * 2)?;
                for (at, colour) in into.iter_mut().enumerate() {
                    let pixel = skip + at;
                    let Some(pair) = bytes.chunks_exact(4).nth(pixel / 2) else {
                        break;
                    };
                    let (luma, u, v) = match (format, pixel % 2) {
                        (PixelFormat::Yuyv, 0) => (pair[0], pair[1], pair[3]),
                        (PixelFormat::Yuyv, _) => (pair[2], pair[1], pair[3]),
                        (_, 0) => (pair[1], pair[0], pair[2]),
                        (_, _) => (pair[3], pair[0], pair[2]),
                    };
                    *colour = matrix.colour(luma, u, v);
                }
            }
            PixelFormat::Nv12 | PixelFormat::Nv21 => {
                let luma = row(&mut self.bytes, memory, 0, y, x, into.len())?;
                let chroma = row(&mut self.chroma, memory, 1, y / down, first, count)?;
                for (at, (colour, luma)) in into.iter_mut().zip(luma).enumerate() {
                    let Some(pair) = chroma.chunks_exact(2).nth((skip + at) / 2) else {
                        break;
                    };
                    let (u, v) = if format == PixelFormat::Nv12 {
                        (pair[0], pair[1])
                    } else {
                        (pair[1], pair[0])
                    };
                    *colour = matrix.colour(*luma, u, v);
                }
            }
            PixelFormat::Yuv420 => {
                let luma = row(&mut self.bytes, memory, 0, y, x, into.len())?;
                let u = row(&mut self.chroma, memory, 1, y / down, first / 2, count / 2)?;
                let v = row(&mut self.other, memory, 2, y / down, first / 2, count / 2)?;
                for (at, (colour, luma)) in into.iter_mut().zip(luma).enumerate() {
                    let chroma = (skip + at) / 2;
                    *colour = matrix.colour(*luma, u[chroma], v[chroma]);
                }
            }
        }
        Ok(())
    }
}

/// Copies a part of a row into scratch memory.
fn row<'a>(
    scratch: &'a mut Vec<u8>,
    memory: &mut dyn ReadPlanes,
    plane: usize,
    y: usize,
    from: usize,
    bytes: usize,
) -> io::Result<&'a [u8]> {
    scratch.resize(bytes, 0);
    let offset = memory
        .stride(plane)
        .checked_mul(y)
        .and_then(|start| start.checked_add(from))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    memory.read(plane, offset, scratch)?;
    Ok(scratch)
}

/// The coefficients of a YUV to RGB matrix in 1/256.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Matrix {
    const BT601: Self = Self {
        red_v: 409,
        green_u: -100,
        green_v: -208,
        blue_u: 516,
    };
    const BT709: Self = Self {
        red_v: 459,
        green_u: -55,
        green_v: -136,
        blue_u: 541,
    };

    const fn for_rows(rows: usize) -> Self {
        if rows < 720 { Self::BT601 } else { Self::BT709 }
    }

    fn colour(self, luma: u8, u: u8, v: u8) -> u32 {
        let luma = (i32::from(luma) - 16) * 298 + 128;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let channel = |value: i32| (value >> 8).clamp(0, 255).unsigned_abs();
        0xff00_0000
            | channel(luma + self.red_v * v) << 16
            | channel(luma + self.green_u * u + self.green_v * v) << 8
            | channel(luma + self.blue_u * u)
    }
}

/// Blends a premultiplied pixel over another one.
pub fn over(top: u32, below: u32) -> u32 {
    let alpha = top >> 24;
    if alpha == 0xff {
        return top;
    }
    if top == 0 {
        return below;
    }
    let rest = 255 - alpha;
    let mut colour = 0;
    for shift in [0, 8, 16, 24] {
        let scaled = (below >> shift & 0xff) * rest;
        // This is an exact division by 255 for all products of two bytes.
        let scaled = (scaled + 128 + (scaled >> 8)) >> 8;
        colour |= ((top >> shift & 0xff) + scaled).min(255) << shift;
    }
    colour
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Memory(Vec<(usize, Vec<u8>)>);

    impl ReadPlanes for Memory {
        fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
            let bytes = self.0[plane].1.get(offset..offset + into.len());
            into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn stride(&self, plane: usize) -> usize {
            self.0[plane].0
        }
    }

    fn decode(format: PixelFormat, planes: Vec<(usize, Vec<u8>)>, at: (usize, usize)) -> u32 {
        let mut colour = [0];
        RowDecoder::default()
            .read(&mut Memory(planes), format, 4, at, &mut colour)
            .unwrap();
        colour[0]
    }

    #[test]
    fn packed_rgb_formats_give_the_same_colour() {
        let colour = 0xff11_2233;
        let cases = [
            (PixelFormat::Xrgb8888, vec![0x33, 0x22, 0x11, 0]),
            (PixelFormat::Argb8888, vec![0x33, 0x22, 0x11, 0xff]),
            (PixelFormat::Xbgr8888, vec![0x11, 0x22, 0x33, 0]),
            (PixelFormat::Abgr8888, vec![0x11, 0x22, 0x33, 0xff]),
            (PixelFormat::Rgb888, vec![0x33, 0x22, 0x11]),
            (PixelFormat::Bgr888, vec![0x11, 0x22, 0x33]),
        ];
        for (format, bytes) in cases {
            assert_eq!(
                decode(format, vec![(bytes.len(), bytes)], (0, 0)),
                colour,
                "{format:?}"
            );
        }
        assert_eq!(
            decode(PixelFormat::Rgb565, vec![(2, vec![0x00, 0xf8])], (0, 0)),
            0xffff_0000
        );
    }

    #[test]
    fn yuv_white_black_and_red_convert_to_rgb() {
        assert_eq!(Matrix::BT601.colour(235, 128, 128), 0xffff_ffff);
        assert_eq!(Matrix::BT601.colour(16, 128, 128), 0xff00_0000);
        let red = Matrix::BT601.colour(82, 90, 240);
        assert!(red >> 16 & 0xff > 250 && red & 0xffff < 0x0404, "{red:#x}");
        let red = Matrix::BT709.colour(63, 102, 240);
        assert!(
            red >> 16 & 0xff > 250 && red >> 8 & 0xff < 4 && red & 0xff < 4,
            "{red:#x}"
        );
    }

    #[test]
    fn subsampled_formats_use_the_chroma_of_each_pixel() {
        let white = 0xffff_ffff;
        // Two white pixels and two black ones, read from an odd column.
        let yuyv = vec![235, 128, 235, 128, 16, 128, 16, 128];
        assert_eq!(
            decode(PixelFormat::Yuyv, vec![(8, yuyv.clone())], (1, 0)),
            white
        );
        assert_eq!(
            decode(PixelFormat::Yuyv, vec![(8, yuyv)], (3, 0)),
            0xff00_0000
        );
        let uyvy = vec![128, 235, 128, 16];
        assert_eq!(
            decode(PixelFormat::Uyvy, vec![(4, uyvy)], (1, 0)),
            0xff00_0000
        );
        let luma = vec![82; 16];
        let red = Matrix::BT601.colour(82, 90, 240);
        let nv12 = vec![
            (4, luma.clone()),
            (4, vec![128, 128, 128, 128, 128, 128, 90, 240]),
        ];
        assert_eq!(decode(PixelFormat::Nv12, nv12, (3, 3)), red);
        let nv21 = vec![
            (4, luma.clone()),
            (4, vec![128, 128, 128, 128, 128, 128, 240, 90]),
        ];
        assert_eq!(decode(PixelFormat::Nv21, nv21, (2, 2)), red);
        let yu12 = vec![
            (4, luma),
            (2, vec![128, 128, 128, 90]),
            (2, vec![128, 128, 128, 240]),
        ];
        assert_eq!(decode(PixelFormat::Yuv420, yu12, (3, 3)), red);
    }

    #[test]
    fn blending_with_extreme_alpha_is_exact() {
        assert_eq!(over(0, 0xff12_3456), 0xff12_3456);
        assert_eq!(over(0xff65_4321, 0xff12_3456), 0xff65_4321);
        assert_eq!(over(0x8080_8080, 0xff00_0000), 0xff80_8080);
        assert_eq!(over(0x8000_0000, 0xffff_ffff), 0xff7f_7f7f);
    }
}
