//! The cursor theme: the images of the pointer at the size that the user chose.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use covalent_alloc::files;
use smithay::input::pointer::CursorIcon;
use xcursor::CursorTheme;
use xcursor::parser::{Image, parse_xcursor};

use super::{CursorImage, arrow};
use crate::memory_image::MemoryImage;

/// The size in pixels if `XCURSOR_SIZE` is not set.
const DEFAULT_SIZE: u32 = 24;

/// The maximum size of a cursor file in bytes.
const FILE_BYTES_MAX: usize = 4 << 20;

/// The maximum number of bytes of pixels that a file may declare. The parser allocates this memory before it reads the pixels.
const PIXEL_BYTES_MAX: u64 = 16 << 20;

/// The images of a theme that were used so far.
#[derive(Debug)]
pub(super) struct Theme {
    theme: CursorTheme,
    /// The size of the images in pixels.
    size: u32,
    /// The images by their shape. There are few shapes, so that nothing is removed.
    images: HashMap<CursorIcon, Rc<CursorImage>>,
}

impl Theme {
    /// Loads a theme whose images have that size. With `None`, the theme is `XCURSOR_THEME`, and the size is `XCURSOR_SIZE`.
    pub(super) fn load(theme: Option<&str>, size: Option<u32>) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let theme = theme.map(str::to_owned);
        let theme = theme.or_else(|| variable("XCURSOR_THEME"));
        let theme = theme.unwrap_or_else(|| "default".to_owned());
        let size = size
            .or_else(|| variable("XCURSOR_SIZE")?.parse().ok())
            .filter(|size| (1..=256).contains(size))
            .unwrap_or(DEFAULT_SIZE);
        Self {
            theme: CursorTheme::load(&theme),
            size,
            images: HashMap::new(),
        }
    }

    /// Returns the image of a shape. It is the ordinary pointer if the theme does not have the shape, and the built-in arrow if
    /// the theme does not have that either.
    pub(super) fn image(&mut self, icon: CursorIcon) -> Rc<CursorImage> {
        if let Some(image) = self.images.get(&icon) {
            return image.clone();
        }
        let image = match self.read(icon) {
            Some(image) => Rc::new(image),
            None if icon == CursorIcon::Default => Rc::new(arrow::image()),
            None => self.image(CursorIcon::Default),
        };
        self.images.insert(icon, image.clone());
        image
    }

    /// Reads the image of a shape, which themes for X11 have by another name.
    fn read(&self, icon: CursorIcon) -> Option<CursorImage> {
        let names = [icon.name()].into_iter();
        let path = names
            .chain(icon.alt_names().iter().copied())
            .find_map(|name| self.theme.load_icon(name));
        let Some(path) = path else {
            tracing::debug!(
                shape = icon.name(),
                "the cursor theme has no image of this shape"
            );
            return None;
        };
        read(&path, self.size)
            .inspect_err(|cause| {
                tracing::warn!(
                    path = %path.display(),
                    cause,
                    "the cursor file cannot be read, so that another image is used; set XCURSOR_THEME to another theme"
                );
            })
            .ok()
    }
}

/// Reads the image whose size is nearest to `size`. An animated cursor shows its first image. The error is the cause.
fn read(path: &Path, size: u32) -> Result<CursorImage, String> {
    let bytes = files::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let declared = declared_pixel_bytes(&bytes).ok_or("its table of images is not valid")?;
    if declared > PIXEL_BYTES_MAX {
        return Err(format!(
            "its images have {declared} bytes of pixels, and at most {PIXEL_BYTES_MAX} are read"
        ));
    }
    let images = parse_xcursor(&bytes).ok_or("it is not a valid Xcursor file")?;
    let nearest = images.iter().min_by_key(|image| image.size.abs_diff(size));
    let image = nearest.ok_or("it contains no image")?;
    convert(image).ok_or_else(|| "its image is too large".to_owned())
}

/// Converts an image of the file. Its bytes are in the order of ARGB8888 already.
fn convert(image: &Image) -> Option<CursorImage> {
    let size = (
        usize::try_from(image.width).ok()?,
        usize::try_from(image.height).ok()?,
    );
    let hotspot = (
        i32::try_from(image.xhot).ok()?,
        i32::try_from(image.yhot).ok()?,
    );
    Some(CursorImage {
        pixels: MemoryImage::new(size, image.pixels_rgba.clone())?,
        hotspot,
    })
}

