//! Converts raw Bayer pictures to XRGB8888.
//!
//! A pixel of a sensor has one colour. Its other two are the means of its neighbours (bilinear interpolation). The picture is
//! shown as the sensor has captured it: without white balance, without a colour matrix and without a gamma curve.

use covalent_alloc::backend::v4l2::PixelFormat;
use covalent_alloc::model::{Fourcc, Rect};

use crate::xrgb::PIXEL_BYTES;

/// The colour of the filter above a pixel of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Red,
    Green,
    Blue,
}

/// A raw Bayer format: the order of the colours, and how the samples of a row are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BayerFormat {
    /// The filters of the first two pixels of even rows, and of odd rows.
    order: [[Filter; 2]; 2],
    /// The bits of a sample. Words of 16 bits have the sample in their lower bits.
    bits: u32,
    /// The samples of a block. A block of more than one sample has a byte with the upper eight bits of each, and then the lower bits
    /// of all.
    block_samples: u32,
    block_bytes: u32,
}

impl BayerFormat {
    /// Returns the format of a V4L2 pixel format; `None` for a pixel format that is not raw Bayer or that the model does not know.
    ///
    /// # References
    /// Linux, `Documentation/userspace-api/media/v4l/pixfmt-bayer.rst`.
    #[must_use]
    pub fn of(pixel_format: PixelFormat) -> Option<Self> {
        // The model has the codes of V4L2 for these formats, because DRM has none. Two of V4L2's codes are those of other formats
        // in DRM, and the model leaves them out.
        let fourcc = Fourcc(pixel_format.0);
        let plane = fourcc.info()?.planes.first()?;
        let (order, depth) = fourcc.name()?.strip_prefix('S')?.split_at_checked(4)?;
        let filter = |letter| match letter {
            b'R' => Some(Filter::Red),
            b'G' => Some(Filter::Green),
            b'B' => Some(Filter::Blue),
            _ => None,
        };
        let [first, second, third, fourth] = <[u8; 4]>::try_from(order.as_bytes()).ok()?;
        Some(Self {
            order: [
                [filter(first)?, filter(second)?],
                [filter(third)?, filter(fourth)?],
            ],
            bits: depth.trim_end_matches('P').parse().ok()?,
            block_samples: plane.hsub,
            block_bytes: plane.block_bytes,
        })
    }

    /// Returns the upper eight bits of each sample of a row. The row begins at a block, and the first `skip` samples are left out.
    fn unpack(self, row: &[u8], skip: usize, into: &mut Vec<u8>) {
        let samples = usize::try_from(self.block_samples).unwrap_or(1).max(1);
        let block = usize::try_from(self.block_bytes).unwrap_or(1).max(1);
        into.clear();
        match (samples, block) {
            (1, 1) => into.extend(row.iter().skip(skip)),
            (1, _) => into.extend(row.chunks_exact(block).skip(skip).map(|word| {
                let word = match word {
                    [low, high, ..] => u16::from_le_bytes([*low, *high]),
                    _ => 0,
                };
                let upper = u32::from(word) >> self.bits.saturating_sub(8);
                u8::try_from(upper).unwrap_or(u8::MAX)
            })),
            _ => {
                let upper = row
                    .chunks(block)
                    .flat_map(|block| block.iter().take(samples));
                into.extend(upper.skip(skip));
            }
        }
    }
}

/// Converts pictures of one size and format. Its memory is reused for each picture.
#[derive(Debug)]
pub struct Demosaic {
    format: BayerFormat,
    /// The picture's place in the frame, in pixels.
    picture: Rect,
    stride_bytes: u32,
    /// The bytes of the row that was read last.
    row: Vec<u8>,
    /// The samples of three rows, which replace each other. A row has the index of its number modulo 3.
    samples: [Vec<u8>; 3],
    pixels: Vec<u8>,
}

impl Demosaic {
    /// Creates the conversion of the part `picture` of a frame whose rows are `stride_bytes` long.
    #[must_use]
    pub fn new(format: BayerFormat, picture: Rect, stride_bytes: u32) -> Self {
        Self {
            format,
            picture,
            stride_bytes,
            row: Vec::new(),
            samples: Default::default(),
            pixels: Vec::new(),
        }
    }

