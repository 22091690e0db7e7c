//! The guard around the CPU's access: it begins and ends it at the exporter, and counts what moves.

use super::map::{Mapping, Step};
use super::{AccessError, traffic};

/// What the CPU wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuAccess {
    /// Read only.
    Read,
    /// Write only.
    Write,
    /// Both.
    ReadWrite,
}

impl CpuAccess {
    const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// The CPU's turn: between DMA_BUF_SYNC_START and DMA_BUF_SYNC_END, which is sent on drop, in a panic too.
///
/// Bytes are copied in and out. There is never a `&[u8]` to memory that a device can write.
#[derive(Debug)]
#[must_use = "the access ends when the guard is dropped"]
pub struct MapGuard<'mapping> {
    mapping: &'mapping Mapping,
    access: CpuAccess,
}

impl<'mapping> MapGuard<'mapping> {
    pub(super) fn begin(
        mapping: &'mapping Mapping,
        access: CpuAccess,
    ) -> Result<Self, AccessError> {
        mapping.sync(Step::Start, access)?;
        Ok(Self { mapping, access })
    }

    /// Reads bytes of a plane, from `offset_bytes` after its start.
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`]; [`AccessError::Direction`] when the guard was taken for writing alone.
    pub fn read(
        &self,
        plane: usize,
        offset_bytes: u64,
        into: &mut [u8],
    ) -> Result<(), AccessError> {
        if !self.access.reads() {
            return Err(AccessError::Direction(self.access));
        }
        self.mapping.copy_out(plane, offset_bytes, into)?;
        traffic::count_read(into.len());
        Ok(())
    }

    /// Writes bytes of a plane, from `offset_bytes` after its start.
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`]; [`AccessError::Direction`] when the guard was taken for reading alone.
    pub fn write(&self, plane: usize, offset_bytes: u64, from: &[u8]) -> Result<(), AccessError> {
        if !self.access.writes() {
            return Err(AccessError::Direction(self.access));
        }
        self.mapping.copy_in(plane, offset_bytes, from)?;
        traffic::count_written(from.len());
        Ok(())
    }

    /// Reads bytes of one row of a plane, from `x_bytes` after the row's start.
    ///
    /// # Errors
    /// As [`MapGuard::read`].
    pub fn read_row(
        &self,
        plane: usize,
        row: u32,
        x_bytes: u64,
        into: &mut [u8],
    ) -> Result<(), AccessError> {
        self.read(plane, self.row_offset(plane, row, x_bytes), into)
    }

    /// Writes bytes of one row of a plane, from `x_bytes` after the row's start.
    ///
    /// # Errors
    /// As [`MapGuard::write`].
    pub fn write_row(
        &self,
        plane: usize,
        row: u32,
        x_bytes: u64,
        from: &[u8],
    ) -> Result<(), AccessError> {
        self.write(plane, self.row_offset(plane, row, x_bytes), from)
    }

    /// Saturates, so that a row past the end is out of bounds rather than wrapped to the start.
    fn row_offset(&self, plane: usize, row: u32, x_bytes: u64) -> u64 {
        let stride = self
            .mapping
            .buffer()
            .layout()
            .planes()
            .get(plane)
            .map_or(0, |plane| plane.stride_bytes);
        u64::from(stride)
            .saturating_mul(row.into())
            .saturating_add(x_bytes)
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.mapping.sync(Step::End, self.access) {
            tracing::error!(%error, "CPU access could not be ended; a device may see stale data");
        }
    }
}
