//! The pointer's image: a surface of a client (`wl_pointer.set_cursor`), an image of the cursor theme, which the client may
//! choose (`wp_cursor_shape_device_v1.set_shape`), or a built-in arrow.
//!
//! The image is shown after the first motion of the pointer. A machine without a pointer device shows no image, so its fullscreen
//! windows can be scanned out without a cursor plane.

mod arrow;
mod theme;

use std::rc::Rc;
use std::time::Duration;

use smithay::input::pointer::{CursorIcon, CursorImageStatus, CursorImageSurfaceData};
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::{SurfaceAttributes, with_states};

use crate::content::Content;
use crate::memory_image::MemoryImage;
use crate::output_view::OutputView;
use crate::region::{Rect, Region};
use crate::render::view::Transform;
use crate::render::{BufferView, ColorRepresentation, Layer, Pixels};
use crate::stack::Stack;
use crate::state::State;
use theme::Theme;

/// The state of the pointer's image.
#[derive(Debug)]
pub struct Cursor {
    status: CursorImageStatus,
    /// The image of the theme, while `status` names one.
    image: Rc<CursorImage>,
    theme: Theme,
    has_moved: bool,
}

/// An image of the theme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorImage {
    pixels: MemoryImage,
    /// The pixel that is at the pointer's position.
    hotspot: (i32, i32),
}

/// The pixels of the pointer.
#[derive(Clone, Debug)]
pub enum CursorPixels {
    /// The content of a client's surface.
    Client(Rc<Content>),
    /// An image of the theme.
    Theme(Rc<CursorImage>),
}

/// Identifies the pixels of the pointer's image. If the values of two frames are equal, the pixels did not change between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelsId {
    address: usize,
    /// The time at which a client's buffer was acquired. It distinguishes the buffer from a later one at the same address.
    acquired: Option<Duration>,
}

/// The pointer's image in a frame.
#[derive(Clone, Debug)]
pub struct CursorLayer {
    /// The pixels of the pointer's image.
    pub pixels: CursorPixels,
    /// The source rectangle in the image and the destination rectangle on the output.
    pub view: BufferView,
    /// The pixel of the image that is at the pointer's position.
    pub hotspot: (i32, i32),
    /// The client's surface, if the pointer's image is a surface and not an image of the theme.
    pub surface: Option<WlSurface>,
}

/// The pointer's image in the previous frame, from which the damage of the next frame is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownCursor {
    pixels: PixelsId,
    view: BufferView,
}

impl ShownCursor {
    /// Returns the destination rectangle on the output.
    pub fn destination(&self) -> Rect {
        self.view.destination
    }
}

impl Default for Cursor {
    fn default() -> Self {
        let mut theme = Theme::load(None, None);
        Self {
            status: CursorImageStatus::default_named(),
            image: theme.image(CursorIcon::Default),
            theme,
            has_moved: false,
        }
    }
}

impl Cursor {
    /// Returns the client's surface that is the pointer's image, if there is one.
    pub fn surface(&self) -> Option<&WlSurface> {
        match &self.status {
            CursorImageStatus::Surface(surface) if surface.is_alive() => Some(surface),
            _ => None,
        }
    }

    /// Returns the shape of the theme that is the pointer's image; `None` for a client's surface or a hidden pointer.
    pub fn shape(&self) -> Option<CursorIcon> {
        match &self.status {
            CursorImageStatus::Named(icon) => Some(*icon),
            CursorImageStatus::Surface(_) | CursorImageStatus::Hidden => None,
        }
    }

    /// Returns the pointer's layer in pixels of an output; `None` if the pointer is hidden, has not moved yet, or is outside of
    /// the output.
    pub fn layer_on(
        &self,
        stack: &Stack,
        output: &OutputView,
        position: Point<f64, Logical>,
    ) -> Option<CursorLayer> {
        let position = position.to_i32_floor::<i32>();
        let mut layer = self.layer(stack, (position.x, position.y))?;
        layer.view = output.view(layer.view, layer.pixels().size());
        // The hotspot is recomputed in pixels of the output, because the output may scale and rotate the image.
        let at = output.rect(Rect::new(position.x, position.y, 1, 1));
        let corner = layer.view.destination;
        layer.hotspot = (at.x.saturating_sub(corner.x), at.y.saturating_sub(corner.y));
        layer.view.destination.intersection(output.pixels)?;
        Some(layer)
    }

