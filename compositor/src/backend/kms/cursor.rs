//! The buffers of the cursor plane.
//!
//! The pointer's image is copied into a buffer of the card once, when it changes. Moving the pointer changes only the position of
//! the plane.

use std::io;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{CpuAccess, Mapping};
use covalent_alloc::constraint::Role;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use drm::control::{framebuffer, plane};

use crate::backend::output_buffers::{allocate_dumb, cpu_participant_for};
use crate::cursor::{CursorLayer, PixelsId};
use crate::region::Rect;
use crate::render::{ColorRepresentation, Encoding, RowDecoder};
use crate::transient::retry_transient;

/// The number of buffers: one is on the display while another is written.
const BUFFER_COUNT: u32 = 2;

/// The smallest side of a cursor buffer in pixels. Every card accepts this size.
const SIDE_MIN: u32 = 64;

/// The buffers of the cursor plane. They are allocated when the pointer is first shown.
#[derive(Debug, Default)]
pub(super) struct CursorBuffers {
    slots: Vec<Slot>,
    side: u32,
    /// The slot that the last frame showed; its buffer is on the display.
    shown: Option<usize>,
    /// Smaller buffers that were replaced. The display may scan one of them out until the next page flip.
    retired: Vec<Slot>,
}

/// A buffer for the pointer's image.
#[derive(Debug)]
struct Slot {
    framebuffer: Framebuffer,
    mapping: Mapping,
    pixels: Option<PixelsId>,
}

/// Why the pointer cannot be shown on the cursor plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CursorRejection {
    /// The pointer's image is larger than the cursor plane shows.
    #[error("the image of the pointer has {0}x{1} pixels, and the cursor plane at most {2}x{2}")]
    Size(u32, u32, u32),
    /// The cursor surface scales or transforms its buffer.
    #[error("the surface of the pointer scales or transforms its buffer")]
    Transformed,
    /// The buffers cannot be allocated, or the image cannot be read.
    #[error("the image of the pointer cannot be copied for the cursor plane: {0}")]
    Io(#[from] io::Error),
}

/// Returns the rectangle of the pointer's image in its buffer. The image must be neither scaled nor transformed.
fn image_rect(cursor: &CursorLayer) -> Result<Rect, CursorRejection> {
    let source = cursor.view.source_pixels();
    let source = source.filter(|_| cursor.view.is_plain());
    let (width, height) = cursor.pixels().size();
    let whole = Rect::of_size(
        i32::try_from(width).unwrap_or(i32::MAX),
        i32::try_from(height).unwrap_or(i32::MAX),
    );
    source
        .filter(|source| !source.is_empty() && whole.contains(*source))
        .ok_or(CursorRejection::Transformed)
}

impl CursorBuffers {
    /// Returns the side of the square buffer for the pointer in pixels. `side_max` is the largest side that the plane shows.
    ///
    /// # Errors
    ///
    /// When the cursor plane cannot show the pointer.
    pub(super) fn side_for(cursor: &CursorLayer, side_max: u32) -> Result<u32, CursorRejection> {
        let rect = image_rect(cursor)?;
        let (width, height) = (rect.width.unsigned_abs(), rect.height.unsigned_abs());
        if width > side_max || height > side_max {
            return Err(CursorRejection::Size(width, height, side_max));
        }
        let needed = width.max(height).max(SIDE_MIN);
        let side = needed.checked_next_power_of_two().unwrap_or(side_max);
        Ok(side.min(side_max))
    }

