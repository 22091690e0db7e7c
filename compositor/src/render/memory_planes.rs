//! Planes in memory, which the tests use as clients' buffers.

use std::io;

use super::decode::ReadPlanes;

/// The stride and the bytes of each plane.
pub(super) struct MemoryPlanes(pub(super) Vec<(usize, Vec<u8>)>);

impl ReadPlanes for MemoryPlanes {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.0[plane].1.get(offset..offset + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn stride(&self, plane: usize) -> usize {
        self.0[plane].0
    }
}
