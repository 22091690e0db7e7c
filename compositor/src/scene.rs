//! The scene of an output: its surfaces in stacking order, and the damage since the previous frame.

use std::collections::HashMap;
use std::rc::Rc;

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::content::Content;
use crate::cursor::{CursorLayer, ShownCursor};
use crate::region::{Rect, Region};
use crate::render::{BufferView, ColorRepresentation};
use crate::window::Window;

/// The maximum number of rectangles of the hidden region. No more are added beyond this number.
const HIDDEN_RECTS_MAX: usize = 128;

/// The role of a surface in its window or layer surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The surface of a toplevel or of a layer surface.
    Window,
    /// A subsurface of a window, a layer surface or a popup.
    Subsurface,
    /// A popup.
    Popup,
    /// The icon of a drag, which is above all windows.
    DragIcon,
}

/// What a surface of a scene belongs to.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A window.
    Window(Window),
    /// A layer surface.
    LayerSurface {
        /// The surface with the role.
        surface: WlSurface,
        /// What it is for, as its client named it.
        namespace: Rc<str>,
    },
    /// The lock surface of a locked session.
    LockSurface,
}

impl Owner {
    /// Returns the window; `None` for a layer surface or lock surface.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Self::Window(window) => Some(window),
            Self::LayerSurface { .. } | Self::LockSurface => None,
        }
    }

    /// Returns the name in the report: `title/app_id` of a window, or the namespace of a layer surface.
    pub fn name(&self) -> String {
        match self {
            Self::Window(window) => window.name(),
            Self::LayerSurface { namespace, .. } => format!("{namespace}/zwlr_layer_surface_v1"),
            Self::LockSurface => "ext_session_lock_surface_v1".to_owned(),
        }
    }
}

/// One surface with its position.
#[derive(Clone, Debug)]
pub struct SceneLayer {
    /// The surface whose content the layer shows.
    pub surface: WlSurface,
    /// The window or layer surface to which the surface belongs.
    pub owner: Owner,
    /// The role of the surface in its owner.
    pub role: Role,
    /// The source and destination rectangles. The destination is in pixels of the output, or in logical coordinates of the
    /// desktop.
    pub view: BufferView,
    /// The conversion of the sample values to colours.
    pub colour: ColorRepresentation,
    /// The opaque region, in the coordinates of `view`'s destination.
    pub opaque: Region,
    /// The damage since the surface was last part of a frame of the output, in the coordinates of `view`'s destination.
    pub damage: Region,
    /// Whether no frame of the output has shown the current content yet.
    pub has_new_content: bool,
    /// The content of the surface.
    pub content: Rc<Content>,
}

/// The content of a frame of an output: the background and the surfaces.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The background colour (`0xAARRGGBB`).
    pub background: u32,
    /// The surfaces, from the bottom to the top.
    pub layers: Vec<SceneLayer>,
    /// The pointer, which is above all surfaces; `None` if it is not visible.
    pub cursor: Option<CursorLayer>,
}

/// The surfaces and their positions in the previous frame, from which the damage of the next frame is computed.
#[derive(Clone, Debug, Default)]
pub struct ShownScene {
    background: u32,
    layers: Vec<(ObjectId, BufferView)>,
    cursor: Option<ShownCursor>,
}

impl Scene {
    /// Returns the damage since the scene `before`, clipped to the output.
    pub fn damage(&self, before: &ShownScene, output: Rect) -> Region {
        let mut damage = self.surface_damage(before, output);
        damage.merge(&self.cursor_damage(before, output));
        damage.simplify();
        damage
    }

    /// Returns the damage of the pointer since the scene `before`, clipped to the output.
    pub fn cursor_damage(&self, before: &ShownScene, output: Rect) -> Region {
        let mut damage = Region::default();
        let cursor = self.cursor.as_ref().map(CursorLayer::shown);
        if cursor != before.cursor {
            let places = [before.cursor, cursor].into_iter().flatten();
            places.for_each(|cursor| damage.add(cursor.destination()));
        }
        damage.clip(output);
        damage
    }

    /// Returns the damage of the background and the surfaces since the scene `before`, clipped to the output.
    pub fn surface_damage(&self, before: &ShownScene, output: Rect) -> Region {
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
            let previous = before
                .layers
                .iter()
                .find(|(id, _)| *id == layer.surface.id());
            // The region is simplified, because adding a rectangle takes longer the more rectangles there are.
            damage.simplify();
            match previous {
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
        damage.clip(output);
        damage.simplify();
        damage
    }

    /// Returns the number of output pixels that the surfaces of each client cover. A pixel counts once for each surface that
    /// covers it.
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

    /// Returns the surfaces of the scene with their views, for the damage of the next frame.
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

    /// Returns the layers that are at least partly visible on the output, from the bottom to the top.
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
                // The number of rectangles is limited, because the cost of each layer grows with it. Some layers may then be
                // drawn although they are hidden.
                if hidden.rects().len() < HIDDEN_RECTS_MAX {
                    hidden.merge(&layer.opaque);
                }
            }
        }
        visible.reverse();
        visible
    }
}
