//! The window stack: the windows with their stacking order and positions, and their surfaces.

mod drag_icon;
mod popups;

use std::collections::{HashMap, HashSet};

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{
    SubsurfaceCachedState, TraversalAction, with_states, with_surface_tree_upward,
};
use smithay::wayland::shell::wlr_layer::Layer;
use smithay::wayland::shell::xdg::{PopupSurface, SurfaceCachedState, ToplevelSurface};

use crate::layer_shell::{AnchoredSurface, LayerSurfaces};
use crate::output_view::{OutputId, OutputView};
use crate::region::Rect;
use crate::render::Pixels as _;
use crate::scene::{Owner, Role, Scene, SceneLayer};
use crate::session_lock::SessionLock;
use crate::surface::Surface;
use crate::window::{Arrangement, Window};
use drag_icon::DragIcon;

pub(crate) use drag_icon::to_pixel;

/// The background colour (`0xAARRGGBB`) without a configuration.
pub(crate) const BACKGROUND: u32 = 0xff30_3840;
/// The colour behind a fullscreen window, which xdg-shell requires to be opaque.
const BACKDROP: u32 = 0xff00_0000;

/// The height of the part of a window by which the user moves it, in logical pixels.
const TITLE_HEIGHT: i32 = 32;

/// All windows, popups and surfaces.
#[derive(Debug, Default)]
pub struct Stack {
    windows: Vec<Window>,
    /// The layer surfaces.
    pub layer_surfaces: LayerSurfaces,
    /// Whether the session is locked, and the lock surfaces.
    pub session_lock: SessionLock,
    popups: Vec<PopupSurface>,
    /// The popups that are not shown any more, and that their clients have not destroyed yet.
    dismissed_popups: HashSet<ObjectId>,
    surfaces: HashMap<ObjectId, Surface>,
    /// The icon of the current drag.
    drag_icon: Option<DragIcon>,
    /// The outputs that are on.
    outputs: Vec<OutputView>,
    /// The configured background colour (`0xAARRGGBB`).
    pub(crate) background: Option<u32>,
}

impl Stack {
    /// Returns the state of a surface, which is created if it does not exist.
    pub fn surface(&mut self, surface: &WlSurface) -> &mut Surface {
        self.surfaces.entry(surface.id()).or_default()
    }

    /// Returns the state of a surface if it exists.
    pub fn find(&self, surface: &WlSurface) -> Option<&Surface> {
        self.surfaces.get(&surface.id())
    }