    /// Returns the pointer's layer in logical coordinates of the desktop; `None` if the pointer is hidden or has not moved yet.
    pub fn layer(&self, stack: &Stack, position: (i32, i32)) -> Option<CursorLayer> {
        if !self.has_moved {
            return None;
        }
        match &self.status {
            CursorImageStatus::Hidden => None,
            CursorImageStatus::Named(_) => {
                let image = &self.image;
                let (width, height) = image.pixels.size();
                let side = |pixels: usize| i32::try_from(pixels).unwrap_or(0);
                let hotspot = image.hotspot;
                let corner = (
                    position.0.saturating_sub(hotspot.0),
                    position.1.saturating_sub(hotspot.1),
                );
                let destination = Rect::new(corner.0, corner.1, side(width), side(height));
                Some(CursorLayer {
                    view: BufferView {
                        source: (
                            0.0,
                            0.0,
                            f64::from(destination.width),
                            f64::from(destination.height),
                        ),
                        destination,
                        transform: Transform::Normal,
                    },
                    hotspot,
                    pixels: CursorPixels::Theme(image.clone()),
                    surface: None,
                })
            }
            CursorImageStatus::Surface(surface) => {
                let state = stack.find(surface).filter(|_| surface.is_alive())?;
                let content = state.content()?;
                let hotspot = hotspot(surface);
                let corner = (
                    position.0.saturating_sub(hotspot.0),
                    position.1.saturating_sub(hotspot.1),
                );
                Some(CursorLayer {
                    pixels: CursorPixels::Client(content.clone()),
                    view: state.view(corner),
                    hotspot,
                    surface: Some(surface.clone()),
                })
            }
        }
    }
}

/// Returns the hotspot that a client set for its cursor surface.
fn hotspot(surface: &WlSurface) -> (i32, i32) {
    with_states(surface, |states| {
        let data = states.data_map.get::<CursorImageSurfaceData>();
        let hotspot = data.and_then(|data| Some(data.lock().ok()?.hotspot));
        hotspot.map_or((0, 0), |hotspot| (hotspot.x, hotspot.y))
    })
}

impl CursorLayer {
    /// Returns the pixels of the pointer's image.
    pub fn pixels(&self) -> &dyn Pixels {
        match &self.pixels {
            CursorPixels::Client(content) => &**content,
            CursorPixels::Theme(image) => &image.pixels,
        }
    }

    /// Returns a value that identifies the pixels. A change of the value from one frame to the next means new pixels.
    pub fn pixels_id(&self) -> PixelsId {
        match &self.pixels {
            CursorPixels::Client(content) => PixelsId {
                address: Rc::as_ptr(content).addr(),
                acquired: Some(content.acquired()),
            },
            CursorPixels::Theme(image) => PixelsId {
                address: Rc::as_ptr(image).addr(),
                acquired: None,
            },
        }
    }

    /// Returns what the next frame's damage is computed from: the identifier of the pixels, and the source and destination
    /// rectangles.
    pub fn shown(&self) -> ShownCursor {
        ShownCursor {
            pixels: self.pixels_id(),
            view: self.view,
        }
    }

    /// Returns the pointer's image as a layer for the renderers. The layer has no opaque region, so the layers below it are drawn
    /// too.
    pub fn layer(&self) -> Layer<'_> {
        Layer {
            pixels: self.pixels(),
            colour: ColorRepresentation::default(),
            view: self.view,
            opaque: Region::default(),
        }
    }
}

impl State {
    /// Sets the pointer's image, as a client requested it.
    pub(crate) fn set_cursor(&mut self, status: CursorImageStatus) {
        if self.cursor.status != status {
            if let CursorImageStatus::Named(icon) = status {
                self.cursor.image = self.cursor.theme.image(icon);
            }
            self.cursor.status = status;
            self.outputs.schedule_redraw();
        }
    }

    /// Changes the theme and the size of the images; with `None`, those of the environment apply.
    pub(crate) fn set_cursor_theme(&mut self, theme: Option<&str>, size: Option<u32>) {
        self.cursor.theme = Theme::load(theme, size);
        let icon = self.cursor.shape().unwrap_or_default();
        self.cursor.image = self.cursor.theme.image(icon);
        self.outputs.schedule_redraw();
    }

    /// Shows the pointer at its new position in the next frame.
    pub(crate) fn cursor_moved(&mut self) {
        self.cursor.has_moved = true;
        self.outputs.schedule_redraw();
    }

    /// Moves the hotspot of a cursor surface by the offset that a commit sets for the buffer.
    ///
    /// # References
    ///
    /// `wl_pointer.set_cursor`: "On wl_surface.offset requests to the pointer surface, hotspot_x and hotspot_y are decremented by
    /// the x and y parameters passed to the request."
    pub(crate) fn cursor_committed(&mut self, surface: &WlSurface) {
        if self.cursor.surface() != Some(surface) {
            return;
        }
        with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            let Some(offset) = attributes.current().buffer_delta.take() else {
                return;
            };
            let data = states.data_map.get::<CursorImageSurfaceData>();
            if let Some(mut data) = data.and_then(|data| data.lock().ok()) {
                data.hotspot.x = data.hotspot.x.saturating_sub(offset.x);
                data.hotspot.y = data.hotspot.y.saturating_sub(offset.y);
            }
        });
    }
}
