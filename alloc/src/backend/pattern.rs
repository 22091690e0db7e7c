//! Pixels that the processor writes and a driver has to read back: an import that succeeds can still mean other bytes.

use crate::buffer::{AccessError, Buffer, CpuAccess};

/// What the processor wrote: for each plane its rows, one after another without padding.
pub(crate) struct Pattern {
    planes: Vec<Vec<u8>>,
}

impl Pattern {
    /// Writes every pixel; `None` for a buffer that the processor does not map, which nothing can be said of.
    pub(crate) fn write(buffer: &Buffer) -> Option<Self> {
        let pattern = Self {
            planes: planes(buffer)?,
        };
        match pattern.put(buffer) {
            Ok(()) => Some(pattern),
            Err(error) => {
                tracing::debug!(%error, "pixels are not judged");
                None
            }
        }
    }

    fn put(&self, buffer: &Buffer) -> Result<(), AccessError> {
        let mapping = buffer.map()?;
        let guard = mapping.access(CpuAccess::Write)?;
        for (number, pixels) in self.planes.iter().enumerate() {
            let row = row_bytes(buffer, number).unwrap_or(1).max(1);
            for (place, bytes) in (0_u32..).zip(pixels.chunks(row)) {
                guard.write_row(number, place, 0, bytes)?;
            }
        }
        Ok(())
    }

    /// Says where what a driver read is something else; `None` where it is the same.
    pub(crate) fn differs<P: AsRef<[u8]>>(&self, found: &[P]) -> Option<String> {
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
                let place = written.iter().zip(read).position(|(one, two)| one != two);
                match place {
                    Some(place) => Some(format!(
                        "plane {plane} differs from byte {place} on from what the processor wrote"
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

/// No period is a power of two, and no two rows or planes are alike.
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
                let places = first..first.checked_add(row)?;
                pixels.extend(
                    places.filter_map(|place| u8::try_from(place.checked_rem(PERIOD)?).ok()),
                );
            }
            Some(pixels)
        })
        .collect()
}
