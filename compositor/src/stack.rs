//! The windows from the lowest to the highest, and where each one is.

use std::collections::HashMap;

use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{
    SubsurfaceCachedState, TraversalAction, with_states, with_surface_tree_upward,
};
use smithay::wayland::shell::xdg::{
    PopupSurface, SurfaceCachedState, ToplevelSurface, XdgToplevelSurfaceData,
};

use crate::region::Rect;
use crate::scene::{Role, Scene, SceneLayer};
use crate::surface::Surface;

/// What is behind the windows.
const BACKGROUND: u32 = 0xff30_3840;
/// What is behind a fullscreen window, as xdg-shell asks for.
const BACKDROP: u32 = 0xff00_0000;

/// A toplevel window.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its role object.
    pub toplevel: ToplevelSurface,
    /// Whether the client asked to fill the output.
    pub fullscreen: bool,
}

/// All surfaces that have content or could get some.
#[derive(Debug, Default)]
pub struct Stack {
    windows: Vec<Window>,
    popups: Vec<PopupSurface>,
    surfaces: HashMap<ObjectId, Surface>,
}

impl Stack {
    /// Returns a surface's state, made when it is asked for the first time.
    pub fn surface(&mut self, surface: &WlSurface) -> &mut Surface {
        self.surfaces.entry(surface.id()).or_default()
    }

    /// Returns a surface's state if it has any.
    pub fn find(&self, surface: &WlSurface) -> Option<&Surface> {
        self.surfaces.get(&surface.id())
    }

    /// Tells whether a surface has content.
    pub fn is_shown(&self, surface: &WlSurface) -> bool {
        self.find(surface)
            .is_some_and(|surface| surface.content().is_some())
    }

    /// Forgets a surface that is gone; its buffer is released.
    pub fn forget(&mut self, surface: &WlSurface) {
        self.surfaces.remove(&surface.id());
    }

    /// Puts a new window on top.
    pub fn add_window(&mut self, toplevel: ToplevelSurface) {
        self.windows.push(Window {
            toplevel,
            fullscreen: false,
        });
    }

    /// Takes a window away.
    pub fn remove_window(&mut self, toplevel: &ToplevelSurface) {
        self.windows.retain(|window| window.toplevel != *toplevel);
    }

    /// Puts a window on top of the others.
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

    /// Notes whether a window fills the output, and tells whether it did not before, or did and does not now.
    pub fn set_fullscreen(&mut self, toplevel: &ToplevelSurface, fullscreen: bool) -> bool {
        let window = self
            .windows
            .iter_mut()
            .find(|window| window.toplevel == *toplevel);
        window.is_some_and(|window| {
            std::mem::replace(&mut window.fullscreen, fullscreen) != fullscreen
        })
    }

    /// Adds a popup.
    pub fn add_popup(&mut self, popup: PopupSurface) {
        self.popups.push(popup);
    }

    /// Takes a popup away.
    pub fn remove_popup(&mut self, popup: &PopupSurface) {
        self.popups.retain(|held| held != popup);
    }

    /// Returns all popups.
    pub fn popups(&self) -> &[PopupSurface] {
        &self.popups
    }

    /// Finds the popup of a surface.
    pub fn popup(&self, surface: &WlSurface) -> Option<&PopupSurface> {
        self.popups
            .iter()
            .find(|popup| popup.wl_surface() == surface)
    }

    /// Returns the windows, the lowest first.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Finds the window of a surface.
    pub fn window(&self, surface: &WlSurface) -> Option<&Window> {
        self.windows
            .iter()
            .find(|window| window.toplevel.wl_surface() == surface)
    }

    /// Returns the highest window that shows something.
    pub fn top(&self) -> Option<&Window> {
        self.windows
            .iter()
            .rev()
            .find(|window| self.is_mapped(window))
    }

    /// Arranges everything that is to be seen on an output of that size.
    pub fn scene(&self, output: Rect) -> Scene {
        let mut layers = Vec::new();
        // Whatever is below a fullscreen window is hidden, also where the window does not reach.
        let lowest = self
            .windows
            .iter()
            .rposition(|window| window.fullscreen && self.is_mapped(window));
        for window in self.windows.iter().skip(lowest.unwrap_or(0)) {
            if !self.is_mapped(window) {
                continue;
            }
            let surface = window.toplevel.wl_surface();
            let geometry = self.geometry(surface);
            let centred = |space: i32, size: i32| space.saturating_sub(size) / 2;
            let corner = if window.fullscreen {
                (
                    centred(output.width, geometry.width),
                    centred(output.height, geometry.height),
                )
            } else {
                // A title bar outside of the output could not be reached.
                (
                    centred(output.width, geometry.width).max(0),
                    centred(output.height, geometry.height).max(0),
                )
            };
            self.add_tree(&mut layers, window, surface, corner, Role::Window, 0);
        }
        Scene {
            background: if lowest.is_some() {
                BACKDROP
            } else {
                BACKGROUND
            },
            layers,
        }
    }

    fn is_mapped(&self, window: &Window) -> bool {
        window.toplevel.alive() && self.is_shown(window.toplevel.wl_surface())
    }

    /// Returns the part of a surface that counts as the window, without shadows.
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

    /// Adds a surface with its subsurfaces and popups; `corner` is where its window geometry begins.
    fn add_tree(
        &self,
        layers: &mut Vec<SceneLayer>,
        window: &Window,
        root: &WlSurface,
        corner: (i32, i32),
        role: Role,
        depth: usize,
    ) {
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
                    window: window.clone(),
                    role: if surface == root {
                        role
                    } else {
                        Role::Subsurface
                    },
                    view: state.view(at),
                    opaque: state
                        .opaque()
                        .rects()
                        .iter()
                        .map(|rect| rect.moved(at.0, at.1))
                        .collect(),
                    damage: state
                        .damage()
                        .rects()
                        .iter()
                        .map(|rect| rect.moved(at.0, at.1))
                        .collect(),
                    has_new_content: state.has_new_content(),
                    content: content.clone(),
                });
            },
            |_, _, _| true,
        );
        // A client could nest popups without end; nobody sees more than a few.
        if depth >= POPUP_DEPTH {
            return;
        }
        for popup in &self.popups {
            if popup.alive() && popup.get_parent_surface().as_ref() == Some(root) {
                let offset = popup.with_pending_state(|state| state.geometry.loc);
                let corner = (
                    corner.0.saturating_add(offset.x),
                    corner.1.saturating_add(offset.y),
                );
                self.add_tree(
                    layers,
                    window,
                    popup.wl_surface(),
                    corner,
                    Role::Popup,
                    depth + 1,
                );
            }
        }
    }
}

/// Popups of popups that are shown.
const POPUP_DEPTH: usize = 16;

impl Window {
    /// Returns title and application id, as reports name a window.
    pub fn name(&self) -> String {
        let (title, app_id) = with_states(self.toplevel.wl_surface(), |states| {
            let data = states.data_map.get::<XdgToplevelSurfaceData>();
            data.and_then(|data| {
                let data = data.lock().ok()?;
                Some((data.title.clone(), data.app_id.clone()))
            })
            .unwrap_or_default()
        });
        format!(
            "{}/{}",
            title.unwrap_or_default(),
            app_id.unwrap_or_default()
        )
    }

    /// Returns the client it belongs to, while that is connected.
    pub fn client(&self) -> Option<Client> {
        self.toplevel.wl_surface().client()
    }
}
