//! Patterns into buffers and out of them, by the processor.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess};

/// Fails where planes differ.
pub(crate) fn same(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<()> {
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

/// Rows of each plane without padding; no period is a power of two.
pub(crate) fn pattern(buffer: &Buffer, seed: usize) -> Result<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    (0..layout.planes().len())
        .map(|plane| {
            let row = usize::try_from(layout.row_bytes(plane).context("no rows")?)?;
            let rows = usize::try_from(layout.rows(plane).context("no rows")?)?;
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

pub(crate) fn write(buffer: &Buffer, planes: &[Vec<u8>]) -> Result<()> {
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

pub(crate) fn read(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
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
