//! The CPU renderer: rows of the clients' buffers are read, blended in a scratch row and written once.
//!
//! Every damaged pixel of the target is written exactly once, independent of the number of layers. The cost of a frame is
//! therefore its damaged area, which the counters of [`Target`] report.
//!
//! ```text
//!   output pixel ──▶ place in the layer (destination) ──▶ place in its source rectangle ──▶ buffer pixel (transform undone)
//! ```

mod scaled;

use std::io;

use scaled::{Scaled, whole};

use crate::faults::{SharedFaults, inject};
use crate::region::{Rect, Region};
use crate::render::format::{PixelFormat, ReadPlanes, RowDecoder, over};
use crate::render::gles::GpuSource;
use crate::render::target::Target;

/// A client buffer that a renderer reads.
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
    /// Returns the source for the GPU renderer; `None` for memory that has to be uploaded for each frame.
    fn gpu(&self) -> Option<GpuSource<'_>> {
        None
    }
}

/// The transform that a surface applies to its buffer.
///
/// # References
///
/// `wl_output.transform` and `wl_surface.set_buffer_transform`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names of wl_output.transform
pub enum Transform {
    #[default]
    Normal,
    Rotated90,
    Rotated180,
    Rotated270,
    Flipped,
    Flipped90,
    Flipped180,
    Flipped270,
}

impl Transform {
    /// Returns width and height in pixels of a buffer after the transform.
    pub fn size(self, (width, height): (usize, usize)) -> (usize, usize) {
        match self {
            Self::Normal | Self::Rotated180 | Self::Flipped | Self::Flipped180 => (width, height),
            _ => (height, width),
        }
    }

    /// Maps a point of the transformed buffer, which has the given width and height, to the point of the buffer itself.
    pub(super) fn to_buffer(self, (x, y): (f64, f64), (width, height): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Normal => (x, y),
            // The client rotated its content counter-clockwise: the right edge of the surface is the upper edge of the buffer.
            Self::Rotated90 => (y, width - x),
            Self::Rotated180 => (width - x, height - y),
            Self::Rotated270 => (height - y, x),
            Self::Flipped => (width - x, y),
            Self::Flipped90 => (y, x),
            Self::Flipped180 => (x, height - y),
            Self::Flipped270 => (height - y, width - x),
        }
    }
}

/// The source and destination rectangles of a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The source rectangle in pixels of the transformed buffer: x, y, width, height.
    pub source: (f64, f64, f64, f64),
    /// The destination rectangle in output pixels.
    pub destination: Rect,
    /// The transform of the buffer.
    pub transform: Transform,
}

impl View {
    /// Returns whether the buffer is neither scaled nor transformed, so that each output pixel is one buffer pixel.
    pub fn is_plain(&self) -> bool {
        let (x, y, width, height) = self.source;
        self.transform == Transform::Normal
            && x.fract() == 0.0
            && y.fract() == 0.0
            && width == f64::from(self.destination.width)
            && height == f64::from(self.destination.height)
    }
}

/// A buffer with its position in the target.
pub struct Layer<'a> {
    /// The buffer.
    pub pixels: &'a dyn Pixels,
    /// The source and destination rectangles.
    pub view: View,
    /// The opaque region in output pixels.
    pub opaque: Region,
}

/// The CPU renderer. It keeps its scratch memory from frame to frame.
#[derive(Debug, Default)]
pub struct Software {
    decoder: RowDecoder,
    row: Vec<u32>,
    part: Vec<u32>,
    faults: Option<SharedFaults>,
}

/// A layer that could not be read.
#[derive(Debug)]
pub struct LayerError {
    /// The index in the list of layers.
    pub layer: usize,
    /// The error.
    pub error: io::Error,
}

impl Software {
    /// Sets the faults of a test.
    pub fn set_faults(&mut self, faults: SharedFaults) {
        self.faults = Some(faults);
    }

    /// Returns the injected error for CPU access to an output buffer, if a test injects one.
    pub(crate) fn check_output_buffer_fault(&self) -> io::Result<()> {
        inject(self.faults.as_ref(), |faults| faults.access_output_buffer())
    }

