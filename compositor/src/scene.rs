//! The scene: the surfaces of the output in stacking order, and the damage since the previous frame.

use std::rc::Rc;

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::content::Content;
use crate::region::{Rect, Region};
use crate::render::View;
use crate::stack::Window;

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
    /// The source and destination rectangles.
    pub view: View,
    /// The opaque region in output pixels.
    pub opaque: Region,
    /// The damage in output pixels since the surface was last part of a frame.
    pub damage: Region,
    /// Whether the content was not part of a frame yet.
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
}

/// The positions of the surfaces in a frame, from which the damage of the next frame is computed.
#[derive(Clone, Debug, Default)]
pub struct ShownScene {
    background: u32,
    layers: Vec<(ObjectId, View)>,
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
        damage.clip(output);
        damage.simplify();
        damage
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
                hidden.merge(&layer.opaque);
            }
        }
        visible.reverse();
        visible
    }
}
