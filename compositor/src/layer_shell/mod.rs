//! Layer surfaces: wallpapers, panels, launchers and notifications, which are anchored to the edges of an output.
//!
//! ```text
//!   background, bottom  ──▶  windows  ──▶  top, unless a fullscreen window is the highest one  ──▶  overlay
//! ```
//!
//! A fullscreen window hides the layers `background` and `bottom` of its output as well. The layer surfaces of an output are
//! arranged when one of them changes or the output does. Their exclusive zones leave the usable area, which windows are placed
//! in.

mod arrange;

use std::rc::Rc;

use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::Serial;
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::wlr_layer::{
    KeyboardInteractivity, Layer, LayerSurface, LayerSurfaceCachedState, LayerSurfaceData,
};

use crate::output_view::{OutputId, OutputView};
use crate::region::Rect;
use crate::scene::{Owner, Role, SceneLayer};
use crate::stack::{Stack, Tree};
use arrange::height_of;

pub use arrange::{Margins, Placement};

/// A layer surface on its output.
#[derive(Clone, Debug)]
pub struct AnchoredSurface {
    /// Smithay's layer surface.
    pub surface: LayerSurface,
    /// The output; `None` after the output was removed, from when on the surface is not shown any more.
    pub output: Option<OutputId>,
    /// What the surface is for, as its client named it.
    pub namespace: Rc<str>,
    /// What the client committed about the place of the surface.
    pub(crate) placement: Placement,
    /// The rectangle on the desktop that the surface was configured for.
    pub(crate) rect: Rect,
    /// Whether the client made the initial commit, so that the surface can be configured.
    pub(crate) is_initialised: bool,
    /// Whether the surface had content after its last commit.
    pub(crate) is_mapped: bool,
    /// The configure event that the client has not acknowledged yet. There is at most one, since the changes of other clients'
    /// surfaces may cause as many as those clients want.
    pub(crate) unacknowledged: Option<Serial>,
}

impl AnchoredSurface {
    /// Creates the state of a new layer surface.
    pub fn new(surface: LayerSurface, output: Option<OutputId>, namespace: &str) -> Self {
        Self {
            surface,
            output,
            namespace: namespace.into(),
            placement: Placement::default(),
            rect: Rect::default(),
            is_initialised: false,
            is_mapped: false,
            unacknowledged: None,
        }
    }

    /// Returns what the surfaces of its tree belong to.
    pub(crate) fn owner(&self) -> Owner {
        Owner::LayerSurface {
            surface: self.surface.wl_surface().clone(),
            namespace: Rc::clone(&self.namespace),
        }
    }

    /// Returns whether and when the surface gets keyboard focus.
    fn interactivity(&self) -> KeyboardInteractivity {
        committed(self.surface.wl_surface()).keyboard_interactivity
    }

    /// Configures the surface with the size of its rectangle, if that changed or the surface was not configured yet.
    pub(crate) fn configure(&mut self) {
        let size = (self.rect.width, self.rect.height);
        self.surface
            .with_pending_state(|state| state.size = Some(size.into()));
        let is_first = !self.is_initial_configure_sent();
        if self.is_initialised && (is_first || self.unacknowledged.is_none()) {
            self.unacknowledged = self.surface.send_pending_configure();
        }
    }

    fn is_initial_configure_sent(&self) -> bool {
        with_states(self.surface.wl_surface(), |states| {
            let data = states.data_map.get::<LayerSurfaceData>();
            let data = data.and_then(|data| data.lock().ok());
            data.is_some_and(|data| data.initial_configure_sent)
        })
    }

    /// Requires the sequence of the initial commit and the configure event again, because the surface was unmapped.
    pub(crate) fn reset(&mut self) {
        self.is_initialised = false;
        self.unacknowledged = None;
        with_states(self.surface.wl_surface(), |states| {
            let data = states.data_map.get::<LayerSurfaceData>();
            if let Some(mut data) = data.and_then(|data| data.lock().ok()) {
                data.configured = false;
                data.initial_configure_sent = false;
            }
        });
    }
}