    /// Draws `layers`, the lowest first, over `background` into the damaged part of `target`.
    ///
    /// A layer that cannot be read is left out and returned. The target is complete except for this layer.
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
        let mut failed = Vec::new();
        let mut sources: Vec<Source<'_>> = Vec::with_capacity(layers.len());
        for (position, layer) in layers.iter().enumerate() {
            let visible = damage
                .rects()
                .iter()
                .any(|rect| rect.intersection(layer.view.destination).is_some());
            sources.push(if visible {
                let opened = inject(self.faults.as_ref(), |faults| faults.read_client_buffer())
                    .and_then(|()| Source::open(&mut self.decoder, layer));
                opened.unwrap_or_else(|error| {
                    failed.push(LayerError {
                        layer: position,
                        error,
                    });
                    Source::Nothing
                })
            } else {
                Source::Nothing
            });
        }
        self.check_output_buffer_fault()?;
        target.write(&mut |rows| {
            for rect in damage.rects() {
                // Layers below an opaque layer that covers the rectangle need not be read.
                let lowest = layers
                    .iter()
                    .rposition(|layer| layer.opaque.covers(*rect))
                    .unwrap_or(0);
                let width = usize::try_from(rect.width).unwrap_or(0);
                for y in rect.y..rect.bottom() {
                    self.row.clear();
                    self.row.resize(width, background);
                    for (position, layer) in layers.iter().enumerate().skip(lowest) {
                        let line = Rect::new(rect.x, y, rect.width, 1);
                        let Some(common) = line.intersection(layer.view.destination) else {
                            continue;
                        };
                        let count = usize::try_from(common.width).unwrap_or(0);
                        self.part.clear();
                        self.part.resize(count, 0);
                        let Some(source) = sources.get_mut(position) else {
                            continue;
                        };
                        let read = source.row(&mut self.decoder, layer, common, &mut self.part);
                        if let Err(error) = read {
                            *source = Source::Nothing;
                            failed.push(LayerError {
                                layer: position,
                                error,
                            });
                            continue;
                        }
                        let start = usize::try_from(common.x - rect.x).unwrap_or(0);
                        for (below, top) in self.row[start..].iter_mut().zip(&self.part) {
                            *below = over(*top, *below);
                        }
                    }
                    rows.write(rect.x, y, &self.row)?;
                }
            }
            Ok(())
        })?;
        Ok(failed)
    }
}

/// The source of a layer's pixels while a frame is drawn.
enum Source<'a> {
    /// The layer is not visible, or cannot be read.
    Nothing,
    /// The buffer is read row by row.
    Open(Box<dyn ReadPlanes + 'a>),
    /// The whole buffer is decoded, because it is scaled or transformed.
    Decoded(Scaled),
}

impl<'a> Source<'a> {
    fn open(decoder: &mut RowDecoder, layer: &Layer<'a>) -> io::Result<Self> {
        let planes = layer.pixels.open()?;
        if layer.view.is_plain() {
            return Ok(Self::Open(planes));
        }
        Scaled::decode(decoder, layer, planes).map(Self::Decoded)
    }

    /// Reads the pixels under `line`. The pixels of a layer that cannot be read stay transparent.
    fn row(
        &mut self,
        decoder: &mut RowDecoder,
        layer: &Layer<'_>,
        line: Rect,
        into: &mut [u32],
    ) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Decoded(decoded) => {
                decoded.sample(&layer.view, line, into);
                Ok(())
            }
            Self::Open(planes) => {
                let (source_x, source_y, _, _) = layer.view.source;
                let destination = layer.view.destination;
                let x = whole(source_x) + i64::from(line.x) - i64::from(destination.x);
                let y = whole(source_y) + i64::from(line.y) - i64::from(destination.y);
                let outside = |_| io::Error::from(io::ErrorKind::InvalidInput);
                let at = (
                    usize::try_from(x).map_err(outside)?,
                    usize::try_from(y).map_err(outside)?,
                );
                let (format, (_, rows)) = (layer.pixels.format(), layer.pixels.size());
                decoder.read(&mut **planes, format, rows, at, into)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::float;

    struct Picture {
        format: PixelFormat,
        size: (usize, usize),
        bytes: Vec<u8>,
    }

    impl Picture {
        fn plain(width: u32, height: u32, colour: impl Fn(u32, u32) -> u32) -> Self {
            let bytes = (0..height)
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .flat_map(|(x, y)| colour(x, y).to_le_bytes())
                .collect();
            Self {
                format: PixelFormat::Argb8888,
                size: (width as usize, height as usize),
                bytes,
            }
        }
    }

    struct Planes<'a>(&'a Picture);

    impl ReadPlanes for Planes<'_> {
        fn read(&mut self, _plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
            let bytes = self.0.bytes.get(offset..offset + into.len());
            into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn stride(&self, _plane: usize) -> usize {
            self.0.size.0 * 4
        }
    }

    impl Pixels for Picture {
        fn format(&self) -> PixelFormat {
            self.format
        }

        fn size(&self) -> (usize, usize) {
            self.size
        }

