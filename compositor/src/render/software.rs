//! The CPU renderer: rows of the clients' buffers are read, blended in a scratch row and written once.
//!
//! Every damaged pixel of the target is written exactly once, whatever the number of layers. The number of written bytes is
//! therefore proportional to the damaged area; [`Target`] counts them.
//!
//! ```text
//!   output pixel ──▶ place in the layer (destination) ──▶ place in its source rectangle ──▶ buffer pixel (transform undone)
//! ```

mod pieces;
mod scaled;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;

use pieces::{Piece, divide};
use scaled::{Scaled, whole};

use crate::faults::{SharedFaults, inject};
use crate::region::{Rect, Region};
use crate::render::blend::over_row;
use crate::render::colour::ColorRepresentation;
use crate::render::decode::{Encoding, ReadPlanes, RowDecoder, offset};
use crate::render::format::PixelFormat;
use crate::render::gles::GpuSource;
use crate::render::target::{Target, WriteRows};
use crate::render::view::BufferView;

/// The number of pixels that are copied at once. So many pixels stay in the CPU's second-level cache until they are written.
const BAND_PIXELS: usize = 1 << 14;

/// A client's buffer that a renderer can read.
pub trait Pixels {
    /// Returns the pixel format.
    fn format(&self) -> PixelFormat;
    /// Returns the width and height in pixels.
    fn size(&self) -> (usize, usize);
    /// Starts CPU read access.
    ///
    /// # Errors
    ///
    /// When the buffer cannot be accessed.
    fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>>;
    /// Returns the dma-buf and the texture caches for the GPU renderer; `None` for memory that has to be uploaded in each frame.
    fn gpu(&self) -> Option<GpuSource<'_>> {
        None
    }
}

/// A client's buffer, and where and how a renderer draws it.
pub struct Layer<'a> {
    /// The client's buffer.
    pub pixels: &'a dyn Pixels,
    /// The conversion of the sample values to colours.
    pub colour: ColorRepresentation,
    /// The source and destination rectangles.
    pub view: BufferView,
    /// The opaque region in output pixels.
    pub opaque: Region,
}

impl Layer<'_> {
    /// Returns the format, size and colour representation of the buffer.
    pub fn encoding(&self) -> Encoding {
        Encoding {
            format: self.pixels.format(),
            size: self.pixels.size(),
            colour: self.colour,
        }
    }
}

/// The CPU renderer. Its scratch memory is reused for each frame.
#[derive(Debug, Default)]
pub struct Software {
    decoder: RowDecoder,
    part: Vec<u32>,
    /// Scratch memory for rows that are copied unchanged.
    band: Vec<u32>,
    faults: Option<SharedFaults>,
}

/// A layer that could not be read.
#[derive(Debug)]
pub struct LayerError {
    /// The index of the layer in the list of layers that the renderer got.
    pub layer: usize,
    /// The error of the read access.
    pub error: io::Error,
}

impl Software {
    /// Sets the faults that a test injects.
    pub fn set_faults(&mut self, faults: SharedFaults) {
        self.faults = Some(faults);
    }

    /// Returns the injected error for CPU access to an output buffer, if a test injects one.
    pub(crate) fn check_output_buffer_fault(&self) -> io::Result<()> {
        inject(self.faults.as_ref(), |faults| faults.access_output_buffer())
    }