    /// Returns the number of bytes from the beginning of the frame to the end of the picture.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        let (_, row_bytes) = self.row_place();
        let last = self.picture.y().saturating_add(self.picture.height());
        self.row_offset(last.saturating_sub(1))
            .saturating_add(row_bytes.into())
    }

    /// Converts a picture from top to bottom. `read` reads bytes of the frame from an offset, and `write` gets each row of the
    /// picture in XRGB8888, with its number.
    ///
    /// # Errors
    ///
    /// Those of `read` and `write`.
    pub fn convert<E>(
        &mut self,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        mut write: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (_, row_bytes) = self.row_place();
        self.row
            .resize(usize::try_from(row_bytes).unwrap_or_default(), 0);
        let height = self.picture.height();
        let mut rows_read = 0;
        for y in 0..height {
            let needed = y.saturating_add(2).min(height);
            while rows_read < needed {
                let offset = self.row_offset(self.picture.y().saturating_add(rows_read));
                read(offset, &mut self.row)?;
                self.unpack(rows_read);
                rows_read = rows_read.saturating_add(1);
            }
            self.convert_row(y);
            write(y, &self.pixels)?;
        }
        Ok(())
    }

    /// Returns the offset in a row of the block with the picture's first pixel, and the length of the blocks with its pixels.
    fn row_place(&self) -> (u32, u32) {
        let samples = self.format.block_samples.max(1);
        let first = self.picture.x() / samples;
        let end = self
            .picture
            .x()
            .saturating_add(self.picture.width())
            .div_ceil(samples);
        let bytes = |blocks: u32| blocks.saturating_mul(self.format.block_bytes);
        (bytes(first), bytes(end.saturating_sub(first)))
    }

    /// Returns the offset in the frame of the picture's first block in a row of the frame.
    fn row_offset(&self, row: u32) -> u64 {
        u64::from(row)
            .saturating_mul(self.stride_bytes.into())
            .saturating_add(self.row_place().0.into())
    }

    fn unpack(&mut self, y: u32) {
        let skip = self.picture.x() % self.format.block_samples.max(1);
        let [first, second, third] = &mut self.samples;
        let into = match y % 3 {
            0 => first,
            1 => second,
            _ => third,
        };
        self.format
            .unpack(&self.row, usize::try_from(skip).unwrap_or(0), into);
        into.resize(usize::try_from(self.picture.width()).unwrap_or(0), 0);
    }

    /// Returns the samples of a row of the picture.
    fn samples(&self, y: u32) -> &[u8] {
        let [first, second, third] = &self.samples;
        match y % 3 {
            0 => first,
            1 => second,
            _ => third,
        }
    }

    fn convert_row(&mut self, y: u32) {
        let mut pixels = std::mem::take(&mut self.pixels);
        pixels.clear();
        let (width, height) = (self.picture.width(), self.picture.height());
        // At an edge the neighbour of the other side is taken, which has the same colour as the one that is missing.
        let above = self.samples(y.checked_sub(1).unwrap_or_else(|| 1_u32.min(height - 1)));
        let below = self.samples(match y.saturating_add(1) {
            below if below < height => below,
            _ => y.saturating_sub(1),
        });
        let own = self.samples(y);
        let last = usize::try_from(width).unwrap_or(0).saturating_sub(1);
        let [even, odd] = self.filters(y);
        for x in 0..=last {
            let left = x.checked_sub(1).unwrap_or_else(|| 1_usize.min(last));
            let right = match x.saturating_add(1) {
                right if right <= last => right,
                _ => x.saturating_sub(1),
            };
            let at = |row: &[u8], x: usize| u32::from(row.get(x).copied().unwrap_or_default());
            let (own_filter, other_filter) = if x % 2 == 0 { (even, odd) } else { (odd, even) };
            let sample = at(own, x);
            let row_mean = (at(own, left) + at(own, right)) / 2;
            let column_mean = (at(above, x) + at(below, x)) / 2;
            let corner_mean =
                (at(above, left) + at(above, right) + at(below, left) + at(below, right)) / 4;
            let cross_mean = (at(above, x) + at(below, x) + at(own, left) + at(own, right)) / 4;
            let [red, green, blue] = match (own_filter, other_filter) {
                (Filter::Red, _) => [sample, cross_mean, corner_mean],
                (Filter::Blue, _) => [corner_mean, cross_mean, sample],
                (Filter::Green, Filter::Red) => [row_mean, sample, column_mean],
                (Filter::Green, _) => [column_mean, sample, row_mean],
            };
            let pixel = [blue, green, red].map(|mean| u8::try_from(mean).unwrap_or(u8::MAX));
            let [blue, green, red] = pixel;
            pixels.extend_from_slice(&[blue, green, red, u8::MAX]);
        }
        debug_assert_eq!(pixels.len(), last.saturating_add(1) * PIXEL_BYTES);
        self.pixels = pixels;
    }

    /// Returns the filters of the picture's even and odd pixels in one of its rows. They depend on where the picture begins in the
    /// frame.
    fn filters(&self, y: u32) -> [Filter; 2] {
        let [even_row, odd_row] = self.format.order;
        let is_odd = |place: u32| place % 2 == 1;
        let [first, second] = match is_odd(self.picture.y().wrapping_add(y)) {
            false => even_row,
            true => odd_row,
        };
        match is_odd(self.picture.x()) {
            false => [first, second],
            true => [second, first],
        }
    }
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::Extent;

    use super::*;

    /// Red, green and blue of a picture of one colour, as samples of 16 bits.
    const COLOUR: [u16; 3] = [0xc8ff, 0x64ff, 0x1eff];

    fn sample(filter: Filter) -> u16 {
        match filter {
            Filter::Red => COLOUR[0],
            Filter::Green => COLOUR[1],
            Filter::Blue => COLOUR[2],
        }
    }

    fn order(name: &str) -> [[Filter; 2]; 2] {
        let filters: Vec<_> = name
            .chars()
            .map(|letter| match letter {
                'R' => Filter::Red,
                'G' => Filter::Green,
                _ => Filter::Blue,
            })
            .collect();
        [[filters[0], filters[1]], [filters[2], filters[3]]]
    }

    /// Stores a row as the format with this number of bits, packed or not.
    fn stored(row: &[u16], bits: u32, is_packed: bool) -> Vec<u8> {
        let samples: Vec<u16> = row.iter().map(|sample| sample >> (16 - bits)).collect();
        let high = |sample: &u16| u8::try_from(sample >> (bits - 8)).unwrap();
        match (bits, is_packed) {
            (8, _) => samples.iter().map(high).collect(),
            (_, false) => samples
                .iter()
                .flat_map(|sample| sample.to_le_bytes())
                .collect(),
            (12, true) => samples
                .chunks(2)
                .flat_map(|two| [high(&two[0]), high(&two[1]), 0xa5])
                .collect(),
            (_, true) => samples
                .chunks(4)
                .flat_map(|four| {
                    let mut block: Vec<u8> = four.iter().map(high).collect();
                    block.resize(if bits == 10 { 5 } else { 7 }, 0xa5);
                    block
                })
                .collect(),
        }
    }

    fn converted(format: BayerFormat, frame: &[u8], stride: usize, picture: Rect) -> Vec<[u8; 4]> {
        let mut demosaic = Demosaic::new(format, picture, u32::try_from(stride).unwrap());
        let needed = usize::try_from(demosaic.needed_bytes()).unwrap();
        assert!(needed <= frame.len());
        let mut found = Vec::new();
        let read = |offset: u64, into: &mut [u8]| {
            let offset = usize::try_from(offset).unwrap();
            // No byte after the picture is read.
            into.copy_from_slice(&frame[..needed][offset..offset + into.len()]);
            Ok::<(), ()>(())
        };
        let write = |row: u32, pixels: &[u8]| {
            let width = usize::try_from(picture.width()).unwrap();
            assert_eq!(found.len(), usize::try_from(row).unwrap() * width);
            found.extend(
                pixels
                    .chunks_exact(4)
                    .map(|pixel| <[u8; 4]>::try_from(pixel).unwrap()),
            );
            Ok(())
        };
        demosaic.convert(read, write).unwrap();
        found
    }

    #[test]
    fn picture_of_one_colour_keeps_it_in_every_format_and_after_every_crop() {
        let (width, height) = (20, 12);
        let expected = [0x1e, 0x64, 0xc8, 0xff];
        let mut count = 0;
        for fourcc in Fourcc::named() {
            let Some(format) = BayerFormat::of(PixelFormat(fourcc.0)) else {
                continue;
            };
            count += 1;
            let name = fourcc.name().unwrap();
            let filters = order(&name[1..5]);
            let bits = name[5..].trim_end_matches('P').parse().unwrap();
            let stride = stored(&[0; 20], bits, name.ends_with('P')).len() + 3;
            let frame: Vec<u8> = (0..height)
                .flat_map(|y| {
                    let row: Vec<u16> = (0..width).map(|x| sample(filters[y % 2][x % 2])).collect();
                    let mut row = stored(&row, bits, name.ends_with('P'));
                    row.resize(stride, 0x77);
                    row
                })
                .collect();
            for (x, y, width, height) in [
                (0, 0, 20, 12),
                (1, 0, 18, 12),
                (0, 1, 20, 10),
                (1, 1, 7, 5),
                (3, 1, 6, 2),
                (6, 2, 2, 3),
                (17, 9, 3, 3),
            ] {
                let picture = Rect::new(x, y, Extent::new(width, height).unwrap());
                let found = converted(format, &frame, stride, picture);
                assert_eq!(found.len(), usize::try_from(width * height).unwrap());
                for pixel in found {
                    assert_eq!(pixel, expected, "{name} {picture}");
                }
            }
        }
        assert_eq!(
            count, 30,
            "the number of Bayer formats that the model names"
        );
    }

    #[test]
    fn colour_of_one_row_and_one_column_stays_there() {
        let format = BayerFormat::of(PixelFormat::of(*b"RGGB")).unwrap();
        // Only the red sample at 2, 2 is set.
        let mut frame = vec![0; 36];
        frame[2 * 6 + 2] = 200;
        let whole = Rect::whole(Extent::new(6, 6).unwrap());
        let found = converted(format, &frame, 6, whole);
        let red = |x: usize, y: usize| found[y * 6 + x][2];
        assert_eq!(red(2, 2), 200);
        assert_eq!(
            (red(1, 2), red(3, 2), red(2, 1), red(2, 3)),
            (100, 100, 100, 100)
        );
        assert_eq!((red(1, 1), red(3, 3)), (50, 50));
        assert_eq!((red(0, 2), red(4, 2), red(2, 4)), (0, 0, 0));
        assert!(found.iter().all(|pixel| pixel[0] == 0 && pixel[1] == 0));
    }

    #[test]
    fn picture_of_one_pixel_is_converted() {
        let format = BayerFormat::of(PixelFormat::of(*b"BA81")).unwrap();
        let one = Rect::whole(Extent::new(1, 1).unwrap());
        assert_eq!(converted(format, &[9], 1, one), [[9, 9, 9, 255]]);
    }

    #[test]
    fn other_formats_are_not_bayer() {
        // In V4L2 the last two are SRGGB16 and SGRBG12, whose codes mean RGB565 and BGRA4444 in DRM.
        for code in [b"YUYV", b"MJPG", b"NV12", b"RG16", b"BA12"] {
            assert_eq!(BayerFormat::of(PixelFormat::of(*code)), None);
        }
    }

    #[test]
    fn error_of_a_read_ends_the_conversion() {
        let format = BayerFormat::of(PixelFormat::of(*b"BA81")).unwrap();
        let whole = Rect::whole(Extent::new(4, 4).unwrap());
        let mut demosaic = Demosaic::new(format, whole, 4);
        let result = demosaic.convert(|_, _| Err("short"), |_, _| Ok(()));
        assert_eq!(result, Err("short"));
    }
}
