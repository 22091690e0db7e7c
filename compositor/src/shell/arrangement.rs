//! The size and the states of a window: fullscreen, maximised, half of the output, or floating.

use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{ToplevelState, ToplevelSurface, XdgToplevelSurfaceData};

use super::placement;
use crate::limits::{Limit, amount};
use crate::region::Rect;
use crate::state::State;
use crate::window::{Arrangement, Position, Window};

/// Returns the states of `xdg_toplevel` for a window that is not fullscreen.
fn states_of(arrangement: Arrangement) -> &'static [xdg_toplevel::State] {
    use xdg_toplevel::State::{Maximized, TiledBottom, TiledLeft, TiledRight, TiledTop};
    match arrangement {
        Arrangement::Floating => &[],
        Arrangement::Maximized => &[Maximized],
        Arrangement::LeftHalf => &[TiledLeft, TiledTop, TiledBottom],
        Arrangement::RightHalf => &[TiledRight, TiledTop, TiledBottom],
    }
}

/// Sets the size and the states of a window that is arranged in that area of its output; `None` while no output is on.
fn describe(pending: &mut ToplevelState, window: &Window, area: Option<Rect>) {
    for arrangement in [
        Arrangement::Maximized,
        Arrangement::LeftHalf,
        Arrangement::RightHalf,
    ] {
        for state in states_of(arrangement) {
            pending.states.unset(*state);
        }
    }
    pending.states.unset(xdg_toplevel::State::Fullscreen);
    pending.fullscreen_output = None;
    if window.fullscreen {
        pending.states.set(xdg_toplevel::State::Fullscreen);
        pending.size = area.map(|area| (area.width, area.height).into());
        return;
    }
    for state in states_of(window.arrangement) {
        pending.states.set(*state);
    }
    let filled = area.and_then(|area| window.arrangement.rect(area));
    pending.size = match window.arrangement {
        Arrangement::Floating => window.floating_size.map(Into::into),
        _ => filled.map(|rect| (rect.width, rect.height).into()),
    };
}

/// Returns the number of configure events of a window that its client has not acknowledged.
pub(super) fn unacknowledged(surface: &WlSurface) -> usize {
    with_states(surface, |states| {
        let data = states.data_map.get::<XdgToplevelSurfaceData>();
        let data = data.and_then(|data| data.lock().ok());
        data.map_or(0, |data| data.pending_configures().len())
    })
}

impl State {
    /// Sets whether a window is fullscreen, without telling its client.
    pub(crate) fn set_fullscreen(&mut self, toplevel: &ToplevelSurface, fullscreen: bool) {
        if self.stack.set_fullscreen(toplevel, fullscreen) {
            self.cancel_drag_of(toplevel);
            self.set_surface_scanout(toplevel.wl_surface(), fullscreen);
        }
    }

    /// Sets the arrangement of a window, without telling its client.
    pub(crate) fn arrange(&mut self, toplevel: &ToplevelSurface, arrangement: Arrangement) {
        if let Some(window) = self.stack.window_mut(toplevel) {
            if std::mem::replace(&mut window.arrangement, arrangement) != arrangement {
                self.cancel_drag_of(toplevel);
            }
        }
    }

    /// Configures a window with the size and the states of its arrangement. A request of the client is always answered; otherwise
    /// the client is configured if something changed.
    pub(crate) fn configure_arrangement(&mut self, toplevel: &ToplevelSurface, is_answer: bool) {
        let surface = toplevel.wl_surface();
        let Some(window) = self.stack.window(surface) else {
            return;
        };
        let output = self.stack.output_of(window);
        let area = output.map(|output| self.stack.usable_area(output, window.fullscreen));
        toplevel.with_pending_state(|pending| describe(pending, window, area));
        if toplevel.is_initial_configure_sent() {
            if is_answer {
                toplevel.send_configure();
            } else {
                toplevel.send_pending_configure();
            }
        }
        // A client that requests configure events must also acknowledge them, since each is stored until then.
        self.check_configures(surface, unacknowledged(surface));
        self.outputs.schedule_redraw();
    }

    /// Disconnects the client of a surface if the number of configure events that it has not acknowledged exceeds the limit.
    pub(crate) fn check_configures(&self, surface: &WlSurface, unacknowledged: usize) {
        self.check_limit(surface, Limit::Configures, amount(unacknowledged));
    }

    /// Configures windows with the new size of their output, or of its usable area. A window whose client has not acknowledged an
    /// earlier configure event is configured when it has: other clients can change the usable area as often as they want.
    pub fn configure_for_outputs(&mut self) {
        for window in self.stack.windows() {
            let Some(output) = self.stack.output_of(window) else {
                continue;
            };
            let usable = self.stack.usable_area(output, false);
            let area = self.stack.usable_area(output, window.fullscreen);
            window.toplevel.with_pending_state(|pending| {
                pending.bounds = Some((usable.width, usable.height).into());
                if window.is_arranged() {
                    describe(pending, window, Some(area));
                }
            });
            let surface = window.toplevel.wl_surface();
            if window.toplevel.is_initial_configure_sent() && unacknowledged(surface) == 0 {
                window.toplevel.send_pending_configure();
            }
        }
    }

    /// Configures a window with an area that changed while its client had not acknowledged an earlier configure event.
    pub(crate) fn send_area_of_window(&self, surface: &WlSurface) {
        let window = self.stack.window(surface);
        if let Some(window) = window.filter(|window| window.is_arranged()) {
            if unacknowledged(surface) == 0 {
                window.toplevel.send_pending_configure();
            }
        }
    }

    /// Places a window that was just mapped. It covers no other window if there is room for it. If it is the only window on its
    /// output, it is placed in the middle.
    pub(crate) fn place_window(&mut self, toplevel: &ToplevelSurface) {
        let Some(window) = self.stack.window(toplevel.wl_surface()) else {
            return;
        };
        if self.shell.is_kiosk || window.fullscreen || window.arrangement != Arrangement::Floating {
            return;
        }
        let (Some(output), Some(rect)) = (self.stack.output_of(window), self.stack.rect(window))
        else {
            return;
        };
        let area = self.stack.usable_area(output, false);
        let others = self.stack.windows().iter().rev().filter(|other| {
            other.toplevel != *toplevel && !other.fullscreen && self.stack.is_shown(other)
        });
        let others: Vec<Rect> = others
            .filter_map(|other| self.stack.rect(other))
            .filter(|rect| rect.intersection(area).is_some())
            .collect();
        if others.is_empty() {
            return;
        }
        let corner = placement::place((rect.width, rect.height), area, &others);
        if let Some(window) = self.stack.window_mut(toplevel) {
            window.position = Some(Position::of_corner(corner));
        }
    }

    /// Forgets the position of a window that was unmapped.
    pub(crate) fn forget_place(&mut self, toplevel: &ToplevelSurface) {
        self.cancel_drag_of(toplevel);
        if let Some(window) = self.stack.window_mut(toplevel) {
            window.position = None;
            window.floating_size = None;
            window.minimized = false;
        }
    }
}