        fn open(&self) -> io::Result<Box<dyn ReadPlanes + '_>> {
            Ok(Box::new(Planes(self)))
        }
    }

    fn layer<'a>(
        pixels: &'a Picture,
        destination: Rect,
        transform: Transform,
        opaque: bool,
    ) -> Layer<'a> {
        let (width, height) = transform.size(pixels.size);
        Layer {
            pixels,
            view: View {
                source: (0.0, 0.0, float(width), float(height)),
                destination,
                transform,
            },
            opaque: if opaque {
                destination.into()
            } else {
                Region::default()
            },
        }
    }

    const BACKGROUND: u32 = 0xff00_0000;

    fn draw(layers: &[Layer<'_>], damage: Region) -> (Target, u64) {
        let mut target = Target::memory(8, 8);
        let before = target.written_bytes();
        let failed = Software::default().draw(&mut target, &damage, BACKGROUND, layers);
        assert!(failed.unwrap().is_empty());
        let written = target.written_bytes() - before;
        (target, written)
    }

    #[test]
    fn opaque_window_writes_only_its_own_bytes() {
        let buffer = Picture::plain(4, 3, |x, y| 0xff00_0000 | (y * 16 + x));
        let place = Rect::new(2, 2, 4, 3);
        let (target, written) = draw(
            &[layer(&buffer, place, Transform::Normal, true)],
            place.into(),
        );
        assert_eq!(written, 4 * 3 * 4);
        let shown = target.read().unwrap();
        assert_eq!(shown[2 * 8 + 2], 0xff00_0000);
        assert_eq!(shown[4 * 8 + 5], 0xff00_0023);
        assert_eq!(shown[0], 0, "a pixel that was not damaged was written");
    }

    #[test]
    fn window_partly_outside_of_the_output_is_clipped() {
        let buffer = Picture::plain(4, 4, |x, y| 0xff00_0000 | (y * 16 + x));
        let place = Rect::new(-2, -1, 4, 4);
        let (target, _) = draw(
            &[layer(&buffer, place, Transform::Normal, true)],
            Rect::of_size(8, 8).into(),
        );
        let shown = target.read().unwrap();
        assert_eq!(shown[0], 0xff00_0012);
        assert_eq!(shown[3 * 8], BACKGROUND);
    }

    #[test]
    fn translucent_window_is_blended_over_the_one_below() {
        let below = Picture::plain(8, 8, |_, _| 0xffff_ffff);
        let top = Picture::plain(8, 8, |_, _| 0x8000_0000);
        let full = Rect::of_size(8, 8);
        let (target, written) = draw(
            &[
                layer(&below, full, Transform::Normal, true),
                layer(&top, full, Transform::Normal, false),
            ],
            full.into(),
        );
        assert!(target.read().unwrap().iter().all(|c| *c == 0xff7f_7f7f));
        assert_eq!(
            written,
            8 * 8 * 4,
            "two layers, but each pixel is written once"
        );
    }

    #[test]
    fn scaled_buffer_keeps_its_corners() {
        let buffer = Picture::plain(2, 2, |x, y| 0xff00_0000 | (y * 0x80 + x * 0x40));
        let full = Rect::of_size(8, 8);
        let (target, _) = draw(
            &[layer(&buffer, full, Transform::Normal, true)],
            full.into(),
        );
        let shown = target.read().unwrap();
        assert_eq!([shown[0], shown[7]], [0xff00_0000, 0xff00_0040]);
        assert_eq!([shown[56], shown[63]], [0xff00_0080, 0xff00_00c0]);
    }

    #[test]
    fn transformed_buffer_has_its_first_pixel_where_the_protocol_puts_it() {
        // Only the buffer's left upper pixel is red; where is it after the transform is undone?
        let buffer = Picture::plain(8, 8, |x, y| {
            if (x, y) == (0, 0) {
                0xffff_0000
            } else {
                BACKGROUND
            }
        });
        let full = Rect::of_size(8, 8);
        let expected = [
            (Transform::Normal, 0),
            (Transform::Rotated90, 7),
            (Transform::Rotated180, 63),
            (Transform::Rotated270, 56),
            (Transform::Flipped, 7),
            (Transform::Flipped90, 0),
            (Transform::Flipped180, 56),
            (Transform::Flipped270, 63),
        ];
        for (transform, place) in expected {
            let (target, _) = draw(&[layer(&buffer, full, transform, true)], full.into());
            let shown = target.read().unwrap();
            assert_eq!(
                shown.iter().position(|colour| *colour == 0xffff_0000),
                Some(place),
                "{transform:?}"
            );
        }
    }

    #[test]
    fn layer_that_cannot_be_read_is_left_out_and_returned() {
        let mut broken = Picture::plain(8, 8, |_, _| 0xffff_ffff);
        broken.bytes.truncate(100);
        let mut target = Target::memory(8, 8);
        let full = Rect::of_size(8, 8);
        let layers = [layer(&broken, full, Transform::Normal, true)];
        let failed = Software::default().draw(&mut target, &full.into(), BACKGROUND, &layers);
        assert_eq!(failed.unwrap()[0].layer, 0);
        assert_eq!(target.read().unwrap()[63], BACKGROUND);
    }
}