/// Returns the state of a layer surface that its client committed.
pub(crate) fn committed(surface: &WlSurface) -> LayerSurfaceCachedState {
    with_states(surface, |states| {
        let mut state = states.cached_state.get::<LayerSurfaceCachedState>();
        *state.current()
    })
}

/// All layer surfaces, and the usable areas that they leave.
#[derive(Debug, Default)]
pub struct LayerSurfaces {
    /// The surfaces in the order in which they were created.
    surfaces: Vec<AnchoredSurface>,
    usable: Vec<(OutputId, Rect)>,
    /// The surface that was pressed or mapped last. It has the keyboard focus if it wants it, and its popups may have grabs.
    active: Option<WlSurface>,
}

impl LayerSurfaces {
    /// Adds a surface.
    pub fn add(&mut self, surface: AnchoredSurface) {
        self.surfaces.push(surface);
    }

    /// Removes a surface; returns its output.
    pub fn remove(&mut self, surface: &WlSurface) -> Option<OutputId> {
        self.deactivate(surface);
        let is_it = |known: &AnchoredSurface| known.surface.wl_surface() == surface;
        let index = self.surfaces.iter().position(is_it)?;
        self.surfaces.remove(index).output
    }

    /// Returns all surfaces.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &AnchoredSurface> {
        self.surfaces.iter()
    }

    /// Returns all surfaces, for changes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut AnchoredSurface> {
        self.surfaces.iter_mut()
    }

    /// Returns the state of a surface; `None` if it is no layer surface.
    pub fn find(&self, surface: &WlSurface) -> Option<&AnchoredSurface> {
        self.iter()
            .find(|known| known.surface.wl_surface() == surface)
    }

    /// Returns the state of a surface, for changes.
    pub fn find_mut(&mut self, surface: &WlSurface) -> Option<&mut AnchoredSurface> {
        self.iter_mut()
            .find(|known| known.surface.wl_surface() == surface)
    }

    /// Computes the rectangles of the surfaces of an output; returns whether the usable area changed.
    pub(crate) fn arrange(&mut self, output: &OutputView) -> bool {
        let surfaces = self.surfaces.iter_mut();
        let mut arranged: Vec<&mut AnchoredSurface> = surfaces
            .filter(|known| known.output == Some(output.id) && known.is_initialised)
            .collect();
        let described: Vec<(Placement, bool)> = arranged
            .iter()
            .map(|known| (known.placement, known.is_mapped))
            .collect();
        let (rects, usable) = arrange::arrange(output.logical, &described);
        for (known, rect) in arranged.iter_mut().zip(rects) {
            known.rect = rect;
        }
        let before = self.usable_area(output);
        self.usable.retain(|(id, _)| *id != output.id);
        self.usable.push((output.id, usable));
        before != usable
    }

    /// Returns the part of an output that exclusive zones leave.
    pub fn usable_area(&self, output: &OutputView) -> Rect {
        let mut known = self.usable.iter();
        let known = known.find(|(id, _)| *id == output.id);
        // The output may have been resized since the surfaces were arranged.
        let usable = known.and_then(|(_, usable)| usable.intersection(output.logical));
        usable.unwrap_or(output.logical)
    }

    /// Makes a surface the active one, because it was pressed or mapped; `None` because a window was.
    pub(crate) fn activate(&mut self, surface: Option<&WlSurface>) {
        self.active = surface.cloned();
    }

    /// Makes no surface the active one if this one is, because it was unmapped.
    pub(crate) fn deactivate(&mut self, surface: &WlSurface) {
        self.active.take_if(|active| active == surface);
    }
}

impl Stack {
    /// Returns the area that a window fills when it is maximised: the usable area of its output, or all of the output for a
    /// fullscreen window.
    pub fn usable_area(&self, output: &OutputView, is_fullscreen: bool) -> Rect {
        if is_fullscreen {
            return output.logical;
        }
        self.layer_surfaces.usable_area(output)
    }

