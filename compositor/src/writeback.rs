//! Captures every frame with the card's writeback connector. Each frame is recorded as a line with a checksum, and optionally
//! with raw pixels.
//!
//! `DIR/frames.jsonl` has one line for each frame. A line has the number of the frame in the report (0 for a redraw without new
//! content), the inode of the dma-buf that was shown, the checksum, and the offset of the pixels in `DIR/frames.raw` or null.
//! `DIR/frames.raw` has rows of XRGB8888 without padding.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{AccessError, CpuAccess, Mapping};
use covalent_alloc::constraint::Role;
use covalent_alloc::files::{self, FileAccess, make_folder};
use covalent_alloc::model::Extent;
use serde_json::json;

use crate::backend::output_buffers::{allocate_dumb, cpu_participant};
use crate::kms::{WritebackConnector, WritebackJob};
use crate::lines::LineFile;
use crate::render::PixelFormat;
use crate::transient::retry_transient;

/// The number of buffers. They are used in rotation, because the card may still write to the previous buffer.
const SLOTS: usize = 3;

/// The pixel value with which the last row of a buffer is filled before the writeback. If the row still has these pixels, the
/// card has not written the buffer. No frame has such a row.
const UNWRITTEN: [u8; 4] = [0xa5, 0x3c, 0x5a, 0xc3];

/// The writebacks of one output, of which one is pending at a time.
///
/// vkms can lose a writeback. It finishes a writeback after its fence was signalled. If the next writeback is requested before
/// that, vkms does not compose it, and signals its fence with the writeback after it. Therefore there is a pause after each
/// writeback, the content of the buffer decides whether the buffer was written, and a lost writeback is requested again.
#[derive(Debug)]
pub struct Writeback {
    slots: Vec<Slot>,
    next_slot: usize,
    size: (u16, u16),
    every: u64,
    written: u64,
    lines: LineFile,
    raw: File,
    raw_bytes: u64,
    pending: Option<PendingWriteback>,
    paused: bool,
    requests: u64,
}

/// A buffer into which the display writes a composed picture.
#[derive(Debug)]
struct Slot {
    framebuffer: Framebuffer,
    mapping: Mapping,
    /// Whether the last row is filled with [`UNWRITTEN`].
    marked_unwritten: Cell<bool>,
}

/// The writeback that was requested and is not collected yet.
#[derive(Debug)]
struct PendingWriteback {
    slot_index: usize,
    /// The number of the frame in the report.
    frame: Option<u64>,
    /// The inode of the dma-buf that the frame showed.
    buffer: u64,
    /// The out-fence of the writeback.
    fence: Option<OwnedFd>,
}

impl Writeback {
    /// Creates the files in `directory`, and allocates buffers that have the size of the mode.
    ///
    /// # Errors
    ///
    /// When the connector does not support XRGB8888, or the buffers or files cannot be created.
    pub fn new(
        card: &Card,
        connector: &WritebackConnector,
        size: (u16, u16),
        directory: &Path,
        every: u64,
    ) -> anyhow::Result<Self> {
        let format = PixelFormat::Xrgb8888;
        anyhow::ensure!(
            connector.formats().contains(&format.fourcc()),
            "the writeback connector does not support {}",
            format.name()
        );
        make_folder(directory, FileAccess::Private)?;
        let create = |name: &str| files::create(&directory.join(name));
        let extent = Extent::new(u32::from(size.0), u32::from(size.1))?;
        let count = u32::try_from(SLOTS)?;
        let reader = cpu_participant(Role::CpuRead);
        let slots = allocate_dumb(card, extent, count, vec![card.importer(), reader])?
            .into_iter()
            .map(|buffer| {
                let slot = Slot {
                    framebuffer: card.framebuffer(&buffer)?,
                    mapping: retry_transient(|| buffer.map())?,
                    marked_unwritten: Cell::new(false),
                };
                slot.mark_unwritten(size)?;
                Ok(slot)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            slots,
            next_slot: 0,
            size,
            every,
            written: 0,
            lines: LineFile::new("frames.jsonl", create("frames.jsonl")?),
            raw: create("frames.raw")?,
            raw_bytes: 0,
            pending: None,
            paused: false,
            requests: 0,
        })
    }

    /// Returns whether the next writeback can be requested. No frame is submitted while it cannot, so that every frame has a
    /// writeback.
    pub fn is_idle(&self) -> bool {
        self.pending.is_none() && !self.paused
    }

    /// Ends the pause after a writeback.
    pub fn end_pause(&mut self) {
        self.paused = false;
    }

    /// Prepares the next writeback. Returns the index of its buffer and the job for the commit.
    ///
    /// # Errors
    ///
    /// When the last row of the buffer cannot be filled with `UNWRITTEN`, without which a completed writeback could not be
    /// detected.
    pub fn next_job(&self) -> Result<Option<(usize, WritebackJob)>, AccessError> {
        let Some(slot) = self.slots.get(self.next_slot) else {
            return Ok(None);
        };
        if !slot.marked_unwritten.get() {
            slot.mark_unwritten(self.size)?;
        }
        Ok(Some((
            self.next_slot,
            WritebackJob::new(slot.framebuffer.handle()),
        )))
    }

    /// Records that a writeback to the buffer at `slot_index` was submitted, for a frame that shows `buffer`.
    ///
    /// A repeated writeback keeps the number of its frame.
    pub fn submitted(&mut self, slot_index: usize, fence: Option<OwnedFd>, buffer: u64) {
        let frame = self.pending.take().and_then(|pending| pending.frame);
        self.pending = Some(PendingWriteback {
            slot_index,
            frame,
            buffer,
            fence,
        });
        self.next_slot = (slot_index + 1) % self.slots.len().max(1);
        self.requests += 1;
    }