    /// Draws `layers`, from the bottom to the top, over `background` into the damaged region of `target`.
    ///
    /// A layer that cannot be read is skipped, and returned with the error. All other layers are drawn.
    ///
    /// # Errors
    ///
    /// When the target cannot be written.
    pub fn draw(
        &mut self,
        target: &mut Target,
        damage: &Region,
        background: u32,
        layers: &[Layer<'_>],
    ) -> io::Result<Vec<LayerError>> {
        let pieces = divide(damage, layers);
        let mut sources = Sources {
            layers,
            opened: layers.iter().map(|_| Source::Nothing).collect(),
            failed: Vec::new(),
        };
        let shown: BTreeSet<usize> = pieces
            .iter()
            .flat_map(|piece| piece.base.iter().chain(&piece.above).copied())
            .collect();
        for position in shown {
            sources.open(position, self.faults.as_ref());
        }
        self.check_output_buffer_fault()?;
        target.write(&mut |rows| {
            for piece in &pieces {
                if self.copy_piece(&mut sources, piece, rows)? {
                    continue;
                }
                let width = usize::try_from(piece.rect.width).unwrap_or(0);
                for y in piece.rect.y..piece.rect.bottom() {
                    let line = Rect::new(piece.rect.x, y, piece.rect.width, 1);
                    rows.fill((piece.rect.x, y), width, &mut |row| {
                        self.draw_row(&mut sources, piece, line, background, row);
                    })?;
                }
            }
            Ok(())
        })?;
        Ok(sources.failed)
    }

    /// Copies a piece that shows one opaque buffer unchanged, several rows at a time. Returns `false` if the piece has to be
    /// drawn row by row: another layer is above the buffer, or its pixels have to be converted or scaled.
    fn copy_piece(
        &mut self,
        sources: &mut Sources<'_>,
        piece: &Piece,
        rows: &mut dyn WriteRows,
    ) -> io::Result<bool> {
        let Rect { x, width, .. } = piece.rect;
        let pixels = usize::try_from(width).unwrap_or(0);
        let Some(base) = piece.base.filter(|_| piece.above.is_empty() && pixels > 0) else {
            return Ok(false);
        };
        let max_rows = i32::try_from(BAND_PIXELS / pixels).unwrap_or(1).max(1);
        let mut y = piece.rect.y;
        while y < piece.rect.bottom() {
            let height = max_rows.min(piece.rect.bottom().saturating_sub(y));
            let count = usize::try_from(height).unwrap_or(0);
            self.band.resize(pixels.saturating_mul(count), 0);
            let band = Rect::new(x, y, width, height);
            if !sources.copy_rows(base, band, &mut self.band) {
                return Ok(false);
            }
            for row in self.band.chunks_exact(pixels) {
                rows.copy((x, y), row)?;
                y = y.saturating_add(1);
            }
        }
        Ok(true)
    }

    /// Draws the layers of a piece into one of its rows.
    fn draw_row(
        &mut self,
        sources: &mut Sources<'_>,
        piece: &Piece,
        line: Rect,
        background: u32,
        row: &mut [u32],
    ) {
        let has_base = piece
            .base
            .is_some_and(|base| sources.read(base, &mut self.decoder, line, Alpha::Ignored, row));
        if !has_base {
            row.fill(background);
        }
        for position in &piece.above {
            let Some(layer) = sources.layers.get(*position) else {
                continue;
            };
            let Some(common) = line.intersection(layer.view.destination) else {
                continue;
            };
            self.part
                .resize(usize::try_from(common.width).unwrap_or(0), 0);
            let (decoder, part) = (&mut self.decoder, &mut self.part);
            if sources.read(*position, decoder, common, Alpha::Used, part) {
                let start = usize::try_from(common.x.saturating_sub(line.x)).unwrap_or(0);
                let end = start.saturating_add(part.len());
                if let Some(below) = row.get_mut(start..end) {
                    over_row(part, below);
                }
            }
        }
    }
}

/// Whether the alpha of a layer's pixels is used. It is ignored for the base layer of a piece, which is opaque there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpha {
    Used,
    Ignored,
}

/// Read access to the layers' buffers while a frame is drawn.
struct Sources<'a> {
    layers: &'a [Layer<'a>],
    opened: Vec<Source<'a>>,
    failed: Vec<LayerError>,
}