    /// Returns the ids of all surfaces that were committed.
    pub fn surface_ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.surfaces.keys()
    }

    /// Returns the main output of a surface; `None` while the surface is hidden.
    pub fn main_output(&self, surface: &WlSurface) -> Option<OutputId> {
        self.find(surface)?.main_output()
    }

    /// Returns whether a surface has content.
    pub fn has_content(&self, surface: &WlSurface) -> bool {
        self.find(surface)
            .is_some_and(|surface| surface.content().is_some())
    }

    /// Removes the state of a surface, which releases its buffer.
    pub fn remove_surface(&mut self, surface: &WlSurface) {
        self.surfaces.remove(&surface.id());
    }

    /// Adds a window on top, which is placed on an output.
    pub fn add_window(&mut self, toplevel: ToplevelSurface, output: Option<OutputId>) {
        self.windows.push(Window::new(toplevel, output));
    }

    /// Places a window on another output.
    pub fn set_window_output(&mut self, toplevel: &ToplevelSurface, output: OutputId) {
        if let Some(window) = self.window_mut(toplevel) {
            window.output = Some(output);
        }
    }

    /// Returns the state of a window.
    pub fn window_mut(&mut self, toplevel: &ToplevelSurface) -> Option<&mut Window> {
        let mut windows = self.windows.iter_mut();
        windows.find(|window| window.toplevel == *toplevel)
    }

    /// Sets the outputs that are on; returns the previous ones. A window whose output is not among them is placed on the first
    /// one.
    pub fn set_outputs(&mut self, outputs: Vec<OutputView>) -> Vec<OutputView> {
        std::mem::replace(&mut self.outputs, outputs)
    }

    /// Returns the outputs that are on.
    pub fn outputs(&self) -> &[OutputView] {
        &self.outputs
    }

    /// Removes a removed output from the surfaces' states. Windows that were placed on it return when it is connected again.
    pub fn forget_output(&mut self, output: OutputId) {
        for surface in self.surfaces.values_mut() {
            surface.forget_output(output);
        }
    }

    /// Returns the output on which a window is placed; `None` if no output is on.
    pub fn output_of(&self, window: &Window) -> Option<&OutputView> {
        let own = self
            .outputs
            .iter()
            .find(|output| Some(output.id) == window.output);
        own.or_else(|| self.outputs.first())
    }

    /// Returns the output that shows the centre of a rectangle.
    pub fn output_at_centre(&self, rect: Rect) -> Option<&OutputView> {
        let centre = |start: i32, size: i32| start.saturating_add(size / 2);
        let (x, y) = (centre(rect.x, rect.width), centre(rect.y, rect.height));
        let point = Rect::new(x, y, 1, 1);
        let mut outputs = self.outputs.iter();
        outputs.find(|output| output.logical.contains(point))
    }

    /// Removes a window.
    pub fn remove_window(&mut self, toplevel: &ToplevelSurface) {
        self.windows.retain(|window| window.toplevel != *toplevel);
        let icon = self.drag_icon.take();
        self.drag_icon = icon.filter(|icon| {
            let window = icon.owner.window();
            window.is_none_or(|window| window.toplevel != *toplevel)
        });
    }

    /// Returns the window or layer surface with this surface as its root.
    fn owner(&self, root: &WlSurface) -> Option<Owner> {
        let window = self.window(root).cloned().map(Owner::Window);
        window.or_else(|| {
            let layer_surface = self.layer_surfaces.find(root);
            layer_surface.map(AnchoredSurface::owner)
        })
    }

    /// Raises a window to the top.
    pub fn raise(&mut self, toplevel: &ToplevelSurface) {
        if let Some(position) = self
            .windows
            .iter()
            .position(|window| window.toplevel == *toplevel)
        {
            let window = self.windows.remove(position);
            self.windows.push(window);
        }
    }

    /// Lowers a window below all others.
    pub fn lower(&mut self, toplevel: &ToplevelSurface) {
        let mut windows = self.windows.iter();
        if let Some(index) = windows.position(|window| window.toplevel == *toplevel) {
            let window = self.windows.remove(index);
            self.windows.insert(0, window);
        }
    }

    /// Sets whether a window is fullscreen; returns whether this changed.
    pub fn set_fullscreen(&mut self, toplevel: &ToplevelSurface, fullscreen: bool) -> bool {
        self.window_mut(toplevel).is_some_and(|window| {
            std::mem::replace(&mut window.fullscreen, fullscreen) != fullscreen
        })
    }

    /// Returns the windows, from the bottom to the top.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Returns the window of a surface.
    pub fn window(&self, surface: &WlSurface) -> Option<&Window> {
        self.windows
            .iter()
            .find(|window| window.toplevel.wl_surface() == surface)
    }

    /// Returns the highest window that is mapped and not minimised.
    pub fn top(&self) -> Option<&Window> {
        self.windows
            .iter()
            .rev()
            .find(|window| self.is_shown(window))
    }

    /// Returns the highest mapped window that is at least partly visible on an output.
    pub fn top_visible(&self) -> Option<&Window> {
        self.windows.iter().rev().find(|window| {
            let mut layers = Vec::new();
            if self.is_shown(window) {
                for output in &self.outputs {
                    self.add_window_layers(&mut layers, window, output.id);
                }
            }
            layers.iter().any(|layer: &SceneLayer| {
                let mut outputs = self.outputs.iter();
                let place = layer.view.destination;
                outputs.any(|output| place.intersection(output.logical).is_some())
            })
        })
    }

    /// Returns the highest window that is placed on an output, mapped and not minimised.
    pub fn top_of(&self, output: OutputId) -> Option<&Window> {
        self.windows
            .iter()
            .rev()
            .find(|window| self.is_shown(window) && self.is_placed_on(window, output))
    }

    /// Returns whether the window is assigned to this output.
    fn is_placed_on(&self, window: &Window, output: OutputId) -> bool {
        self.output_of(window).is_some_and(|view| view.id == output)
    }

    /// Builds the scene of an output, in pixels of the output. It contains the icon of a drag.
    pub fn scene(&self, view: &OutputView) -> Scene {
        let mut scene = self.logical_scene(view.id);
        self.add_drag_icon(&mut scene.layers, view.id);
        for layer in &mut scene.layers {
            layer.view = view.view(layer.view, layer.content.size());
            layer.opaque = view.inner_region(&layer.opaque);
            layer.damage = view.outer_region(&layer.damage);
        }
        scene
    }

    /// Builds the scene of an output, in logical coordinates of the desktop. It also contains surfaces that are outside of the
    /// output.
    pub fn logical_scene(&self, output: OutputId) -> Scene {
        if self.session_lock.is_locked() {
            return self.locked_scene(output);
        }
        let mut layers = Vec::new();
        let lowest = self.fullscreen_index(output);
        if lowest.is_none() {
            self.add_layer_surfaces(&mut layers, output, Layer::Background);
            self.add_layer_surfaces(&mut layers, output, Layer::Bottom);
        }
        for window in self.windows.iter().skip(lowest.unwrap_or(0)) {
            if self.is_shown(window) {
                self.add_window_layers(&mut layers, window, output);
            }
        }
        if !self.hides_top_layer(output) {
            self.add_layer_surfaces(&mut layers, output, Layer::Top);
        }
        self.add_layer_surfaces(&mut layers, output, Layer::Overlay);
        Scene {
            background: if lowest.is_some() {
                BACKDROP
            } else {
                self.background.unwrap_or(BACKGROUND)
            },
            layers,
            cursor: None,
        }
    }

    /// Returns the index of the highest fullscreen window of an output. It hides everything below it, even where it is smaller
    /// than the output.
    pub(crate) fn fullscreen_index(&self, output: OutputId) -> Option<usize> {
        self.windows.iter().rposition(|window| {
            window.fullscreen && self.is_shown(window) && self.is_placed_on(window, output)
        })
    }

    /// Adds the surfaces of a window to the layers of `output`.
    fn add_window_layers(&self, layers: &mut Vec<SceneLayer>, window: &Window, output: OutputId) {
        let Some(home) = self.output_of(window) else {
            return;
        };
        if window.fullscreen && home.id != output {
            return;
        }
        let surface = window.toplevel.wl_surface();
        let area = self.usable_area(home, window.fullscreen);
        let corner = self.corner(window, area, self.geometry(surface));
        let owner = Owner::Window(window.clone());
        let tree = Tree {
            owner: &owner,
            output,
            role: Role::Window,
            depth: 0,
        };
        self.add_tree(layers, tree, surface, corner);
    }

    /// Returns the window geometry of a window on the desktop; `None` if no output is on.
    pub fn rect(&self, window: &Window) -> Option<Rect> {
        let home = self.usable_area(self.output_of(window)?, window.fullscreen);
        let geometry = self.geometry(window.toplevel.wl_surface());
        let (x, y) = self.corner(window, home, geometry);
        Some(Rect::new(x, y, geometry.width, geometry.height))
    }

    /// Returns the upper left corner of a window with this geometry. `home` is the area of its output for windows.
    fn corner(&self, window: &Window, home: Rect, geometry: Rect) -> (i32, i32) {
        let centred = |space: i32, size: i32| space.saturating_sub(size) / 2;
        let middle = (
            centred(home.width, geometry.width),
            centred(home.height, geometry.height),
        );
        let in_home = |(x, y): (i32, i32)| (home.x.saturating_add(x), home.y.saturating_add(y));
        if window.fullscreen {
            return in_home(middle);
        }
        // The title bar must stay within the output, or the user cannot reach it.
        let middle = in_home((middle.0.max(0), middle.1.max(0)));
        match (window.arrangement, window.position) {
            (Arrangement::LeftHalf | Arrangement::RightHalf, _) => {
                let half = window.arrangement.rect(home).unwrap_or(home);
                (half.x, half.y)
            }
            (Arrangement::Maximized, _) | (Arrangement::Floating, None) => middle,
            (Arrangement::Floating, Some(position)) => {
                let x = position.x.start(geometry.width);
                let y = position.y.start(geometry.height);
                let title = Rect::new(x, y, geometry.width, geometry.height.min(TITLE_HEIGHT));
                let mut outputs = self.outputs.iter();
                if outputs.any(|output| title.intersection(output.logical).is_some()) {
                    return (x, y);
                }
                // The output was removed, or the client committed another size.
                let within = |start: i32, from: i32, end: i32, size: i32| {
                    start.clamp(from, end.saturating_sub(size).max(from))
                };
                (
                    within(x, home.x, home.right(), geometry.width),
                    within(y, home.y, home.bottom(), geometry.height),
                )
            }
        }
    }

    /// Returns whether a window is mapped and not minimised.
    pub fn is_shown(&self, window: &Window) -> bool {
        !window.minimized && self.is_mapped(window)
    }

    /// Returns whether a window has content. It may be minimised.
    pub fn is_mapped(&self, window: &Window) -> bool {
        window.toplevel.alive() && self.has_content(window.toplevel.wl_surface())
    }

    /// Returns the window geometry of a surface, which does not include shadows.
    fn geometry(&self, surface: &WlSurface) -> Rect {
        let declared = with_states(surface, |states| {
            states
                .cached_state
                .get::<SurfaceCachedState>()
                .current()
                .geometry
        });
        let size = self.find(surface).map_or((0, 0), Surface::size);
        declared.map_or(Rect::of_size(size.0, size.1), |rect| {
            Rect::new(rect.loc.x, rect.loc.y, rect.size.w, rect.size.h)
        })
    }

    /// Adds a surface with its subsurfaces and popups. `corner` is the upper left corner of its window geometry on the desktop.
    pub(crate) fn add_tree(
        &self,
        layers: &mut Vec<SceneLayer>,
        tree: Tree<'_>,
        root: &WlSurface,
        corner: (i32, i32),
    ) {
        let Tree {
            owner,
            output,
            role,
            depth,
        } = tree;
        let geometry = self.geometry(root);
        let origin = (
            corner.0.saturating_sub(geometry.x),
            corner.1.saturating_sub(geometry.y),
        );
        let place = |surface: &WlSurface, states: &_, parent: (i32, i32)| {
            if surface == root {
                return parent;
            }
            let states: &smithay::wayland::compositor::SurfaceData = states;
            let location = states
                .cached_state
                .get::<SubsurfaceCachedState>()
                .current()
                .location;
            (
                parent.0.saturating_add(location.x),
                parent.1.saturating_add(location.y),
            )
        };
        with_surface_tree_upward(
            root,
            origin,
            |surface, states, parent| match self.find(surface).and_then(Surface::content) {
                Some(_) => TraversalAction::DoChildren(place(surface, states, *parent)),
                None => TraversalAction::SkipChildren,
            },
            |surface, states, parent| {
                let Some(state) = self.find(surface) else {
                    return;
                };
                let Some(content) = state.content() else {
                    return;
                };
                let at = place(surface, states, *parent);
                layers.push(SceneLayer {
                    surface: surface.clone(),
                    owner: owner.clone(),
                    role: if surface == root {
                        role
                    } else {
                        Role::Subsurface
                    },
                    view: state.view(at),
                    colour: state.colour(),
                    opaque: state
                        .opaque()
                        .rects()
                        .iter()
                        .map(|rect| rect.moved(at.0, at.1))
                        .collect(),
                    damage: state
                        .damage(output)
                        .rects()
                        .iter()
                        .map(|rect| rect.moved(at.0, at.1))
                        .collect(),
                    has_new_content: state.has_new_content(output),
                    content: content.clone(),
                });
            },
            |_, _, _| true,
        );
        // A client may nest popups without limit, so the number of levels is limited.
        if depth >= POPUP_DEPTH_MAX {
            return;
        }
        for popup in &self.popups {
            let is_child = popup.alive() && popup.get_parent_surface().as_ref() == Some(root);
            if is_child && !self.is_dismissed(popup) {
                let offset = popup.with_pending_state(|state| state.geometry.loc);
                let corner = (
                    corner.0.saturating_add(offset.x),
                    corner.1.saturating_add(offset.y),
                );
                let popups = Tree {
                    role: Role::Popup,
                    depth: depth + 1,
                    ..tree
                };
                self.add_tree(layers, popups, popup.wl_surface(), corner);
            }
        }
    }
}

/// The values that all layers of a surface tree have in common.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    /// The window or layer surface.
    pub(crate) owner: &'a Owner,
    /// The output whose scene it is.
    pub(crate) output: OutputId,
    /// The role of the root.
    pub(crate) role: Role,
    /// The number of popup levels below this tree.
    pub(crate) depth: usize,
}

/// The maximum number of nested popup levels that are shown.
const POPUP_DEPTH_MAX: usize = 16;
