//! Direct scanout: finds the client buffer that covers the output, or the reason why there is none.

use crate::dmabuf::FramebufferRejection;
use crate::kms::KmsError;
use crate::region::Rect;
use crate::render::Pixels;
use crate::render::format;
use crate::scene::{Role, Scene, SceneLayer};
use crate::transient::FaultKind;

/// The reason why a frame cannot use direct scanout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanoutRejection {
    /// No surface is visible.
    #[error("no surface is visible")]
    Nothing,
    /// The highest window is not fullscreen.
    #[error("the window {0:?} is not fullscreen")]
    Windowed(String),
    /// A subsurface is the highest surface.
    #[error("a subsurface is above the fullscreen window")]
    Subsurface,
    /// A popup is the highest surface.
    #[error("a popup is above the fullscreen window")]
    Popup,
    /// The buffer is `wl_shm` memory.
    #[error("the buffer is wl_shm memory, which a display cannot scan out")]
    Shm,
    /// The buffer's size differs from the mode's.
    #[error(
        "the buffer is {0}x{1} and the mode is {2}x{3}; the plane is used without scaling (--mode or --match-mode can make the sizes equal)"
    )]
    Size(usize, usize, i32, i32),
    /// The buffer is cropped, scaled or transformed.
    #[error("the surface crops, scales or transforms its buffer")]
    Transformed,
    /// The surface is translucent.
    #[error(
        "the buffer has an alpha channel and the opaque region of its surface does not cover the output"
    )]
    Translucent,
    /// The plane does not support the format or the modifier.
    #[error("the plane does not support {} with modifier {modifier:#x}", format::name(*.fourcc))]
    Format {
        /// The format of the buffer.
        fourcc: u32,
        /// The modifier of the buffer.
        modifier: u64,
    },
    /// The card rejected the framebuffer.
    #[error("{device} rejected the framebuffer of the buffer: {rejection}")]
    Framebuffer {
        /// The card.
        device: String,
        /// The error of the card.
        #[source]
        rejection: FramebufferRejection,
    },
    /// The card rejected the test commit.
    #[error("{device} rejected the test commit of the buffer: {source}")]
    Test {
        /// The card.
        device: String,
        /// The error of the card.
        source: KmsError,
    },
    /// The card rejected the commit after the test commit had passed.
    #[error(
        "{device} rejected the commit of the buffer after its test commit had passed: {source}"
    )]
    Commit {
        /// The card.
        device: String,
        /// The error of the card.
        source: KmsError,
    },
    /// The output is virtual.
    #[error("the output is virtual and has no scanout")]
    VirtualOutput,
}

impl ScanoutRejection {
    /// Returns whether another attempt with the same buffer may succeed.
    pub fn is_transient(&self) -> bool {
        FaultKind::of(self) != FaultKind::Permanent
    }
}

/// Returns the layer whose buffer covers the output pixel by pixel, so that it can be scanned out.
///
/// # Errors
///
/// The reason why no layer can be scanned out.
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
    // The size is checked first: a client scales because its buffer has another size, which is the more useful reason.
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
