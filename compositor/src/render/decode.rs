//! Converts rows of a buffer to RGB. A pixel is `0xAARRGGBB` with premultiplied alpha.

use std::io;

use super::blend::{expand_565, premultiply_row};
use super::colour::{AlphaMode, ColorRepresentation};
use super::format::PixelFormat;
use super::yuv::YuvDecoder;

/// Read access to the planes of a buffer.
pub trait ReadPlanes {
    /// Copies bytes of `plane`, starting `offset` bytes after the plane's first byte.
    ///
    /// # Errors
    ///
    /// When the range exceeds the memory, or the memory cannot be read.
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()>;

    /// Copies `row_bytes` bytes of as many rows of `plane` as `into` holds, the first one starting `offset` bytes after the
    /// plane's first byte.
    ///
    /// # Errors
    ///
    /// The errors of [`read`](Self::read).
    fn read_rows(
        &mut self,
        plane: usize,
        offset: usize,
        row_bytes: usize,
        into: &mut [u8],
    ) -> io::Result<()> {
        let mut offset = offset;
        for row in into.chunks_exact_mut(row_bytes.max(1)) {
            self.read(plane, offset, row)?;
            offset = offset
                .checked_add(self.stride(plane))
                .ok_or(io::ErrorKind::InvalidInput)?;
        }
        Ok(())
    }

    /// Returns the stride of `plane` in bytes.
    fn stride(&self, plane: usize) -> usize;
}

/// The format, size and colour representation of a buffer, with which its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The pixel format.
    pub format: PixelFormat,
    /// The width and height of the buffer in pixels.
    pub size: (usize, usize),
    /// The conversion of the sample values to colours.
    pub colour: ColorRepresentation,
}

/// Reads rows of pixels and converts them to RGB. Its scratch memory is reused for each row.
#[derive(Debug, Default)]
pub struct RowDecoder {
    bytes: Vec<u8>,
    words: Vec<u16>,
    yuv: YuvDecoder,
}

const OPAQUE: u32 = 0xff00_0000;

impl RowDecoder {
    /// Reads `into.len()` pixels of row `y`, starting at column `x`.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read.
    pub fn read(
        &mut self,
        memory: &mut dyn ReadPlanes,
        encoding: &Encoding,
        (x, y): (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        match encoding.format {
            PixelFormat::Xrgb8888 => {
                read_words(memory, (x, y), into)?;
                for pixel in into {
                    *pixel |= OPAQUE;
                }
            }
            PixelFormat::Argb8888 => {
                read_words(memory, (x, y), into)?;
                premultiply(encoding, into);
            }
            PixelFormat::Xbgr8888 => {
                read_words(memory, (x, y), into)?;
                for pixel in into {
                    *pixel = swap_red_blue(*pixel) | OPAQUE;
                }
            }
            PixelFormat::Abgr8888 => {
                read_words(memory, (x, y), into)?;
                for pixel in &mut *into {
                    *pixel = swap_red_blue(*pixel);
                }
                premultiply(encoding, into);
            }
            PixelFormat::Rgb565 => {
                let words = read_row_of_words(&mut self.words, memory, 0, (x, y), into.len())?;
                expand_565(words, into);
            }
            PixelFormat::Rgb888 => {
                let bytes = read_row(&mut self.bytes, memory, 0, y, x * 3, into.len() * 3)?;
                for (colour, pixel) in into.iter_mut().zip(bytes.chunks_exact(3)) {
                    *colour = u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff]);
                }
            }
            PixelFormat::Bgr888 => {
                let bytes = read_row(&mut self.bytes, memory, 0, y, x * 3, into.len() * 3)?;
                for (colour, pixel) in into.iter_mut().zip(bytes.chunks_exact(3)) {
                    *colour = u32::from_le_bytes([pixel[2], pixel[1], pixel[0], 0xff]);
                }
            }
            PixelFormat::Yuyv
            | PixelFormat::Uyvy
            | PixelFormat::Nv12
            | PixelFormat::Nv21
            | PixelFormat::Yuv420
            | PixelFormat::P010 => self.yuv.read(memory, encoding, (x, y), into)?,
        }
        Ok(())
    }

    /// Reads pixels as [`read`](Self::read) does, but leaves alpha undefined. It is used for pixels that are known to be opaque.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read.
    pub fn read_opaque(
        &mut self,
        memory: &mut dyn ReadPlanes,
        encoding: &Encoding,
        at: (usize, usize),
        into: &mut [u32],
    ) -> io::Result<()> {
        match encoding.format {
            PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => read_words(memory, at, into),
            _ => self.read(memory, encoding, at, into),
        }
    }
}

