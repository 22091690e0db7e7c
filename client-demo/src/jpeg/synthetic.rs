//! Encodes synthetic pictures as baseline JPEG, for tests. Each block of 8x8 samples has one colour.

use super::huffman::{TABLES, append_default_tables};

/// The chroma subsampling of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// Luma only.
    Grey,
    /// As many chroma samples as luma samples.
    Yuv444,
    /// Half as many chroma samples in a row.
    Yuv422,
    /// Half as many chroma samples in a row, in half as many rows.
    Yuv420,
}

impl Sampling {
    /// Returns the number of luma blocks of a minimum coded unit, in a row and in a column.
    fn blocks(self) -> (u32, u32) {
        match self {
            Self::Grey | Self::Yuv444 => (1, 1),
            Self::Yuv422 => (2, 1),
            Self::Yuv420 => (2, 2),
        }
    }
}

/// A picture of one colour a block.
pub(crate) struct Picture {
    width: u32,
    height: u32,
    sampling: Sampling,
    colour: Box<dyn Fn(u32, u32) -> [u8; 3]>,
}

impl Picture {
    /// Creates a picture. `colour` returns luma, Cb and Cr of a pixel; it is called for the first pixel of each block.
    pub(crate) fn new(
        width: u32,
        height: u32,
        sampling: Sampling,
        colour: impl Fn(u32, u32) -> [u8; 3] + 'static,
    ) -> Self {
        Self {
            width,
            height,
            sampling,
            colour: Box::new(colour),
        }
    }

    /// Encodes the picture, with or without Huffman tables in the frame. The default tables are used in either case.
    pub(crate) fn encode(&self, has_tables: bool) -> Vec<u8> {
        let (columns, rows) = self.sampling.blocks();
        let components: u8 = if self.sampling == Sampling::Grey {
            1
        } else {
            3
        };
        let mut frame = vec![0xff, 0xd8];
        // The DC coefficient is eight times the mean, so a step of 8 keeps the mean.
        frame.extend([0xff, 0xdb, 0, 67, 0]);
        frame.extend([8; 64]);
        frame.extend([0xff, 0xc0, 0, 8 + 3 * components, 8]);
        frame.extend(u16::try_from(self.height).unwrap().to_be_bytes());
        frame.extend(u16::try_from(self.width).unwrap().to_be_bytes());
        frame.push(components);
        let luma = u8::try_from(columns << 4 | rows).unwrap();
        for component in 0..components {
            frame.extend([component + 1, if component == 0 { luma } else { 0x11 }, 0]);
        }
        if has_tables {
            append_default_tables(&mut frame);
        }
        frame.extend([0xff, 0xda, 0, 6 + 2 * components, components]);
        for component in 0..components {
            frame.extend([component + 1, if component == 0 { 0x00 } else { 0x11 }]);
        }
        frame.extend([0, 63, 0]);
        self.encode_scan(&mut Bits::new(&mut frame), usize::from(components));
        frame.extend([0xff, 0xd9]);
        frame
    }

    fn encode_scan(&self, bits: &mut Bits<'_>, components: usize) {
        let (columns, rows) = self.sampling.blocks();
        let mut last = [0; 3];
        for y in (0..self.height).step_by(usize::try_from(rows * 8).unwrap()) {
            for x in (0..self.width).step_by(usize::try_from(columns * 8).unwrap()) {
                for (component, last) in last.iter_mut().enumerate().take(components) {
                    let (columns, rows) = if component == 0 {
                        (columns, rows)
                    } else {
                        (1, 1)
                    };
                    for place in 0..columns * rows {
                        let x = (x + place % columns * 8).min(self.width - 1);
                        let y = (y + place / columns * 8).min(self.height - 1);
                        let value = i32::from((self.colour)(x, y)[component]) - 128;
                        bits.block(value - *last, component > 0);
                        *last = value;
                    }
                }
            }
        }
        bits.finish();
    }
}

/// Writes codes to the scan of a frame.
struct Bits<'a> {
    frame: &'a mut Vec<u8>,
    buffer: u32,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(frame: &'a mut Vec<u8>) -> Self {
        Self {
            frame,
            buffer: 0,
            count: 0,
        }
    }

    fn write(&mut self, bits: u32, count: u32) {
        for place in (0..count).rev() {
            self.buffer = self.buffer << 1 | bits >> place & 1;
            self.count += 1;
            if self.count == 8 {
                let byte = u8::try_from(self.buffer).unwrap();
                self.frame.push(byte);
                if byte == 0xff {
                    self.frame.push(0);
                }
                (self.buffer, self.count) = (0, 0);
            }
        }
    }

    /// Writes the code of a symbol.
    fn symbol(&mut self, table: usize, symbol: u8) {
        let (mut code, mut index) = (0_u32, 0);
        for (length, count) in (1..).zip(TABLES[table].lengths) {
            for _ in 0..count {
                if TABLES[table].symbols[index] == symbol {
                    self.write(code, length);
                    return;
                }
                code += 1;
                index += 1;
            }
            code <<= 1;
        }
        panic!("table {table} has no symbol {symbol}");
    }

    /// Writes a block with the difference of its DC coefficient, and no other coefficient.
    fn block(&mut self, difference: i32, is_chroma: bool) {
        let size = 32 - difference.unsigned_abs().leading_zeros();
        let bits = if difference < 0 {
            difference - 1
        } else {
            difference
        };
        let table = usize::from(is_chroma);
        self.symbol(table, u8::try_from(size).unwrap());
        self.write(u32::from_ne_bytes(bits.to_ne_bytes()), size);
        self.symbol(table + 2, 0);
    }

    /// Fills the last byte with ones.
    fn finish(&mut self) {
        while self.count > 0 {
            self.write(1, 1);
        }
    }
}