    /// Sets the number that the pending writeback's frame has in the report.
    pub fn set_frame_number(&mut self, frame: Option<u64>) {
        if let Some(pending) = &mut self.pending {
            pending.frame = frame;
        }
    }

    /// Takes the out-fence of the pending writeback.
    pub fn take_fence(&mut self) -> Option<OwnedFd> {
        self.pending.as_mut()?.fence.take()
    }

    /// Returns the number of the pending request; `None` if none is pending.
    pub fn pending_request(&self) -> Option<u64> {
        self.pending.as_ref().map(|_| self.requests)
    }

    /// Returns the index of the pending writeback among all collected writebacks; `None` if none is pending. Unlike
    /// [`pending_request`](Self::pending_request), it stays the same when the writeback is requested again.
    pub fn pending_index(&self) -> Option<u64> {
        self.pending.as_ref().map(|_| self.written)
    }

    /// Forgets the pending writeback, because its frame was abandoned.
    pub fn abandon(&mut self) {
        self.pending = None;
    }

    /// Records the pending writeback if the card has written it, and returns whether it has. [`end_pause`](Self::end_pause) must
    /// be called a refresh period later.
    ///
    /// # Errors
    ///
    /// When the buffer cannot be read.
    pub fn try_collect(&mut self) -> io::Result<bool> {
        let Some(pending) = &self.pending else {
            return Ok(false);
        };
        let (slot_index, frame, buffer) = (pending.slot_index, pending.frame, pending.buffer);
        let Some(slot) = self.slots.get(slot_index) else {
            return Ok(false);
        };
        let (width, height) = (usize::from(self.size.0), u32::from(self.size.1));
        let store_pixels = self.every > 0 && self.written % self.every == 0;
        let guard =
            retry_transient(|| slot.mapping.access(CpuAccess::Read)).map_err(io::Error::other)?;
        let mut row = vec![0; width * 4];
        guard
            .read_row(0, height.saturating_sub(1), 0, &mut row)
            .map_err(io::Error::other)?;
        if row.chunks_exact(4).all(|pixel| pixel == UNWRITTEN) {
            return Ok(false);
        }
        let mut checksum = Checksum::default();
        let mut stored = store_pixels.then_some(Ok(()));
        for y in 0..height {
            guard
                .read_row(0, y, 0, &mut row)
                .map_err(io::Error::other)?;
            checksum.add_row(&row);
            if matches!(stored, Some(Ok(()))) {
                stored = Some(self.raw.write_all(&row));
            }
        }
        drop(guard);
        slot.marked_unwritten.set(false);
        if let Err(error) = slot.mark_unwritten(self.size) {
            // If the row cannot be filled now, `next_job` fills it.
            tracing::debug!(%error, "the last row of a writeback buffer cannot be filled with the mark of a buffer that was not written");
        }
        self.pending = None;
        self.paused = true;
        let offset = matches!(stored, Some(Ok(()))).then_some(self.raw_bytes);
        match stored {
            Some(Ok(())) => {
                let bytes = u64::try_from(row.len()).unwrap_or(0) * u64::from(height);
                self.raw_bytes = self.raw_bytes.saturating_add(bytes);
            }
            // If the disk is full, only the pixels of this writeback are lost.
            Some(Err(error)) => {
                self.lines.count_lost(error);
                let _ = self.raw.set_len(self.raw_bytes);
                self.raw.seek(SeekFrom::Start(self.raw_bytes))?;
            }
            None => {}
        }
        self.written += 1;
        let line = json!({
            "frame": frame.unwrap_or(0),
            "buffer": buffer,
            "width": self.size.0,
            "height": self.size.1,
            "checksum": format!("{:016x}", checksum.value()),
            "offset": offset,
        });
        self.lines.write(&line.to_string());
        Ok(true)
    }
}

impl Slot {
    /// Fills the last row of the buffer with [`UNWRITTEN`].
    fn mark_unwritten(&self, size: (u16, u16)) -> Result<(), AccessError> {
        let row = UNWRITTEN.repeat(usize::from(size.0));
        let last = u32::from(size.1).saturating_sub(1);
        retry_transient(|| self.mapping.access(CpuAccess::Write))?.write_row(0, last, 0, &row)?;
        self.marked_unwritten.set(true);
        Ok(())
    }
}

/// A 64-bit FNV-1a checksum of pixels. Red, green and blue of a pixel are one input value.
///
/// The fourth byte of XRGB8888 is undefined and not included.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Adds a row of XRGB8888 pixels.
    pub fn add_row(&mut self, row: &[u8]) {
        for pixel in row.chunks_exact(4) {
            let colour = u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0]);
            self.0 = (self.0 ^ u64::from(colour)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns the checksum of the rows that were added.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_ignores_only_the_fourth_byte() {
        let checksum = |row: &[u8]| {
            let mut checksum = Checksum::default();
            checksum.add_row(row);
            checksum.value()
        };
        assert_eq!(checksum(&[1, 2, 3, 0]), checksum(&[1, 2, 3, 255]));
        assert_ne!(checksum(&[1, 2, 3, 0]), checksum(&[1, 2, 4, 0]));
        assert_ne!(
            checksum(&[1, 2, 3, 0, 4, 5, 6, 0]),
            checksum(&[4, 5, 6, 0, 1, 2, 3, 0])
        );
    }
}