/// Read access to one layer's buffer while a frame is drawn.
enum Source<'a> {
    /// The layer is not visible, or its buffer cannot be read.
    Nothing,
    /// The buffer is neither scaled nor transformed: each output pixel is one buffer pixel.
    Plain(Box<dyn ReadPlanes + 'a>),
    /// The buffer is scaled or transformed.
    Scaled(Box<Scaled<'a>>),
}

impl<'a> Sources<'a> {
    /// Starts CPU access to a layer's buffer.
    fn open(&mut self, position: usize, faults: Option<&SharedFaults>) {
        let layers: &'a [Layer<'a>] = self.layers;
        let (Some(layer), Some(source)) = (layers.get(position), self.opened.get_mut(position))
        else {
            return;
        };
        let opened =
            inject(faults, |faults| faults.read_client_buffer()).and_then(|()| layer.pixels.open());
        match opened {
            Ok(planes) if layer.view.is_plain() => *source = Source::Plain(planes),
            Ok(planes) => {
                let scaled = Scaled::new(layer.encoding(), layer.view, planes);
                *source = Source::Scaled(Box::new(scaled));
            }
            Err(error) => self.failed.push(LayerError {
                layer: position,
                error,
            }),
        }
    }

    /// Copies the pixels of an opaque layer inside of `band` if they need no conversion. Returns whether they were copied.
    fn copy_rows(&mut self, position: usize, band: Rect, into: &mut [u32]) -> bool {
        let (Some(layer), Some(source)) =
            (self.layers.get(position), self.opened.get_mut(position))
        else {
            return false;
        };
        let is_32_bits = matches!(
            layer.pixels.format(),
            PixelFormat::Xrgb8888 | PixelFormat::Argb8888
        );
        let Source::Plain(planes) = source else {
            return false;
        };
        if !is_32_bits || cfg!(target_endian = "big") {
            return false;
        }
        let row_bytes = usize::try_from(band.width).unwrap_or(0).saturating_mul(4);
        let copied = buffer_position(layer, band).and_then(|(x, y)| {
            let offset = offset(&**planes, 0, y, x.saturating_mul(4))?;
            planes.read_rows(0, offset, row_bytes, bytemuck::cast_slice_mut(into))
        });
        if let Err(error) = copied {
            *source = Source::Nothing;
            self.failed.push(LayerError {
                layer: position,
                error,
            });
            return false;
        }
        true
    }

    /// Reads the pixels of a layer inside of `line`. Returns whether the layer could be read.
    fn read(
        &mut self,
        position: usize,
        decoder: &mut RowDecoder,
        line: Rect,
        alpha: Alpha,
        into: &mut [u32],
    ) -> bool {
        let (Some(layer), Some(source)) =
            (self.layers.get(position), self.opened.get_mut(position))
        else {
            return false;
        };
        let read = match source {
            Source::Nothing => return false,
            Source::Scaled(scaled) => scaled.row(decoder, line, into),
            Source::Plain(planes) => read_plain(&mut **planes, decoder, layer, line, alpha, into),
        };
        if let Err(error) = read {
            *source = Source::Nothing;
            self.failed.push(LayerError {
                layer: position,
                error,
            });
            return false;
        }
        true
    }
}

/// Returns the column and the row of the buffer's pixel that is shown at the upper left corner of `rect`. The layer must be
/// neither scaled nor transformed.
fn buffer_position(layer: &Layer<'_>, rect: Rect) -> io::Result<(usize, usize)> {
    let (source_x, source_y, _, _) = layer.view.source;
    let destination = layer.view.destination;
    let x = whole(source_x) + i64::from(rect.x) - i64::from(destination.x);
    let y = whole(source_y) + i64::from(rect.y) - i64::from(destination.y);
    let outside = |_| io::Error::from(io::ErrorKind::InvalidInput);
    Ok((
        usize::try_from(x).map_err(outside)?,
        usize::try_from(y).map_err(outside)?,
    ))
}

/// Reads pixels of a buffer that is neither scaled nor transformed.
fn read_plain(
    planes: &mut dyn ReadPlanes,
    decoder: &mut RowDecoder,
    layer: &Layer<'_>,
    line: Rect,
    alpha: Alpha,
    into: &mut [u32],
) -> io::Result<()> {
    let at = buffer_position(layer, line)?;
    let encoding = layer.encoding();
    match alpha {
        Alpha::Used => decoder.read(planes, &encoding, at, into),
        Alpha::Ignored => decoder.read_opaque(planes, &encoding, at, into),
    }
}