/// Reads pixels of 32 bits.
fn read_words(
    memory: &mut dyn ReadPlanes,
    (x, y): (usize, usize),
    into: &mut [u32],
) -> io::Result<()> {
    let offset = offset(memory, 0, y, x * 4)?;
    memory.read(0, offset, bytemuck::cast_slice_mut(into))?;
    if cfg!(target_endian = "big") {
        for pixel in into {
            *pixel = u32::from_le(*pixel);
        }
    }
    Ok(())
}

/// Exchanges red and blue.
const fn swap_red_blue(pixel: u32) -> u32 {
    pixel & 0xff00_ff00 | pixel >> 16 & 0xff | (pixel & 0xff) << 16
}

fn premultiply(encoding: &Encoding, row: &mut [u32]) {
    if encoding.colour.alpha == AlphaMode::Straight {
        premultiply_row(row);
    }
}

/// Copies a part of a row into scratch memory.
pub(super) fn read_row<'a>(
    scratch: &'a mut Vec<u8>,
    memory: &mut dyn ReadPlanes,
    plane: usize,
    y: usize,
    from: usize,
    bytes: usize,
) -> io::Result<&'a [u8]> {
    scratch.resize(bytes, 0);
    let offset = offset(memory, plane, y, from)?;
    memory.read(plane, offset, scratch)?;
    Ok(scratch)
}

/// Copies a part of a row with 16-bit samples into scratch memory.
pub(super) fn read_row_of_words<'a>(
    scratch: &'a mut Vec<u16>,
    memory: &mut dyn ReadPlanes,
    plane: usize,
    (x, y): (usize, usize),
    count: usize,
) -> io::Result<&'a [u16]> {
    scratch.resize(count, 0);
    let offset = offset(memory, plane, y, x * 2)?;
    memory.read(plane, offset, bytemuck::cast_slice_mut(scratch))?;
    if cfg!(target_endian = "big") {
        for word in &mut *scratch {
            *word = u16::from_le(*word);
        }
    }
    Ok(scratch)
}

/// Returns the offset of a byte in row `y` of a plane.
pub(super) fn offset(
    memory: &dyn ReadPlanes,
    plane: usize,
    y: usize,
    from: usize,
) -> io::Result<usize> {
    memory
        .stride(plane)
        .checked_mul(y)
        .and_then(|start| start.checked_add(from))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::memory_planes::MemoryPlanes;

    fn decode(format: PixelFormat, alpha: AlphaMode, bytes: Vec<u8>) -> u32 {
        let mut pixel = [0];
        let encoding = Encoding {
            format,
            size: (1, 1),
            colour: ColorRepresentation {
                alpha,
                ..ColorRepresentation::default()
            },
        };
        let mut planes = MemoryPlanes(vec![(bytes.len(), bytes)]);
        RowDecoder::default()
            .read(&mut planes, &encoding, (0, 0), &mut pixel)
            .unwrap();
        pixel[0]
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
            let found = decode(format, AlphaMode::Premultiplied, bytes);
            assert_eq!(found, colour, "{format:?}");
        }
        let red = decode(
            PixelFormat::Rgb565,
            AlphaMode::Premultiplied,
            vec![0x00, 0xf8],
        );
        assert_eq!(red, 0xffff_0000);
    }

    #[test]
    fn straight_alpha_is_multiplied_into_the_colours() {
        for (format, bytes) in [
            (PixelFormat::Argb8888, vec![0x00, 0x80, 0xff, 0x80]),
            (PixelFormat::Abgr8888, vec![0xff, 0x80, 0x00, 0x80]),
        ] {
            let straight = decode(format, AlphaMode::Straight, bytes.clone());
            assert_eq!(straight, 0x8080_4000, "{format:?}");
            let premultiplied = decode(format, AlphaMode::Premultiplied, bytes);
            assert_eq!(premultiplied, 0x80ff_8000, "{format:?}");
        }
        let opaque = decode(PixelFormat::Xrgb8888, AlphaMode::Straight, vec![1, 2, 3, 0]);
        assert_eq!(opaque, 0xff03_0201);
    }
}
