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
use covalent_alloc::files::{self, FileAccess, make_folder};
use covalent_alloc::model::Extent;
use serde_json::json;

use crate::backend::pictures::{plan, processor};
use crate::kms::{Job, WritebackConnector};
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
    turn: usize,
    size: (u16, u16),
    every: u64,
    written: u64,
    lines: LineFile,
    raw: File,
    raw_bytes: u64,
    expected: Option<Expected>,
    resting: bool,
    requests: u64,
}

#[derive(Debug)]
struct Slot {
    framebuffer: Framebuffer,
    mapping: Mapping,
    /// The picture bears the mark of one that is not written.
    marked: Cell<bool>,
}

/// The picture that the card was asked for last.
#[derive(Debug)]
struct Expected {
    place: usize,
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
        let wanted = PixelFormat::Xrgb8888;
        anyhow::ensure!(
            connector.formats().contains(&wanted.fourcc()),
            "the card writes no {}",
            wanted.name()
        );
        make_folder(directory, FileAccess::Private)?;
        let create = |name: &str| files::create(&directory.join(name));
        let extent = Extent::new(u32::from(size.0), u32::from(size.1))?;
        let count = u32::try_from(SLOTS)?;
        let reader = processor(Role::CpuRead);
        let slots = plan(card, extent, count, vec![card.importer(), reader])?
            .into_iter()
            .map(|buffer| {
                let slot = Slot {
                    framebuffer: card.framebuffer(&buffer)?,
                    mapping: persist(|| buffer.map())?,
                    marked: Cell::new(false),
                };
                slot.mark(size)?;
                Ok(slot)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            slots,
            turn: 0,
            size,
            every,
            written: 0,
            lines: LineFile::new("frames.jsonl", create("frames.jsonl")?),
            raw: create("frames.raw")?,
            raw_bytes: 0,
            expected: None,
            resting: false,
            requests: 0,
        })
    }

    /// Tells whether another picture can be asked for: no frame is shown unseen.
    pub fn is_idle(&self) -> bool {
        self.expected.is_none() && !self.resting
    }

    /// Notes that the card has had its time after a picture.
    pub fn rested(&mut self) {
        self.resting = false;
    }

    /// Prepares the next picture.
    ///
    /// # Errors
    ///
    /// When its memory cannot be marked as not written; without the mark nobody could tell when it is.
    pub fn start(&self) -> Result<Option<(usize, Job)>, AccessError> {
        let Some(slot) = self.slots.get(self.turn) else {
            return Ok(None);
        };
        if !slot.marked.get() {
            slot.mark(self.size)?;
        }
        Ok(Some((self.turn, Job::new(slot.framebuffer.handle()))))
    }

    /// Notes that the card was asked for the picture at `place`, for a frame that shows `buffer`.
    ///
    /// Asked again for the same frame, the number that the frame has is kept.
    pub fn submitted(&mut self, place: usize, fence: Option<OwnedFd>, buffer: u64) {
        let frame = self.expected.take().and_then(|expected| expected.frame);
        self.expected = Some(Expected {
            place,
            frame,
            buffer,
            fence,
        });
        self.turn = (place + 1) % self.slots.len().max(1);
        self.requests += 1;
    }

    /// Notes which frame of the report the picture is of.
    pub fn number(&mut self, frame: Option<u64>) {
        if let Some(expected) = &mut self.expected {
            expected.frame = frame;
        }
    }

    /// Returns the fence of the picture that was asked for last, once.
    pub fn take_fence(&mut self) -> Option<OwnedFd> {
        self.expected.as_mut()?.fence.take()
    }

    /// Returns how often a picture was asked for, if one is still expected.
    pub fn outstanding(&self) -> Option<u64> {
        self.expected.as_ref().map(|_| self.requests)
    }

    /// Gives up on the picture that is expected, because its frame will not be shown.
    pub fn abandon(&mut self) {
        self.expected = None;
    }

    /// Looks whether the expected picture is written, and puts it down if so; [`rested`](Self::rested) is due a while later.
    ///
    /// # Errors
    ///
    /// When the picture cannot be read.
    pub fn look(&mut self) -> io::Result<bool> {
        let Some(expected) = &self.expected else {
            return Ok(false);
        };
        let (place, frame, buffer) = (expected.place, expected.frame, expected.buffer);
        let Some(slot) = self.slots.get(place) else {
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
        let mut sum = Checksum::default();
        let mut kept = keep.then_some(Ok(()));
        for y in 0..height {
            guard
                .read_row(0, y, 0, &mut row)
                .map_err(io::Error::other)?;
            sum.add_row(&row);
            if matches!(kept, Some(Ok(()))) {
                kept = Some(self.raw.write_all(&row));
            }
        }
        drop(guard);
        slot.marked.set(false);
        if let Err(error) = slot.mark(self.size) {
            // It is marked when its turn comes.
            tracing::debug!(%error, "a picture that was written back stays as it is");
        }
        self.expected = None;
        self.resting = true;
        let offset = matches!(kept, Some(Ok(()))).then_some(self.raw_bytes);
        match kept {
            Some(Ok(())) => {
                let bytes = u64::try_from(row.len()).unwrap_or(0) * u64::from(height);
                self.raw_bytes = self.raw_bytes.saturating_add(bytes);
            }
            // A full disk costs this picture its pixels, and nobody a frame.
            Some(Err(error)) => {
                self.lines.lose(error);
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
            "checksum": format!("{:016x}", sum.value()),
            "offset": offset,
        });
        self.lines.write(&line.to_string());
        Ok(true)
    }
}

impl Slot {
    /// Marks the picture as not written.
    fn mark(&self, size: (u16, u16)) -> Result<(), AccessError> {
        let row = UNWRITTEN.repeat(usize::from(size.0));
        let last = u32::from(size.1).saturating_sub(1);
        persist(|| self.mapping.access(CpuAccess::Write))?.write_row(0, last, 0, &row)?;
        self.marked.set(true);
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
        let sum = |row: &[u8]| {
            let mut sum = Checksum::default();
            sum.add_row(row);
            sum.value()
        };
        assert_eq!(sum(&[1, 2, 3, 0]), sum(&[1, 2, 3, 255]));
        assert_ne!(sum(&[1, 2, 3, 0]), sum(&[1, 2, 4, 0]));
        assert_ne!(
            sum(&[1, 2, 3, 0, 4, 5, 6, 0]),
            sum(&[4, 5, 6, 0, 1, 2, 3, 0])
        );
    }
}
