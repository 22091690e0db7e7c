//! A test pattern that the CPU writes and a driver reads back, because a successful import can still show other bytes.

use crate::buffer::{AccessError, Buffer, CpuAccess};

/// The pattern: for each plane its rows, one after another without padding.
pub(crate) struct TestPattern {
    planes: Vec<Vec<u8>>,
}

impl TestPattern {
    /// Writes every pixel of a buffer; `None` if the CPU cannot map it, so that no pixels can be compared.
    pub(crate) fn write(buffer: &Buffer) -> Option<Self> {
        let pattern = Self {
            planes: planes(buffer)?,
        };
        match pattern.write_to(buffer) {
            Ok(()) => Some(pattern),
            Err(error) => {
                tracing::debug!(%error, "the pixels are not compared");
                None
            }
        }
    }

    fn write_to(&self, buffer: &Buffer) -> Result<(), AccessError> {
        let mapping = buffer.map()?;
        let guard = mapping.access(CpuAccess::Write)?;
        for (number, pixels) in self.planes.iter().enumerate() {
            let row = row_bytes(buffer, number).unwrap_or(1).max(1);
            for (row_number, bytes) in (0_u32..).zip(pixels.chunks(row)) {
                guard.write_row(number, row_number, 0, bytes)?;
            }
        }
        Ok(())
    }

    /// Returns the first difference between the pattern and the pixels that a driver read; `None` if they are equal.
    pub(crate) fn first_difference<P: AsRef<[u8]>>(&self, found: &[P]) -> Option<String> {
        if found.len() != self.planes.len() {
            return Some(format!(
                "{} planes were written and {} read",
                self.planes.len(),
                found.len()
            ));
        }
        self.planes
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(plane, (written, read))| {
                let read = read.as_ref();
                let offset = written.iter().zip(read).position(|(one, two)| one != two);
                match offset {
                    Some(offset) => Some(format!(
                        "plane {plane} differs from what the CPU wrote, first in byte {offset}"
                    )),
                    None if written.len() != read.len() => Some(format!(
                        "plane {plane} has {} bytes, and {} were read",
                        written.len(),
                        read.len()
                    )),
                    None => None,
                }
            })
    }
}

fn row_bytes(buffer: &Buffer, plane: usize) -> Option<usize> {
    usize::try_from(buffer.layout().row_bytes(plane)?).ok()
}

/// Makes a pattern whose period is not a power of two, and in which all rows and planes differ.
fn planes(buffer: &Buffer) -> Option<Vec<Vec<u8>>> {
    const PERIOD: usize = 251;
    let layout = buffer.layout();
    (0..layout.planes().len())
        .map(|plane| {
            let row = row_bytes(buffer, plane)?;
            let rows = usize::try_from(layout.rows(plane)?).ok()?;
            let begin = plane.checked_mul(83)?;
            let mut pixels = Vec::with_capacity(row.checked_mul(rows)?);
            for number in 0..rows {
                let first = begin.checked_add(number.checked_mul(7)?)?;
                let offsets = first..first.checked_add(row)?;
                pixels.extend(
                    offsets.filter_map(|offset| u8::try_from(offset.checked_rem(PERIOD)?).ok()),
                );
            }
            Some(pixels)
        })
        .collect()
}
