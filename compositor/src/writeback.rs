//! Proof of what was shown: every frame's picture, written back by the card, as a line with a checksum and, when asked, as
//! raw pixels.
//!
//! `DIR/frames.jsonl` has one line a frame: its number in the report (0 for a redraw without new content), the dma-buf that was shown, the checksum, and where its pixels are in
//! `DIR/frames.raw` (rows of XRGB8888 without gaps), or null.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{AccessError, CpuAccess, Mapping};
use covalent_alloc::constraint::Role;
use covalent_alloc::files::{self, Access, make_folder};
use covalent_alloc::model::Extent;
use serde_json::json;

use crate::backend::output_buffers::{allocate_dumb, cpu_participant};
use crate::kms::{WritebackConnector, WritebackJob};
use crate::lines::LineFile;
use crate::render::PixelFormat;
use crate::transient::persist;

/// Pictures that take turns: one that the card may still be writing to is not the next one.
const SLOTS: usize = 3;

/// What the last row of a picture holds until the card has written it: no row of a frame has these bytes.
const UNWRITTEN: [u8; 4] = [0xa5, 0x3c, 0x5a, 0xc3];

/// Pictures that a card writes back, one at a time.
///
/// vkms can lose a picture: it tidies up after the one before when its fence has signalled, and if the next is asked for by then, it
/// composes no more, and the fence of the lost one signals in the place of the following one's. So the card is given time after each picture,
/// a fence is a reason to look, the picture itself tells whether it is there, and one that does not come is asked for again.
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

#[derive(Debug)]
struct Slot {
    framebuffer: Framebuffer,
    mapping: Mapping,
    /// The picture bears the mark of one that is not written.
    marked_unwritten: Cell<bool>,
}

/// The picture that the card was asked for last.
#[derive(Debug)]
struct PendingWriteback {
    slot_index: usize,
    /// Number of its frame in the report.
    frame: Option<u64>,
    /// Inode of the dma-buf that the frame showed.
    buffer: u64,
    /// Signals when it is written.
    fence: Option<OwnedFd>,
}

impl Writeback {
    /// Makes the files in `directory`, and memory for pictures of a mode of that size.
    ///
    /// # Errors
    ///
    /// When the card writes no XRGB8888, has no memory, or the files cannot be made.
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
            "the card writes no {}",
            format.name()
        );
        make_folder(directory, Access::Private)?;
        let create = |name: &str| files::create(&directory.join(name));
        let extent = Extent::new(u32::from(size.0), u32::from(size.1))?;
        let count = u32::try_from(SLOTS)?;
        let reader = cpu_participant(Role::CpuRead);
        let slots = allocate_dumb(card, extent, count, vec![card.importer(), reader])?
            .into_iter()
            .map(|buffer| {
                let slot = Slot {
                    framebuffer: card.framebuffer(&buffer)?,
                    mapping: persist(|| buffer.map())?,
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

    /// Tells whether another picture can be asked for: no frame is shown unseen.
    pub fn is_idle(&self) -> bool {
        self.pending.is_none() && !self.paused
    }

    /// Notes that the card has had its time after a picture.
    pub fn end_pause(&mut self) {
        self.paused = false;
    }

    /// Prepares the next picture.
    ///
    /// # Errors
    ///
    /// When its memory cannot be marked as not written; without the mark nobody could tell when it is.
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

    /// Notes that the card was asked for the picture at `place`, for a frame that shows `buffer`.
    ///
    /// Asked again for the same frame, the number that the frame has is kept.
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

    /// Notes which frame of the report the picture is of.
    pub fn set_frame_number(&mut self, frame: Option<u64>) {
        if let Some(pending) = &mut self.pending {
            pending.frame = frame;
        }
    }

    /// Returns the fence of the picture that was asked for last, once.
    pub fn take_fence(&mut self) -> Option<OwnedFd> {
        self.pending.as_mut()?.fence.take()
    }

    /// Returns how often a picture was asked for, if one is still expected.
    pub fn pending_request(&self) -> Option<u64> {
        self.pending.as_ref().map(|_| self.requests)
    }

    /// Gives up on the picture that is expected, because its frame will not be shown.
    pub fn abandon(&mut self) {
        self.pending = None;
    }

    /// Looks whether the expected picture is written, and puts it down if so; [`rested`](Self::rested) is due a while later.
    ///
    /// # Errors
    ///
    /// When the picture cannot be read.
    pub fn try_collect(&mut self) -> io::Result<bool> {
        let Some(pending) = &self.pending else {
            return Ok(false);
        };
        let (slot_index, frame, buffer) = (pending.slot_index, pending.frame, pending.buffer);
        let Some(slot) = self.slots.get(slot_index) else {
            return Ok(false);
        };
        let (width, height) = (usize::from(self.size.0), u32::from(self.size.1));
        let keep = self.every > 0 && self.written % self.every == 0;
        let guard = persist(|| slot.mapping.access(CpuAccess::Read)).map_err(io::Error::other)?;
        let mut row = vec![0; width * 4];
        guard
            .read_row(0, height.saturating_sub(1), 0, &mut row)
            .map_err(io::Error::other)?;
        if row.chunks_exact(4).all(|pixel| pixel == UNWRITTEN) {
            return Ok(false);
        }
        let mut checksum = Checksum::default();
        let mut kept = keep.then_some(Ok(()));
        for y in 0..height {
            guard
                .read_row(0, y, 0, &mut row)
                .map_err(io::Error::other)?;
            checksum.add_row(&row);
            if matches!(kept, Some(Ok(()))) {
                kept = Some(self.raw.write_all(&row));
            }
        }
        drop(guard);
        slot.marked_unwritten.set(false);
        if let Err(error) = slot.mark_unwritten(self.size) {
            // It is marked when its turn comes.
            tracing::debug!(%error, "a picture that was written back stays as it is");
        }
        self.pending = None;
        self.paused = true;
        let offset = matches!(kept, Some(Ok(()))).then_some(self.raw_bytes);
        match kept {
            Some(Ok(())) => {
                let bytes = u64::try_from(row.len()).unwrap_or(0) * u64::from(height);
                self.raw_bytes = self.raw_bytes.saturating_add(bytes);
            }
            // A full disk costs this picture its pixels, and nobody a frame.
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
    /// Marks the picture as not written.
    fn mark_unwritten(&self, size: (u16, u16)) -> Result<(), AccessError> {
        let row = UNWRITTEN.repeat(usize::from(size.0));
        let last = u32::from(size.1).saturating_sub(1);
        persist(|| self.mapping.access(CpuAccess::Write))?.write_row(0, last, 0, &row)?;
        self.marked_unwritten.set(true);
        Ok(())
    }
}

/// A checksum of colours: FNV-1a with 64 bits, fed one pixel (red, green, blue) at a time.
///
/// The fourth byte of XRGB8888 has no meaning and is left out.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Adds a row of XRGB8888 as it lies in memory.
    pub fn add_row(&mut self, row: &[u8]) {
        for pixel in row.chunks_exact(4) {
            let colour = u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0]);
            self.0 = (self.0 ^ u64::from(colour)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns the sum of what was added so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_leaves_the_fourth_byte_out_and_nothing_else() {
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