/// Returns the number of bytes of the pixels of all images that the table of a file lists; `None` if the table is not valid.
///
/// # References
///
/// `Xcursor(3)`, "CURSOR FILES": a header of 16 bytes, a table of entries of 12 bytes, and chunks. The chunk of an image has its
/// width and height at bytes 16 and 20.
fn declared_pixel_bytes(bytes: &[u8]) -> Option<u64> {
    /// The type of a chunk with an image.
    const IMAGE: u32 = 0xfffd_0002;
    let number = |at: usize| {
        let word = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(word.try_into().ok()?))
    };
    let header = usize::try_from(number(4)?).ok()?;
    let entries = usize::try_from(number(12)?).ok()?;
    let mut sum = 0_u64;
    for entry in 0..entries {
        let at = header.checked_add(entry.checked_mul(12)?)?;
        if number(at)? != IMAGE {
            continue;
        }
        let chunk = usize::try_from(number(at.checked_add(8)?)?).ok()?;
        let (width, height) = (
            number(chunk.checked_add(16)?)?,
            number(chunk.checked_add(20)?)?,
        );
        let pixels = u64::from(width).checked_mul(u64::from(height))?;
        sum = sum.checked_add(pixels.checked_mul(4)?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Pixels as _;

    /// Returns a cursor file with images of these widths and heights. Each image has one colour.
    fn file(images: &[(u32, u32)]) -> Vec<u8> {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let count = u32::try_from(images.len()).unwrap();
        let mut bytes = b"Xcur".to_vec();
        bytes.extend(words(&[16, 0x1_0000, count]));
        let mut chunks = Vec::new();
        for (width, height) in images {
            let at = 16 + 12 * count + u32::try_from(chunks.len()).unwrap();
            bytes.extend(words(&[0xfffd_0002, *width, at]));
            chunks.extend(words(&[
                36,
                0xfffd_0002,
                *width,
                1,
                *width,
                *height,
                1,
                2,
                0,
            ]));
            let pixels = usize::try_from(width * height).unwrap();
            chunks.extend(words(&vec![0xff10_2030; pixels]));
        }
        bytes.extend(chunks);
        bytes
    }

    #[test]
    fn shape_that_no_theme_has_is_the_image_of_the_ordinary_pointer() {
        let mut theme = Theme {
            theme: CursorTheme::load("no theme has this name"),
            size: DEFAULT_SIZE,
            images: HashMap::new(),
        };
        let ordinary = theme.image(CursorIcon::Default);
        if theme.read(CursorIcon::Default).is_none() {
            assert_eq!(*ordinary, arrow::image());
        }
        if theme.read(CursorIcon::ZoomIn).is_none() {
            assert!(Rc::ptr_eq(&ordinary, &theme.image(CursorIcon::ZoomIn)));
        }
        // The pixels are identified by their address, so that they are read once.
        let first = theme.image(CursorIcon::Text);
        assert!(Rc::ptr_eq(&first, &theme.image(CursorIcon::Text)));
    }

    fn read_bytes(bytes: &[u8], size: u32) -> Result<CursorImage, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default");
        std::fs::write(&path, bytes).unwrap();
        read(&path, size)
    }

    #[test]
    fn image_of_the_nearest_size_is_read_with_its_hotspot_and_colour() {
        let image = read_bytes(&file(&[(16, 16), (24, 20), (48, 48)]), 26).unwrap();
        assert_eq!((image.pixels.size(), image.hotspot), ((24, 20), (1, 2)));
        let colours =
            crate::screenshot::decode(&image.pixels, crate::render::ColorRepresentation::default())
                .unwrap();
        assert!(colours.iter().all(|colour| *colour == 0xff10_2030));
    }

    #[test]
    fn file_that_declares_more_pixels_than_it_has_is_rejected() {
        let mut bytes = file(&[(16, 16)]);
        let width_at = 16 + 12 + 16;
        bytes[width_at..width_at + 8].copy_from_slice(&[0xff, 0x7f, 0, 0, 0xff, 0x7f, 0, 0]);
        assert!(declared_pixel_bytes(&bytes).unwrap() > PIXEL_BYTES_MAX);
        assert!(
            read_bytes(&bytes, 24)
                .unwrap_err()
                .contains("bytes of pixels")
        );
        for length in 0..file(&[(4, 4)]).len() {
            let result = read_bytes(&file(&[(4, 4)])[..length], 24);
            assert!(result.is_err(), "{length}");
        }
    }

    #[test]
    fn table_with_many_entries_for_one_image_is_rejected() {
        let one = file(&[(32, 32)]);
        let mut bytes = one.clone();
        let entries = 200_000_u32;
        bytes[12..16].copy_from_slice(&entries.to_le_bytes());
        let table = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&table.to_le_bytes());
        for _ in 0..entries {
            bytes.extend_from_slice(&one[16..28]);
        }
        let cause = read_bytes(&bytes, 24).unwrap_err();
        assert!(cause.contains("bytes of pixels"), "{cause}");
    }
}
