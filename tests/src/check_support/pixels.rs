//! Generates pixel patterns, writes them to buffers with the CPU, reads them back and compares them.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess};
use covalent_alloc::model::{Extent, Fourcc, VisibleBytes};

/// Checks that planes of pixels are equal.
///
/// # Errors
/// The planes differ. The message names the plane, the number of differing bytes and the index of the first.
pub fn same(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<()> {
    ensure!(
        found.len() == expected.len(),
        "the picture has {} planes instead of {}",
        found.len(),
        expected.len()
    );
    for (plane, (found, expected)) in found.iter().zip(expected).enumerate() {
        ensure!(
            found.len() == expected.len(),
            "plane {plane} has {} bytes instead of {}",
            found.len(),
            expected.len()
        );
        if found == expected {
            continue;
        }
        let differ = found.iter().zip(expected).filter(|(one, two)| one != two);
        let first = found.iter().zip(expected).position(|(one, two)| one != two);
        bail!(
            "in plane {plane}, {} bytes differ; the first of them has the index {first:?}",
            differ.count()
        );
    }
    Ok(())
}

/// Returns a pattern for a buffer's picture: the rows of each plane without padding. The period of the pattern is not a power of
/// two, so a wrong stride changes the pixels.
///
/// # Errors
/// covalent-alloc does not know the rows of the buffer's format.
pub fn pattern(buffer: &Buffer, seed: usize) -> Result<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    pattern_of(layout.visible().extent(), layout.format().fourcc, seed)
}

/// The number of different values in the pattern.
const PERIOD: usize = 251;
/// The difference between a byte of a row and the byte before it.
const STEP: usize = 7;

/// Returns the pattern of [`pattern`] for a size and a format.
///
/// # Errors
/// covalent-alloc does not know the rows of the format.
pub fn pattern_of(extent: Extent, fourcc: Fourcc, seed: usize) -> Result<Vec<Vec<u8>>> {
    let planes = fourcc
        .info()
        .context("the linear layout of the format is not known")?
        .planes
        .iter()
        .enumerate();
    planes
        .map(|(plane, shape)| {
            let row = usize::try_from(
                shape
                    .row_bytes(extent.width())
                    .context("the linear layout of the format is not known")?,
            )?;
            let rows = usize::try_from(shape.rows(extent.height()))?;
            let mut pixels = Vec::with_capacity(row * rows);
            for number in 0..rows {
                let first = number * (row * STEP + 1) + plane * 83 + seed * 101;
                // Each value is computed by an addition and a comparison. A division for each byte would take most of a check's
                // time on an emulated processor.
                let mut value = first % PERIOD;
                for _ in 0..row {
                    pixels.push(u8::try_from(value)?);
                    value += STEP;
                    if value >= PERIOD {
                        value -= PERIOD;
                    }
                }
            }
            Ok(pixels)
        })
        .collect()
}

/// Returns the colours of pixels, row by row, with 8 bits each for red, green and blue.
///
/// # Errors
/// The format is not XR24, AR24, XB24 or RG16.
pub fn colours(fourcc: Fourcc, planes: &[Vec<u8>]) -> Result<Vec<[u8; 3]>> {
    let bytes = planes.first().context("the layout has no plane")?;
    // Scales channels of five and six bits to eight bits, so that the largest value becomes 255.
    let wide = |value: u16, bits: u32| -> u8 {
        let largest = (1_u16 << bits) - 1;
        u8::try_from((value & largest) * 255 / largest).unwrap_or(u8::MAX)
    };
    Ok(match fourcc {
        Fourcc::XRGB8888 | Fourcc::ARGB8888 => {
            let pixels = bytes.chunks_exact(4);
            pixels.map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()
        }
        Fourcc::XBGR8888 => {
            let pixels = bytes.chunks_exact(4);
            pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
        Fourcc::RGB565 => bytes
            .chunks_exact(2)
            .map(|pixel| {
                let pixel = u16::from_le_bytes([pixel[0], pixel[1]]);
                [wide(pixel >> 11, 5), wide(pixel >> 5, 6), wide(pixel, 5)]
            })
            .collect(),
        _ => bail!("this program cannot compute the colours of {fourcc}"),
    })
}

/// Returns whether all channels of two pictures differ by at most a tolerance.
#[must_use]
pub fn resemble(found: &[[u8; 3]], expected: &[[u8; 3]], tolerance: u8) -> bool {
    let near = |(one, two): (&[u8; 3], &[u8; 3])| {
        let mut channels = one.iter().zip(two);
        channels.all(|(one, two)| one.abs_diff(*two) <= tolerance)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// Returns a checksum of colours in their order. Two programs compare pictures by this checksum.
///
/// # References
/// Fowler, Noll and Vo, "The FNV Non-Cryptographic Hash Algorithm": FNV-1a with 64 bits.
#[must_use]
pub fn checksum(colours: &[[u8; 3]]) -> u64 {
    let bytes = colours.iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Writes rows without padding to a buffer's picture with the CPU. Pixels of the buffer outside of the picture keep their values.
///
/// # Errors
/// The buffer cannot be mapped.
pub fn write(buffer: &Buffer, planes: &[Vec<u8>]) -> Result<()> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Write)?;
    for (plane, pixels) in planes.iter().enumerate() {
        let picture = picture_of(buffer, plane)?;
        let row = usize::try_from(picture.row_bytes)?;
        for (number, bytes) in (picture.first_row..).zip(pixels.chunks(row)) {
            guard.write_row(plane, number, picture.first_byte.into(), bytes)?;
        }
    }
    Ok(())
}

/// Reads rows without padding from a buffer's picture with the CPU.
///
/// # Errors
/// The buffer cannot be mapped.
pub fn read(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Read)?;
    let layout = buffer.layout();
    let mut planes = Vec::new();
    for plane in 0..layout.planes().len() {
        let picture = picture_of(buffer, plane)?;
        let row = usize::try_from(picture.row_bytes)?;
        let mut pixels = vec![0; row * usize::try_from(picture.rows)?];
        for (number, bytes) in (picture.first_row..).zip(pixels.chunks_mut(row)) {
            guard.read_row(plane, number, picture.first_byte.into(), bytes)?;
        }
        planes.push(pixels);
    }
    Ok(planes)
}

/// Writes one value to every byte of all rows of a buffer, including the pixels outside of the picture.
///
/// # Errors
/// The buffer cannot be mapped.
pub fn fill(buffer: &Buffer, value: u8) -> Result<()> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Write)?;
    let layout = buffer.layout();
    for plane in 0..layout.planes().len() {
        let unknown = || "the linear layout of the format is not known";
        let row = layout.row_bytes(plane).with_context(unknown)?;
        let bytes = vec![value; usize::try_from(row)?];
        for number in 0..layout.rows(plane).with_context(unknown)? {
            guard.write_row(plane, number, 0, &bytes)?;
        }
    }
    Ok(())
}

