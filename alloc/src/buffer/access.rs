//! The guard of a CPU access to a mapped buffer. It begins and ends the access with DMA_BUF_IOCTL_SYNC, and counts the copied
//! bytes.

use super::map::{Mapping, SyncStep};
use super::{AccessError, traffic};

/// The direction of a CPU access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuAccess {
    /// The CPU reads the buffer.
    Read,
    /// The CPU writes the buffer.
    Write,
    /// The CPU reads and writes the buffer.
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

/// A CPU access in progress: DMA_BUF_SYNC_START was sent for the buffer, and the drop sends DMA_BUF_SYNC_END, also in a panic.
///
/// Bytes are copied from and to the buffer. There is no `&[u8]` to its memory, since a device can write to it at any time.
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
        mapping.sync(SyncStep::Start, access)?;
        Ok(Self { mapping, access })
    }

    /// Reads bytes of a plane, from `offset_bytes` after its start.
    ///
    /// # Errors
    /// [`AccessError::OutOfBounds`]; [`AccessError::Direction`] if the guard permits only writing.
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
    /// [`AccessError::OutOfBounds`]; [`AccessError::Direction`] if the guard permits only reading.
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
    /// The errors of [`MapGuard::read`].
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
    /// The errors of [`MapGuard::write`].
    pub fn write_row(
        &self,
        plane: usize,
        row: u32,
        x_bytes: u64,
        from: &[u8],
    ) -> Result<(), AccessError> {
        self.write(plane, self.row_offset(plane, row, x_bytes), from)
    }

    /// Returns the offset of a byte of a row from the start of the plane. For a row number that is too large the arithmetic
    /// saturates, so the offset is out of bounds and does not overflow to a small offset.
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
        if let Err(error) = self.mapping.sync(SyncStep::End, self.access) {
            tracing::error!(%error, "DMA_BUF_SYNC_END failed; a device may read stale data");
        }
    }
}
