//! A test pattern that the CPU writes and a driver reads back. The comparison finds imports that succeed but read other bytes
//! than the CPU wrote.

use crate::buffer::{AccessError, Buffer, CpuAccess};

/// The test pattern: for each plane its rows, one after another without padding.
pub(crate) struct TestPattern {
    planes: Vec<Vec<u8>>,
}

impl TestPattern {
    /// Writes the pattern into the picture of a buffer; `None` if the CPU cannot map the buffer, so that no pixels can be
    /// compared.
    pub(crate) fn write(buffer: &Buffer) -> Option<Self> {
        let pattern = Self {
            planes: pattern_planes(buffer)?,
        };
        match pattern.write_to(buffer) {
            Ok(()) => Some(pattern),
            Err(error) => {
                tracing::debug!(%error, "the CPU cannot write the test pattern, so no pixels are compared");
                None
            }
        }
    }

    fn write_to(&self, buffer: &Buffer) -> Result<(), AccessError> {
        let mapping = buffer.map()?;
        let guard = mapping.access(CpuAccess::Write)?;
        for (number, pixels) in self.planes.iter().enumerate() {
            let Some(picture) = buffer.layout().visible_bytes(number) else {
                continue;
            };
            let row = row_bytes(buffer, number).unwrap_or(1).max(1);
            for (row_number, bytes) in (picture.first_row..).zip(pixels.chunks(row)) {
                guard.write_row(number, row_number, picture.first_byte.into(), bytes)?;
            }
        }
        Ok(())
    }

    /// Returns the first difference between the pattern and the pixels that a driver read; `None` if they are equal.
    pub(crate) fn first_difference<P: AsRef<[u8]>>(&self, found: &[P]) -> Option<String> {
        if found.len() != self.planes.len() {
            return Some(format!(
                "the CPU wrote {} planes, and the driver read {}",
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
                // A comparison of the whole plane is much faster than one byte by byte, and nearly all planes are equal.
                if written == read {
                    return None;
                }
                let offset = written.iter().zip(read).position(|(one, two)| one != two);
                match offset {
                    Some(offset) => Some(format!(
                        "the driver read other bytes in plane {plane} than the CPU wrote, from byte {offset} on"
                    )),
                    None if written.len() != read.len() => Some(format!(
                        "the CPU wrote {} bytes in plane {plane}, and the driver read {}",
                        written.len(),
                        read.len()
                    )),
                    None => None,
                }
            })
    }
}

fn row_bytes(buffer: &Buffer, plane: usize) -> Option<usize> {
    usize::try_from(buffer.layout().visible_bytes(plane)?.row_bytes).ok()
}

/// The period of the pattern in bytes. It is prime, so that the pattern does not repeat at a power of two, and a picture that is
/// read with a wrong stride differs.
const PERIOD: usize = 251;

/// Makes the bytes of each plane. Each row is a piece of one periodic sequence, and neighbouring rows and planes begin at
/// different places of the sequence, so that exchanged rows or planes are found.
fn pattern_planes(buffer: &Buffer) -> Option<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    let longest = (0..layout.planes().len())
        .map(|plane| row_bytes(buffer, plane))
        .try_fold(0, |longest, row| Some(row?.max(longest)))?;
    let sequence = sequence(longest.checked_add(PERIOD)?);
    (0..layout.planes().len())
        .map(|plane| {
            let row = row_bytes(buffer, plane)?;
            let rows = usize::try_from(layout.visible_bytes(plane)?.rows).ok()?;
            let begin = plane.checked_mul(83)?;
            let mut pixels = Vec::with_capacity(row.checked_mul(rows)?);
            for number in 0..rows {
                let first = begin.checked_add(number.checked_mul(7)?)?;
                let first = first.checked_rem(PERIOD)?;
                pixels.extend_from_slice(sequence.get(first..first.checked_add(row)?)?);
            }
            Some(pixels)
        })
        .collect()
}

/// Returns the bytes from 0 to `PERIOD - 1`, repeated up to this length.
fn sequence(length: usize) -> Vec<u8> {
    let period = (0..PERIOD).filter_map(|number| u8::try_from(number).ok());
    period.cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(planes: &[&[u8]]) -> TestPattern {
        TestPattern {
            planes: planes.iter().map(|plane| plane.to_vec()).collect(),
        }
    }

    #[test]
    fn sequence_repeats_after_its_period() {
        let bytes = sequence(600);
        let expected = (0..600).map(|offset| u8::try_from(offset % 251).unwrap());
        assert_eq!(bytes, expected.collect::<Vec<u8>>());
    }

    #[test]
    fn first_difference_names_the_plane_and_the_byte() {
        let written = pattern(&[&[1, 2, 3], &[4, 5]]);
        let difference = |read: &[&[u8]]| written.first_difference(read);
        assert_eq!(difference(&[&[1, 2, 3], &[4, 5]]), None);
        let other_byte = difference(&[&[1, 2, 3], &[4, 9]]).unwrap();
        assert_eq!(
            other_byte,
            "the driver read other bytes in plane 1 than the CPU wrote, from byte 1 on"
        );
        let short = difference(&[&[1, 2], &[4, 5]]).unwrap();
        assert_eq!(
            short,
            "the CPU wrote 3 bytes in plane 0, and the driver read 2"
        );
        let missing = difference(&[&[1, 2, 3]]).unwrap();
        assert_eq!(missing, "the CPU wrote 2 planes, and the driver read 1");
    }
}