/// Returns the ranges of bytes that the visible picture has in a plane.
fn picture_of(buffer: &Buffer, plane: usize) -> Result<VisibleBytes> {
    let bytes = buffer.layout().visible_bytes(plane);
    bytes.context("the linear layout of the format is not known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_each_byte_depends_on_its_place_row_plane_and_seed() {
        let planes = pattern_of(Extent::new(322, 6).unwrap(), Fourcc::NV12, 3).unwrap();
        assert_eq!(planes.iter().map(Vec::len).collect::<Vec<_>>(), [1932, 966]);
        for (plane, pixels) in planes.iter().enumerate() {
            for (place, byte) in pixels.iter().enumerate() {
                let expected = (place * 7 + place / 322 + plane * 83 + 3 * 101) % 251;
                assert_eq!(
                    usize::from(*byte),
                    expected,
                    "byte {place} of plane {plane}"
                );
            }
        }
    }

    #[test]
    fn same_of_different_pixels_names_the_first_byte() {
        let one = [vec![1, 2, 3], vec![4, 5]];
        assert!(same(&one, &one).is_ok());
        let other = [vec![1, 2, 3], vec![6, 7]];
        let words = same(&other, &one).unwrap_err().to_string();
        assert!(words.contains("in plane 1, 2 bytes differ"), "{words}");
        assert!(words.contains("Some(0)"), "{words}");
    }

    #[test]
    fn colours_of_one_picture_are_equal_in_every_byte_order() {
        let white = [255, 255, 255, 0];
        let red = [[255, 0, 0]];
        let of = |fourcc, bytes: &[u8]| colours(fourcc, &[bytes.to_vec()]).unwrap();
        assert_eq!(of(Fourcc::XRGB8888, &[0, 0, 255, 9]), red);
        assert_eq!(of(Fourcc::XBGR8888, &[255, 0, 0, 9]), red);
        assert_eq!(of(Fourcc::RGB565, &[0, 0xf8]), red);
        assert_eq!(of(Fourcc::XRGB8888, &white), [[255; 3]]);
        assert!(colours(Fourcc::NV12, &[Vec::new()]).is_err());
    }

    #[test]
    fn checksums_of_different_pictures_differ() {
        // The published value for the text "foobar".
        assert_eq!(checksum(&[*b"foo", *b"bar"]), 0x8594_4171_f739_67e8);
        assert_ne!(checksum(&[*b"bar", *b"foo"]), checksum(&[*b"foo", *b"bar"]));
        assert_ne!(checksum(&[[0; 3]]), checksum(&[[0; 3], [0; 3]]));
    }

    #[test]
    fn colours_beyond_the_tolerance_or_of_another_count_do_not_resemble() {
        assert!(resemble(&[[10, 20, 30]], &[[12, 18, 30]], 2));
        assert!(!resemble(&[[10, 20, 30]], &[[13, 20, 30]], 2));
        assert!(!resemble(&[], &[[0; 3]], 255));
    }

    #[test]
    fn patterns_differ_by_seed_and_between_planes() {
        let extent = Extent::new(34, 18).unwrap();
        let one = pattern_of(extent, Fourcc::NV12, 1).unwrap();
        assert_eq!((one[0].len(), one[1].len()), (34 * 18, 34 * 9));
        assert_ne!(one, pattern_of(extent, Fourcc::NV12, 2).unwrap());
        assert_ne!(one[0][..34], one[1][..34]);
    }
}
