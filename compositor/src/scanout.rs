//! Direct scanout: checks whether the primary plane can show a client's buffer instead of an output buffer.

use crate::dmabuf::FramebufferRejection;
use crate::kms::{KmsError, YuvEncoding, YuvMatrix};
use crate::region::Rect;
use crate::render::Pixels;
use crate::render::colour::{AlphaMode, Coefficients, QuantizationRange};
use crate::render::format;
use crate::scene::{Role, SceneLayer};
use crate::transient::FaultKind;

/// The reason why a frame cannot use direct scanout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanoutRejection {
    /// The window is not fullscreen.
    #[error("the window {0:?} is not fullscreen")]
    Windowed(String),
    /// The surface is a subsurface.
    #[error("a subsurface is above the fullscreen window")]
    Subsurface,
    /// The surface is a popup.
    #[error("a popup is above the fullscreen window")]
    Popup,
    /// The surface is the icon of a drag.
    #[error("the icon of a drag is above the fullscreen window")]
    DragIcon,
    /// The buffer is `wl_shm` memory.
    #[error("the buffer is wl_shm memory, which a display cannot scan out")]
    Shm,
    /// The client set straight alpha.
    #[error("the client set straight alpha, and planes are used for premultiplied alpha only")]
    StraightAlpha,
    /// The client set a chroma location.
    #[error("the client set a chroma location, and only the renderers interpolate chroma")]
    ChromaLocation,
    /// The size of the buffer differs from that of the mode.
    #[error(
        "the buffer is {0}x{1} and the mode is {2}x{3}; the plane is used without scaling (--mode or --match-mode can make the sizes equal)"
    )]
    Size(usize, usize, i32, i32),
    /// The buffer is scaled or transformed.
    #[error("the surface scales or transforms its buffer")]
    Transformed,
    /// The surface is not completely opaque.
    #[error(
        "the buffer has an alpha channel and the opaque region of its surface does not cover the output"
    )]
    Translucent,
    /// The primary plane does not support the format or the modifier.
    #[error("the primary plane does not support {} with modifier {modifier:#x}", format::name(*.fourcc))]
    Format {
        /// The format of the buffer.
        fourcc: u32,
        /// The modifier of the buffer.
        modifier: u64,
    },
    /// The card rejected the import or the framebuffer of the buffer.
    #[error("{device} rejected the framebuffer of the buffer: {rejection}")]
    Framebuffer {
        /// The path of the card.
        device: String,
        /// The kernel's error of the request.
        #[source]
        rejection: FramebufferRejection,
    },
    /// The card rejected the test commit.
    #[error("{device} rejected the test commit of the buffer: {source}")]
    Test {
        /// The path of the card.
        device: String,
        /// The kernel's error of the request.
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

/// Returns the rectangle of a layer's buffer that covers the output without scaling, so that the primary plane can show it
/// instead of an output buffer. The rectangle may be smaller than the buffer: a decoder's buffer has more rows than its picture,
/// and the client crops it by `wp_viewport.set_source`.
///
/// # Errors
///
/// The reason why the primary plane cannot show the layer.
pub fn primary_candidate(layer: &SceneLayer, output: Rect) -> Result<Rect, ScanoutRejection> {
    if !layer.owner.window().is_some_and(|window| window.fullscreen) {
        return Err(ScanoutRejection::Windowed(layer.owner.name()));
    }
    match layer.role {
        Role::Window => {}
        Role::Subsurface => return Err(ScanoutRejection::Subsurface),
        Role::Popup => return Err(ScanoutRejection::Popup),
        Role::DragIcon => return Err(ScanoutRejection::DragIcon),
    }
    if layer.content.dmabuf().is_none() {
        return Err(ScanoutRejection::Shm);
    }
    let (width, height) = layer.content.size();
    let whole = i32::try_from(width).ok().zip(i32::try_from(height).ok());
    let whole = whole.map(|(width, height)| Rect::of_size(width, height));
    let source = layer.view.source_pixels();
    let is_cropped = source.is_some() && source != whole;
    // The size is checked first. If a client scales because its buffer has another size, the size is the more useful reason.
    if !is_cropped && whole != Some(Rect::of_size(output.width, output.height)) {
        return Err(ScanoutRejection::Size(
            width,
            height,
            output.width,
            output.height,
        ));
    }
    let Some(source) = source.filter(|_| layer.view.is_plain()) else {
        return Err(ScanoutRejection::Transformed);
    };
    if layer.view.destination != output {
        return Err(ScanoutRejection::Transformed);
    }
    if !layer.opaque.covers(output) {
        return Err(ScanoutRejection::Translucent);
    }
    Ok(source)
}

/// Returns the encoding with which a plane has to convert the YUV of a layer, so that it shows the same colours as the renderers;
/// `None` for RGB.
///
/// # Errors
///
/// When no plane can show these colours: a plane can neither interpolate chroma for a chroma location, nor blend straight alpha.
pub fn yuv_encoding(layer: &SceneLayer) -> Result<Option<YuvEncoding>, ScanoutRejection> {
    let format = layer.content.format();
    if !format.is_yuv() {
        return if layer.colour.alpha == AlphaMode::Straight && format.has_alpha() {
            Err(ScanoutRejection::StraightAlpha)
        } else {
            Ok(None)
        };
    }
    if layer.colour.chroma_location.is_some() {
        return Err(ScanoutRejection::ChromaLocation);
    }
    let (_, rows) = layer.content.size();
    let encoding = layer.colour.yuv_encoding(rows);
    Ok(Some(YuvEncoding {
        matrix: match encoding.coefficients {
            Coefficients::Bt601 => YuvMatrix::Bt601,
            Coefficients::Bt709 => YuvMatrix::Bt709,
            Coefficients::Bt2020 => YuvMatrix::Bt2020,
        },
        is_full_range: encoding.range == QuantizationRange::Full,
    }))
}
