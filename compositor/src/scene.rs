//! What is to be seen at one moment, and what of it differs from what was seen before.

use std::rc::Rc;

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::content::Content;
use crate::region::{Rect, Region};
use crate::render::View;
use crate::stack::Window;

/// What a surface is to its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The window itself.
    Window,
    /// A part of a window or popup.
    Subsurface,
    /// A popup.
    Popup,
}

/// One surface in its place.
#[derive(Clone, Debug)]
pub struct SceneLayer {
    /// The surface.
    pub surface: WlSurface,
    /// The window it belongs to.
    pub window: Window,
    /// What it is to that window.
    pub role: Role,
    /// Which part of its buffer is where.
    pub view: View,
    /// Output pixels it hides.
    pub opaque: Region,
    /// Output pixels that changed since it was last part of a frame.
    pub damage: Region,
    /// Whether its content was part of no frame yet.
    pub has_new_content: bool,
    /// What it shows.
    pub content: Rc<Content>,
}

/// Everything that is to be seen, the lowest first.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Colour where nothing is.
    pub background: u32,
    /// Surfaces.
    pub layers: Vec<SceneLayer>,
}

/// What a frame showed, to find out what differs in the next one.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    background: u32,
    layers: Vec<(ObjectId, View)>,
}

impl Scene {
    /// Returns the pixels that differ from what was shown before, on an output of that size.
    pub fn damage(&self, before: &Shown, output: Rect) -> Region {
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

    /// Remembers what it shows.
    pub fn shown(&self) -> Shown {
        Shown {
            background: self.background,
            layers: self
                .layers
                .iter()
                .map(|layer| (layer.surface.id(), layer.view))
                .collect(),
        }
    }

    /// Returns the layers of which a pixel can be seen on an output of that size, the lowest first.
    pub fn visible(&self, output: Rect) -> Vec<&SceneLayer> {
        let mut hidden = Region::default();
        let mut visible = Vec::new();
        for layer in self.layers.iter().rev() {
            let seen = layer
                .view
                .destination
                .intersection(output)
                .is_some_and(|rect| !hidden.covers(rect));
            if seen {
                visible.push(layer);
                hidden.merge(&layer.opaque);
            }
        }
        visible.reverse();
        visible
    }
}
