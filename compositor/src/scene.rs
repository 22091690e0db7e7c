//! The scene: the surfaces of the output in stacking order, and the damage since the previous frame.

use std::collections::HashMap;
use std::rc::Rc;

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::content::Content;
use crate::cursor::{CursorLayer, ShownCursor};
use crate::region::{Rect, Region};
use crate::render::{ColorRepresentation, View};
use crate::window::Window;

/// The number of rectangles of the hidden region from which no more are added.
const HIDDEN_RECTS_MAX: usize = 128;

/// The role of a surface in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The toplevel surface.
    Window,
    /// A subsurface of a window or popup.
    Subsurface,
    /// A popup.
    Popup,
}

/// One surface with its position.
#[derive(Clone, Debug)]
pub struct SceneLayer {
    /// The surface.
    pub surface: WlSurface,
    /// The window it belongs to.
    pub window: Window,
    /// The role of the surface in that window.
    pub role: Role,
    /// The source and destination rectangles. The destination is in pixels of the output, or in logical coordinates of the desktop.
    pub view: View,
    /// How the numbers in the buffer are read as colours.
    pub colour: ColorRepresentation,
    /// The opaque region, in the same coordinates.
    pub opaque: Region,
    /// The damage since the surface was last part of a frame of the output, in the same coordinates.
    pub damage: Region,
    /// Whether the content was not part of a frame of the output yet.
    pub has_new_content: bool,
    /// The content of the surface.
    pub content: Rc<Content>,
}

/// What a frame of the output consists of: the background and the visible surfaces.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The background colour (`0xAARRGGBB`).
    pub background: u32,
    /// The surfaces, the lowest first.
    pub layers: Vec<SceneLayer>,
    /// The pointer, which is above all surfaces; `None` if it is not visible.
    pub cursor: Option<CursorLayer>,
}

/// The positions of the surfaces in a frame, from which the damage of the next frame is computed.
#[derive(Clone, Debug, Default)]
pub struct ShownScene {
    background: u32,
    layers: Vec<(ObjectId, View)>,
    cursor: Option<ShownCursor>,
}

impl Scene {
    /// Returns the damage since the frame `before`, clipped to the output.
    pub fn damage(&self, before: &ShownScene, output: Rect) -> Region {
        let mut damage = Region::default();
        let order = |id: &ObjectId| before.layers.iter().position(|(other, _)| other == id);
        let places: Vec<_> = self
            .layers
            .iter()
            .filter_map(|layer| order(&layer.surface.id()))
            .collect();
        if self.background != before.background || !places.is_sorted() {
            return output.into();
        }
        for layer in &self.layers {
            let known = before
                .layers
                .iter()
                .find(|(id, _)| *id == layer.surface.id());
            // The cost of adding rectangles grows with their number.
            damage.simplify();
            match known {
                Some((_, view)) if *view == layer.view => damage.merge(&layer.damage),
                Some((_, view)) => {
                    damage.add(view.destination);
                    damage.add(layer.view.destination);
                }
                None => damage.add(layer.view.destination),
            }
        }
        for (id, view) in &before.layers {
            if !self.layers.iter().any(|layer| layer.surface.id() == *id) {
                damage.add(view.destination);
            }
        }
        let cursor = self.cursor.as_ref().map(CursorLayer::shown);
        if cursor != before.cursor {
            let places = [before.cursor, cursor].into_iter().flatten();
            places.for_each(|cursor| damage.add(cursor.destination()));
        }
        damage.clip(output);
        damage.simplify();
        damage
    }

    /// Returns the number of output pixels that the surfaces of each client cover. A pixel counts once for each surface that covers
    /// it.
    pub fn pixels_by_client<'a>(
        layers: impl IntoIterator<Item = &'a SceneLayer>,
        output: Rect,
    ) -> HashMap<ClientId, u64> {
        let mut pixels = HashMap::new();
        for layer in layers {
            let Some(client) = layer.surface.client() else {
                continue;
            };
            let area = layer.view.destination.intersection(output);
            let count: &mut u64 = pixels.entry(client.id()).or_default();
            *count = count.saturating_add(area.map_or(0, Rect::area));
        }
        pixels
    }

    /// Returns the positions of the surfaces.
    pub fn shown(&self) -> ShownScene {
        ShownScene {
            background: self.background,
            layers: self
                .layers
                .iter()
                .map(|layer| (layer.surface.id(), layer.view))
                .collect(),
            cursor: self.cursor.as_ref().map(CursorLayer::shown),
        }
    }

    /// Returns the layers that are not completely hidden on the output, the lowest first.
    pub fn visible(&self, output: Rect) -> Vec<&SceneLayer> {
        let mut hidden = Region::default();
        let mut visible = Vec::new();
        for layer in self.layers.iter().rev() {
            let is_visible = layer
                .view
                .destination
                .intersection(output)
                .is_some_and(|rect| !hidden.covers(rect));
            if is_visible {
                visible.push(layer);
                // The cost of each layer grows with the number of rectangles. With fewer, more is drawn than is visible.
                if hidden.rects().len() < HIDDEN_RECTS_MAX {
                    hidden.merge(&layer.opaque);
                }
            }
        }
        visible.reverse();
        visible
    }
}