    /// Returns a framebuffer with the pointer's image. The image is copied into a buffer if no buffer contains it yet.
    ///
    /// # Errors
    ///
    /// When the buffers cannot be allocated, or the image cannot be read.
    pub(super) fn prepare(
        &mut self,
        card: &Card,
        plane: plane::Handle,
        cursor: &CursorLayer,
        side: u32,
    ) -> Result<framebuffer::Handle, CursorRejection> {
        if self.slots.is_empty() || self.side < side {
            let slots = allocate(card, plane, side)?;
            self.retired.append(&mut self.slots);
            self.slots = slots;
            self.side = side;
            self.shown = None;
        }
        let pixels = Some(cursor.pixels_id());
        let with_pixels = self.slots.iter().position(|slot| slot.pixels == pixels);
        let index = match with_pixels {
            Some(index) => index,
            None => {
                let free = (0..self.slots.len()).find(|index| Some(*index) != self.shown);
                let index = free.unwrap_or(0);
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.pixels = None;
                    slot.write(cursor, self.side)?;
                    slot.pixels = pixels;
                }
                index
            }
        };
        let slot = self.slots.get(index).ok_or_else(|| {
            io::Error::other("the card allocated fewer buffers for the pointer than planned")
        })?;
        Ok(slot.framebuffer.handle())
    }

    /// Returns the side of the buffers in pixels, which is the size that the cursor plane shows.
    pub(super) fn side(&self) -> u32 {
        self.side
    }

    /// Records which cursor framebuffer the submitted frame shows; `None` if the cursor plane is off.
    pub(super) fn submitted(&mut self, shown: Option<framebuffer::Handle>) {
        let mut slots = self.slots.iter();
        self.shown = slots.position(|slot| Some(slot.framebuffer.handle()) == shown);
    }

    /// Handles the page flip of the frame that was submitted last.
    pub(super) fn flipped(&mut self) {
        self.retired.clear();
    }
}

impl Slot {
    /// Writes the pointer's image to the upper left corner of the buffer, and transparent pixels to the remaining area.
    fn write(&self, cursor: &CursorLayer, side: u32) -> Result<(), CursorRejection> {
        let rect = image_rect(cursor)?;
        let pixels = cursor.pixels();
        let encoding = Encoding {
            format: pixels.format(),
            size: pixels.size(),
            colour: ColorRepresentation::default(),
        };
        let unsigned = |value: i32| usize::try_from(value).unwrap_or(0);
        let mut decoder = RowDecoder::default();
        let mut planes = pixels.open()?;
        let mut colours = vec![0_u32; unsigned(rect.width)];
        let side_pixels = usize::try_from(side).unwrap_or(0);
        let guard =
            retry_transient(|| self.mapping.access(CpuAccess::Write)).map_err(io::Error::other)?;
        for y in 0..side {
            let row = usize::try_from(y).unwrap_or(usize::MAX);
            let mut bytes: Vec<u8> = Vec::with_capacity(side_pixels.saturating_mul(4));
            if row < unsigned(rect.height) {
                let start = (unsigned(rect.x), unsigned(rect.y).saturating_add(row));
                decoder.read(&mut *planes, &encoding, start, &mut colours)?;
                bytes.extend(colours.iter().flat_map(|colour| colour.to_le_bytes()));
            }
            bytes.resize(side_pixels.saturating_mul(4), 0);
            guard.write_row(0, y, 0, &bytes).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Allocates the buffers of a cursor plane, each `side` pixels wide and high.
fn allocate(card: &Card, plane: plane::Handle, side: u32) -> Result<Vec<Slot>, CursorRejection> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| io::Error::other(error);
    let display = card
        .participant(plane)
        .map_err(|error| failed(error.into()))?;
    let format = FormatModifier::linear(Fourcc::ARGB8888);
    let writer = cpu_participant_for(Role::CpuWrite, format);
    let extent = Extent::new(side, side).map_err(|error| failed(error.into()))?;
    let buffers = allocate_dumb(card, extent, BUFFER_COUNT, vec![display, writer])
        .map_err(|error| failed(error.into()))?;
    let slots = buffers.into_iter().map(|buffer| {
        Ok(Slot {
            framebuffer: card
                .framebuffer(&buffer)
                .map_err(|error| failed(error.into()))?,
            mapping: retry_transient(|| buffer.map()).map_err(|error| failed(error.into()))?,
            pixels: None,
        })
    });
    slots.collect()
}
