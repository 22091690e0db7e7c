//! Capture of the frame on the display, for screenshots.

use std::path::Path;

use covalent_alloc::buffer::cpu_traffic;

use super::Screen;
use crate::render::Pixels;
use crate::state::State;
use crate::transient::FaultKind;

/// The number of attempts to read the frame if reading fails transiently. They are made at once, since a later attempt would
/// read another frame.
const ATTEMPTS: u32 = 8;

impl State {
    pub(super) fn save_screenshot(&mut self, path: &Path) {
        let before = cpu_traffic();
        let mut captured = self.screen.capture();
        for _ in 1..ATTEMPTS {
            match &captured {
                Err(error) if FaultKind::of(&**error).is_transient() => {
                    tracing::debug!(
                        "reading the frame for a screenshot failed and is retried: {error:#}"
                    );
                    captured = self.screen.capture();
                }
                _ => break,
            }
        }
        let saved = captured.and_then(|(size, colours)| {
            crate::screenshot::save(path, size, &colours)
                .map_err(|error| anyhow::Error::new(error).context(format!("{}", path.display())))
        });
        self.screen.copy_counter.exclude(before);
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
        if let Some(content) = &frame.scanout_content {
            let (width, height) = content.size();
            let colours = crate::screenshot::decode(&**content)?;
            return Ok(((u32::try_from(width)?, u32::try_from(height)?), colours));
        }
        let Some(index) = frame.output_buffer else {
            // The frame is the black output buffer.
            let mode = self.backend.mode();
            let size = (u32::try_from(mode.width)?, u32::try_from(mode.height)?);
            let pixels = usize::try_from(mode.rect().area())?;
            return Ok((size, vec![0xff00_0000; pixels]));
        };
        let target = self
            .backend
            .swapchain()
            .target(index)
            .ok_or_else(|| anyhow::anyhow!("the output buffer of the frame was replaced"))?;
        self.renderer.software().check_output_buffer_fault()?;
        let (width, height) = target.size();
        let colours = match (target.dmabuf(), self.renderer.gles()) {
            (Some(gpu_buffer), Some(gles)) => gles.read(gpu_buffer)?,
            _ => target.read()?,
        };
        Ok(((u32::try_from(width)?, u32::try_from(height)?), colours))
    }
}