    /// Adds the surfaces of a layer of an output to its scene.
    pub(crate) fn add_layer_surfaces(
        &self,
        layers: &mut Vec<SceneLayer>,
        output: OutputId,
        layer: Layer,
    ) {
        let of_layer = self.layer_surfaces.iter().filter(|known| {
            known.output == Some(output) && known.placement.layer == layer && known.is_mapped
        });
        for known in of_layer {
            self.add_layer_surface(layers, known, output);
        }
    }

    fn add_layer_surface(
        &self,
        layers: &mut Vec<SceneLayer>,
        known: &AnchoredSurface,
        output: OutputId,
    ) {
        let owner = known.owner();
        let tree = Tree {
            owner: &owner,
            output,
            role: Role::Window,
            depth: 0,
        };
        let corner = (known.rect.x, known.rect.y);
        self.add_tree(layers, tree, known.surface.wl_surface(), corner);
    }

    /// Returns whether a fullscreen window is the highest window of an output, so that it hides the layer `top`.
    pub(crate) fn hides_top_layer(&self, output: OutputId) -> bool {
        self.top_of(output).is_some_and(|window| window.fullscreen)
    }

    /// Returns whether a part of a layer surface is shown on its output. A surface that is not gets no keyboard focus.
    fn is_layer_surface_visible(&self, known: &AnchoredSurface) -> bool {
        if self.session_lock.is_locked() {
            return false;
        }
        let mut outputs = self.outputs().iter();
        let Some(output) = outputs.find(|output| Some(output.id) == known.output) else {
            return false;
        };
        let is_hidden = match known.placement.layer {
            Layer::Background | Layer::Bottom => self.fullscreen_index(output.id).is_some(),
            Layer::Top => self.hides_top_layer(output.id),
            Layer::Overlay => false,
        };
        if is_hidden || !known.is_mapped || !known.surface.alive() {
            return false;
        }
        let mut layers = Vec::new();
        self.add_layer_surface(&mut layers, known, output.id);
        layers.iter().any(|layer: &SceneLayer| {
            let place = layer.view.destination;
            place.intersection(output.logical).is_some()
        })
    }

    /// Returns the layer surface that takes all keys: the highest one that wants them in a layer above the windows.
    pub(crate) fn exclusive_layer_surface(&self) -> Option<&AnchoredSurface> {
        let wants_keys = |known: &&AnchoredSurface| {
            matches!(known.placement.layer, Layer::Top | Layer::Overlay)
                && known.is_mapped
                && known.interactivity() == KeyboardInteractivity::Exclusive
                && self.is_layer_surface_visible(known)
        };
        let exclusive = self.layer_surfaces.iter().filter(wants_keys);
        exclusive.max_by_key(|known| height_of(known.placement.layer))
    }

    /// Returns the layer surface that was pressed or mapped last, if no window was since.
    pub(crate) fn active_layer_surface(&self) -> Option<&AnchoredSurface> {
        let active = self.layer_surfaces.active.as_ref()?;
        let known = self.layer_surfaces.find(active)?;
        self.is_layer_surface_visible(known).then_some(known)
    }

    /// Returns the layer surface that has keyboard focus instead of a window.
    pub(crate) fn focused_layer_surface(&self) -> Option<&AnchoredSurface> {
        self.exclusive_layer_surface().or_else(|| {
            let active = self.active_layer_surface()?;
            (active.interactivity() != KeyboardInteractivity::None).then_some(active)
        })
    }

    /// Returns whether a newly mapped layer surface gets the keyboard focus. Launchers rely on this.
    pub(crate) fn is_focused_when_mapped(&self, surface: &WlSurface) -> bool {
        self.layer_surfaces.find(surface).is_some_and(|known| {
            matches!(known.placement.layer, Layer::Top | Layer::Overlay)
                && known.interactivity() != KeyboardInteractivity::None
        })
    }

    /// Returns the number of layer surfaces of the client of a surface.
    pub(crate) fn count_layer_surfaces(&self, surface: &WlSurface) -> usize {
        let id = surface.id();
        let own = self
            .layer_surfaces
            .iter()
            .filter(|known| known.surface.wl_surface().id().same_client_as(&id));
        own.count()
    }
}
