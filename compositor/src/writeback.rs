//! Proof of what was shown: every frame's picture, written back by the card, as a line with a checksum and, when asked, as
//! raw pixels.
//!
//! `DIR/frames.jsonl` has one line a frame: its number in the report (0 for a redraw without new content), the dma-buf that was shown, the checksum, and where its pixels are in
//! `DIR/frames.raw` (rows of XRGB8888 without gaps), or null.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{CpuAccess, Mapping};
use covalent_alloc::constraint::Role;
use covalent_alloc::model::Extent;
use serde_json::json;

use crate::backend::pictures::{plan, processor};
use crate::kms::{Job, WritebackConnector};
use crate::render::PixelFormat;

/// Pictures that can be under way at a time: one is written while others are read.
const SLOTS: usize = 3;

/// Pictures that a card writes back.
#[derive(Debug)]
pub struct Writeback {
    slots: Vec<Slot>,
    size: (u16, u16),
    every: u64,
    written: u64,
    lines: File,
    raw: File,
    raw_bytes: u64,
    submitted: Option<Submitted>,
}

#[derive(Debug)]
struct Slot {
    framebuffer: Framebuffer,
    mapping: Mapping,
    busy: bool,
}

/// A picture that the card is writing.
#[derive(Debug)]
pub struct Submitted {
    /// Which picture.
    pub place: usize,
    /// Signals when it is written; `None` when it is already.
    pub fence: Option<OwnedFd>,
    /// Inode of the dma-buf that the frame showed.
    pub buffer: u64,
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
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let create = |name: &str| {
            let path = directory.join(name);
            File::create(&path).with_context(|| format!("{} cannot be made", path.display()))
        };
        let extent = Extent::new(u32::from(size.0), u32::from(size.1))?;
        let count = u32::try_from(SLOTS)?;
        let reader = processor(Role::CpuRead);
        let slots = plan(card, extent, count, vec![card.importer(), reader])?
            .into_iter()
            .map(|buffer| {
                Ok(Slot {
                    framebuffer: card.framebuffer(&buffer)?,
                    mapping: buffer.map()?,
                    busy: false,
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            slots,
            size,
            every,
            written: 0,
            lines: create("frames.jsonl")?,
            raw: create("frames.raw")?,
            raw_bytes: 0,
            submitted: None,
        })
    }

    /// Tells whether another picture can be asked for: no frame is shown unseen.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().any(|slot| !slot.busy)
    }

    /// Prepares the next picture.
    pub fn start(&mut self) -> Option<(usize, Job)> {
        let place = self.slots.iter().position(|slot| !slot.busy)?;
        let slot = self.slots.get(place)?;
        Some((place, Job::new(slot.framebuffer.handle())))
    }

    /// Notes that the card writes the picture at `place`, for a frame that shows `buffer`.
    pub fn submitted(&mut self, place: usize, fence: Option<OwnedFd>, buffer: u64) {
        if let Some(slot) = self.slots.get_mut(place) {
            slot.busy = true;
        }
        self.submitted = Some(Submitted {
            place,
            fence,
            buffer,
        });
    }

    /// Returns the picture that was submitted last, once.
    pub fn take_submitted(&mut self) -> Option<Submitted> {
        self.submitted.take()
    }

    /// Reads a picture that is written, and puts it down as that of frame number `frame` of the report.
    ///
    /// # Errors
    ///
    /// When the picture cannot be read or the files cannot be written.
    pub fn finished(&mut self, place: usize, frame: Option<u64>, buffer: u64) -> io::Result<()> {
        let (width, height) = (usize::from(self.size.0), u32::from(self.size.1));
        let keep = self.every > 0 && self.written % self.every == 0;
        let Some(slot) = self.slots.get_mut(place) else {
            return Ok(());
        };
        slot.busy = false;
        let guard = slot
            .mapping
            .access(CpuAccess::Read)
            .map_err(io::Error::other)?;
        let mut row = vec![0; width * 4];
        let mut sum = Checksum::default();
        for y in 0..height {
            guard
                .read_row(0, y, 0, &mut row)
                .map_err(io::Error::other)?;
            sum.add_row(&row);
            if keep {
                self.raw.write_all(&row)?;
            }
        }
        drop(guard);
        let offset = keep.then_some(self.raw_bytes);
        if keep {
            let bytes = u64::try_from(row.len()).unwrap_or(0) * u64::from(height);
            self.raw_bytes = self.raw_bytes.saturating_add(bytes);
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
        let mut text = line.to_string();
        text.push('\n');
        self.lines.write_all(text.as_bytes())
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
