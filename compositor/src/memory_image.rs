//! An image in memory of this process, used for the pointer and for screenshots.

use std::io;

use crate::render::{PixelFormat, Pixels, ReadPlanes};

/// An image in ARGB8888 with premultiplied alpha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryImage {
    width: usize,
    height: usize,
    /// The bytes of the pixels, in rows without padding.
    bytes: Vec<u8>,
}

impl MemoryImage {
    /// Creates an image from rows without padding; `None` if the number of bytes does not match the size.
    pub fn new((width, height): (usize, usize), bytes: Vec<u8>) -> Option<Self> {
        let needed = width.checked_mul(height)?.checked_mul(4)?;
        (needed > 0 && bytes.len() == needed).then_some(Self {
            width,
            height,
            bytes,
        })
    }

    /// Creates an image of `width` columns from pixels in the order blue, green, red and alpha. Missing pixels of the last row
    /// are transparent.
    pub fn from_pixels(width: usize, pixels: impl IntoIterator<Item = [u8; 4]>) -> Self {
        let width = width.max(1);
        let mut bytes: Vec<u8> = pixels.into_iter().flatten().collect();
        let height = bytes.len().div_ceil(width.saturating_mul(4)).max(1);
        bytes.resize(width.saturating_mul(height).saturating_mul(4), 0);
        Self {
            width,
            height,
            bytes,
        }
    }
}

impl Pixels for MemoryImage {
    fn format(&self) -> PixelFormat {
        PixelFormat::Argb8888
    }

    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
        Ok(Box::new(Rows(self)))
    }
}

/// Reads the rows of an image.
struct Rows<'a>(&'a MemoryImage);

impl ReadPlanes for Rows<'_> {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(into.len());
        let bytes = self.0.bytes.get(offset..end).filter(|_| plane == 0);
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(())
    }

    fn stride(&self, _plane: usize) -> usize {
        self.0.width.saturating_mul(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_with_the_wrong_number_of_bytes_is_rejected() {
        assert!(MemoryImage::new((2, 2), vec![0; 16]).is_some());
        assert!(MemoryImage::new((2, 2), vec![0; 12]).is_none());
        assert!(MemoryImage::new((0, 2), Vec::new()).is_none());
        assert!(MemoryImage::new((usize::MAX, 2), vec![0; 16]).is_none());
    }

    #[test]
    fn image_of_too_few_pixels_is_filled_with_transparent_ones() {
        let image = MemoryImage::from_pixels(2, [[1; 4]; 3]);
        let expected = MemoryImage::new((2, 2), [[1; 12].as_slice(), &[0; 4]].concat());
        assert_eq!(Some(image), expected);
        assert_eq!(MemoryImage::from_pixels(0, []).size(), (1, 1));
    }

    #[test]
    fn image_is_read_within_its_bytes_only() {
        let image = MemoryImage::new((2, 1), vec![1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let mut planes = image.open().unwrap();
        let mut pixel = [0; 4];
        planes.read(0, 4, &mut pixel).unwrap();
        assert_eq!(pixel, [5, 6, 7, 8]);
        assert!(planes.read(0, 8, &mut pixel).is_err());
        assert!(planes.read(1, 0, &mut pixel).is_err());
        assert!(planes.read(0, usize::MAX, &mut pixel).is_err());
    }
}
