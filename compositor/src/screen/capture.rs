//! Captures the frame on the display for screenshots.

use std::path::Path;

use covalent_alloc::buffer::cpu_traffic;

use super::Screen;
use crate::backend::ScannedOut;
use crate::memory_image::MemoryImage;
use crate::output_view::OutputId;
use crate::region::{Rect, Region};
use crate::render::memory::draw_by_cpu;
use crate::render::view::Transform;
use crate::render::{BufferView, ColorRepresentation, Layer};
use crate::state::State;
use crate::transient::FaultKind;

/// The number of attempts to read the frame if reading fails transiently. They are made without a delay, because a later attempt
/// would read another frame.
const ATTEMPTS: u32 = 8;

/// The colour of the display where nothing is shown (`0xAARRGGBB`).
const BLACK: u32 = 0xff00_0000;

impl State {
    /// Saves the frame on the display as a PNG file. Errors are only logged.
    pub(super) fn save_screenshot(&mut self, id: OutputId, path: &Path) {
        let before = cpu_traffic();
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let mut captured = screen.capture();
        for _ in 1..ATTEMPTS {
            match &captured {
                Err(error) if FaultKind::of(&**error).is_transient() => {
                    tracing::debug!(
                        "reading the frame for a screenshot failed and is retried: {error:#}"
                    );
                    captured = screen.capture();
                }
                _ => break,
            }
        }
        let saved = captured.and_then(|(size, colours)| {
            crate::screenshot::save(path, size, &colours)
                .map_err(|error| anyhow::Error::new(error).context(format!("{}", path.display())))
        });
        self.outputs.copy_counter.exclude(before);
        match saved {
            Ok(()) => tracing::info!(path = %path.display(), "the screenshot was saved"),
            Err(error) => tracing::error!("the screenshot cannot be saved: {error:#}"),
        }
    }
}

impl Screen {
    /// Reads the frame on the display; returns its size in pixels and its pixels (`0xAARRGGBB`).
    ///
    /// # Errors
    ///
    /// When no frame was shown yet, or its buffer cannot be read.
    pub fn capture(&mut self) -> anyhow::Result<((u32, u32), Vec<u32>)> {
        let frame = self
            .on_display
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no frame was shown yet"))?;
        let mode = self.backend.mode();
        let size = (u32::try_from(mode.width)?, u32::try_from(mode.height)?);
        let shown: Vec<ScannedOut> = frame.scanned_out.clone();
        let Some(index) = frame.output_buffer else {
            // If no output buffer is shown, the background behind the planes is black.
            let colours = vec![BLACK; usize::try_from(mode.rect().area())?];
            return Ok((size, self.draw_over(colours, mode.rect(), &shown)?));
        };
        let target = self
            .backend
            .swapchain()
            .target(index)
            .ok_or_else(|| anyhow::anyhow!("the output buffer of the frame was replaced"))?;
        let mut renderer = self.renderer.borrow_mut();
        renderer.software().check_output_buffer_fault()?;
        let (width, height) = target.size();
        let colours = match (target.dmabuf(), renderer.gles()) {
            (Some(gpu_buffer), Some(gles)) => gles.read(gpu_buffer)?,
            _ => target.read()?,
        };
        drop(renderer);
        let bounds = Rect::of_size(i32::try_from(width)?, i32::try_from(height)?);
        let colours = self.draw_over(colours, bounds, &shown)?;
        Ok(((u32::try_from(width)?, u32::try_from(height)?), colours))
    }

    /// Draws the clients' buffers on planes over the pixels of the output buffer, as the display does.
    fn draw_over(
        &mut self,
        colours: Vec<u32>,
        bounds: Rect,
        shown: &[ScannedOut],
    ) -> anyhow::Result<Vec<u32>> {
        if shown.is_empty() {
            return Ok(colours);
        }
        let width = usize::try_from(bounds.width)?;
        let height = usize::try_from(bounds.height)?;
        let base = MemoryImage::from_pixels(width, colours.into_iter().map(u32::to_le_bytes));
        let base = Layer {
            pixels: &base,
            colour: ColorRepresentation::default(),
            view: BufferView {
                source: (0.0, 0.0, f64::from(bounds.width), f64::from(bounds.height)),
                destination: bounds,
                transform: Transform::Normal,
            },
            opaque: Region::default(),
        };
        let layers = shown.iter().map(|shown| Layer {
            pixels: &*shown.content,
            colour: shown.colour,
            view: shown.view,
            opaque: Region::default(),
        });
        let layers: Vec<Layer<'_>> = std::iter::once(base).chain(layers).collect();
        let mut renderer = self.renderer.borrow_mut();
        let drawn = draw_by_cpu(&mut renderer, (width, height), BLACK, &layers)?;
        match drawn.failed.into_iter().next() {
            Some(failed) => Err(failed.error.into()),
            None => Ok(drawn.pixels),
        }
    }
}
