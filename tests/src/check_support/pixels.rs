//! Patterns into buffers and out of them, by the processor.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess};
use covalent_alloc::model::{Extent, Fourcc};

/// Compares planes of pixels.
///
/// # Errors
/// Where they differ, with the plane and the first byte.
pub fn same(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<()> {
    ensure!(found.len() == expected.len(), "{} planes", found.len());
    for (plane, (found, expected)) in found.iter().zip(expected).enumerate() {
        ensure!(
            found.len() == expected.len(),
            "plane {plane} has {} bytes",
            found.len()
        );
        let differ = found.iter().zip(expected).filter(|(one, two)| one != two);
        let first = found.iter().zip(expected).position(|(one, two)| one != two);
        ensure!(
            first.is_none(),
            "plane {plane}: {} bytes differ from {first:?} on",
            differ.count()
        );
    }
    Ok(())
}

/// Rows of each plane of a buffer without padding; no period is a power of two.
///
/// # Errors
/// Where the buffer's format has no rows that are known.
pub fn pattern(buffer: &Buffer, seed: usize) -> Result<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    pattern_of(layout.extent(), layout.format().fourcc, seed)
}

/// The same for any picture.
///
/// # Errors
/// Where the format has no rows that are known.
pub fn pattern_of(extent: Extent, fourcc: Fourcc, seed: usize) -> Result<Vec<Vec<u8>>> {
    let planes = fourcc.info().context("no rows")?.planes.iter().enumerate();
    planes
        .map(|(plane, shape)| {
            let row = usize::try_from(shape.row_bytes(extent.width()).context("no rows")?)?;
            let rows = usize::try_from(shape.rows(extent.height()))?;
            (0..row * rows)
                .map(|place| {
                    Ok(u8::try_from(
                        (place * 7 + place / row + plane * 83 + seed * 101) % 251,
                    )?)
                })
                .collect()
        })
        .collect()
}

/// The colours of pixels, row by row, in 8-bit red, green and blue.
///
/// # Errors
/// For formats whose colours are not known here: all but four of RGB.
pub fn colours(fourcc: Fourcc, planes: &[Vec<u8>]) -> Result<Vec<[u8; 3]>> {
    let bytes = planes.first().context("no plane")?;
    // Five and six bits as eight, so that all bits set stay all bits set.
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
        _ => bail!("the colours of {fourcc} are not known here"),
    })
}

/// Whether colours are the same within a difference for each channel.
#[must_use]
pub fn resemble(found: &[[u8; 3]], expected: &[[u8; 3]], tolerance: u8) -> bool {
    let near = |(one, two): (&[u8; 3], &[u8; 3])| {
        let mut channels = one.iter().zip(two);
        channels.all(|(one, two)| one.abs_diff(*two) <= tolerance)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// Writes rows without padding into a buffer, by the processor.
///
/// # Errors
/// Where it cannot be mapped.
pub fn write(buffer: &Buffer, planes: &[Vec<u8>]) -> Result<()> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Write)?;
    for (plane, pixels) in planes.iter().enumerate() {
        let row = usize::try_from(buffer.layout().row_bytes(plane).context("no rows")?)?;
        for (number, bytes) in (0_u32..).zip(pixels.chunks(row)) {
            guard.write_row(plane, number, 0, bytes)?;
        }
    }
    Ok(())
}

/// Reads rows without padding out of a buffer, by the processor.
///
/// # Errors
/// Where it cannot be mapped.
pub fn read(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Read)?;
    let layout = buffer.layout();
    let mut planes = Vec::new();
    for plane in 0..layout.planes().len() {
        let row = usize::try_from(layout.row_bytes(plane).context("no rows")?)?;
        let rows = layout.rows(plane).context("no rows")?;
        let mut pixels = vec![0; row * usize::try_from(rows)?];
        for (number, bytes) in (0_u32..).zip(pixels.chunks_mut(row)) {
            guard.read_row(plane, number, 0, bytes)?;
        }
        planes.push(pixels);
    }
    Ok(planes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_one_picture_are_the_same_in_every_order() {
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
    fn colours_that_are_too_few_or_too_far_do_not_resemble() {
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
