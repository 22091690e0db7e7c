//! Whether a scene is one client's buffer and nothing else, so that the display can show that buffer itself.

use crate::dmabuf::FramebufferRejection;
use crate::kms::KmsError;
use crate::region::Rect;
use crate::render::Pixels;
use crate::render::format;
use crate::scene::{Role, Scene, SceneLayer};
use crate::transient::FaultKind;

/// Why a client's buffer is not on the display directly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanoutRejection {
    /// There is no surface.
    #[error("nothing is shown")]
    Nothing,
    /// The highest window does not fill the output.
    #[error("the window {0:?} is not fullscreen")]
    Windowed(String),
    /// A subsurface is above.
    #[error("a subsurface of the window is above it")]
    Subsurface,
    /// A popup is above.
    #[error("a popup is above the window")]
    Popup,
    /// The buffer is not memory that a display can read.
    #[error("the buffer is wl_shm memory of the client, which no display reads")]
    Shm,
    /// The buffer's size is not the mode's.
    #[error(
        "the buffer is {0}x{1} and the mode is {2}x{3}; this plane neither scales nor covers a part (--mode or --match-mode can make them equal)"
    )]
    Size(usize, usize, i32, i32),
    /// The buffer would have to be cropped, scaled or turned.
    #[error("the surface crops, scales or turns its buffer")]
    Transformed,
    /// What is below shines through.
    #[error("the buffer's alpha channel counts: its surface is not declared opaque")]
    Translucent,
    /// The plane cannot show the format.
    #[error("the plane does not take {} with modifier {modifier:#x}", format::name(*.fourcc))]
    Format {
        /// Format of the buffer.
        fourcc: u32,
        /// Its modifier.
        modifier: u64,
    },
    /// The card made no framebuffer of the buffer.
    #[error("{device} made no framebuffer of the buffer: {rejection}")]
    Framebuffer {
        /// The card.
        device: String,
        /// What it answered.
        #[source]
        rejection: FramebufferRejection,
    },
    /// The card refused to show the framebuffer.
    #[error("{device} refused the framebuffer in a test commit: {source}")]
    Test {
        /// The card.
        device: String,
        /// What it answered.
        source: KmsError,
    },
    /// The card took the test, and then refused the frame.
    #[error("{device} refused the frame after it had passed the test: {source}")]
    Commit {
        /// The card.
        device: String,
        /// What it answered.
        source: KmsError,
    },
    /// There is no display.
    #[error("the output is virtual: nothing scans out")]
    VirtualOutput,
}

impl ScanoutRejection {
    /// Tells whether the display may take the same buffer a moment later.
    pub fn is_transient(&self) -> bool {
        FaultKind::of(self) != FaultKind::Permanent
    }
}

/// Returns the one layer that is all there is to see, if its buffer covers the output pixel by pixel.
///
/// # Errors
///
/// What stands in the way.
pub fn candidate(scene: &Scene, output: Rect) -> Result<&SceneLayer, ScanoutRejection> {
    let layer = *scene
        .visible(output)
        .last()
        .ok_or(ScanoutRejection::Nothing)?;
    if !layer.window.fullscreen {
        return Err(ScanoutRejection::Windowed(layer.window.name()));
    }
    match layer.role {
        Role::Window => {}
        Role::Subsurface => return Err(ScanoutRejection::Subsurface),
        Role::Popup => return Err(ScanoutRejection::Popup),
    }
    if layer.content.dmabuf().is_none() {
        return Err(ScanoutRejection::Shm);
    }
    let (width, height) = layer.content.size();
    let whole = (0.0, 0.0, f64::from(output.width), f64::from(output.height));
    let fits = |size: usize, mode: i32| i32::try_from(size) == Ok(mode);
    // The size first: a client that scales does so because its buffer has another one.
    if !fits(width, output.width) || !fits(height, output.height) {
        return Err(ScanoutRejection::Size(
            width,
            height,
            output.width,
            output.height,
        ));
    }
    if !layer.view.is_plain() {
        return Err(ScanoutRejection::Transformed);
    }
    if layer.view.destination != output || layer.view.source != whole {
        return Err(ScanoutRejection::Transformed);
    }
    if !layer.opaque.covers(output) {
        return Err(ScanoutRejection::Translucent);
    }
    Ok(layer)
}
