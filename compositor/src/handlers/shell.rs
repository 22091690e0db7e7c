//! Windows and popups.

use smithay::input::Seat;
use smithay::reexports::wayland_protocols::xdg::shell::server::{
    xdg_popup::XdgPopup, xdg_toplevel, xdg_wm_base::XdgWmBase,
};
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_seat::WlSeat;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Resource, delegate_dispatch, delegate_global_dispatch};
use smithay::utils::{Rectangle, SERIAL_COUNTER, Serial};
use smithay::wayland::shell::xdg::{
    PopupSurface, PositionerState, ToplevelSurface, XdgShellHandler, XdgShellState,
    XdgShellSurfaceUserData, XdgWmBaseUserData,
};

use crate::state::State;

/// Windows of one client: each is looked at when the focus changes.
const WINDOWS_MAX: usize = 256;
/// Popups of one client: each is looked at with every surface of a frame.
const POPUPS_MAX: usize = 128;

impl State {
    /// Disconnects the client of a new window or popup when it has too many of them, which are `held` by all clients.
    fn limit<'a>(
        &self,
        surface: &WlSurface,
        held: impl Iterator<Item = &'a WlSurface>,
        most: usize,
        what: &str,
    ) {
        let Some(client) = surface.client() else {
            return;
        };
        let id = surface.id();
        let own = held.filter(|surface| surface.id().same_client_as(&id));
        if own.count() > most {
            let why = format!("a client has {most} {what} at most");
            self.connections.disconnect(&self.display, &client, why);
        }
    }

    /// Does what a commit asks of the shell: the first one of a window or popup is answered with a configuration.
    pub(super) fn shell_commit(&mut self, surface: &WlSurface) {
        if let Some(window) = self.stack.window(surface).cloned() {
            if !self.stack.is_shown(surface) {
                if !window.toplevel.is_initial_configure_sent() {
                    window.toplevel.send_configure();
                }
            } else if !window.toplevel.ensure_configured() {
                // The client was told, and is disconnected.
                self.stack.forget(surface);
            }
        } else if let Some(popup) = self.stack.popup(surface).cloned() {
            if self.stack.is_shown(surface) {
                if !popup.ensure_configured() {
                    self.stack.forget(surface);
                }
            } else if !popup.is_initial_configure_sent() {
                if let Err(error) = popup.send_configure() {
                    tracing::warn!(%error, "a popup cannot be configured");
                }
            }
        }
    }

    /// Follows a surface that got its first content or lost it: the keyboard and the pointer belong to what is shown.
    pub(super) fn mapping_changed(&mut self, surface: &WlSurface) {
        if let Some(window) = self.stack.window(surface).cloned() {
            if self.stack.is_shown(surface) {
                self.stack.raise(&window.toplevel);
            } else {
                // A window that is unmapped starts over: its next commit asks for a configuration.
                window.toplevel.reset_initial_configure_sent();
            }
        }
        self.focus_top();
        self.pointer_follows();
    }

    /// Gives the keyboard to the highest window that shows something.
    ///
    /// A window that shows nothing gets neither the keyboard nor the selection, which goes with it: a client could make one
    /// unseen and read what is typed for another.
    pub(super) fn focus_top(&mut self) {
        let top = self.stack.top().map(|window| window.toplevel.clone());
        for window in self.stack.windows() {
            // One that shows nothing yet will be in front when it does, and draws itself so from the start.
            let active = Some(&window.toplevel) == top.as_ref()
                || !self.stack.is_shown(window.toplevel.wl_surface());
            window.toplevel.with_pending_state(|state| {
                if active {
                    state.states.set(xdg_toplevel::State::Activated);
                } else {
                    state.states.unset(xdg_toplevel::State::Activated);
                }
            });
            if window.toplevel.is_initial_configure_sent() {
                window.toplevel.send_pending_configure();
            }
        }
        if let Some(keyboard) = self.seat.get_keyboard() {
            let surface = top.map(|toplevel| toplevel.wl_surface().clone());
            if keyboard.current_focus() != surface {
                keyboard.set_focus(self, surface, SERIAL_COUNTER.next_serial());
            }
        }
    }

    /// Tells a window its size: the output's when it is to fill it, its own choice otherwise.
    fn resize(&mut self, toplevel: &ToplevelSurface, state: Option<xdg_toplevel::State>) {
        let mode = self.screen.mode();
        toplevel.with_pending_state(|pending| {
            pending.states.unset(xdg_toplevel::State::Fullscreen);
            pending.states.unset(xdg_toplevel::State::Maximized);
            pending.size = state.map(|state| {
                pending.states.set(state);
                (mode.width, mode.height).into()
            });
            pending.fullscreen_output = None;
        });
        let fills = state == Some(xdg_toplevel::State::Fullscreen);
        if self.stack.set_fullscreen(toplevel, fills) {
            self.dmabuf
                .set_surface_scanout(toplevel.wl_surface(), fills);
        }
        if toplevel.is_initial_configure_sent() {
            toplevel.send_configure();
        }
        self.screen.schedule_redraw();
    }

    /// Tells all windows that fill the output its new size.
    pub fn mode_changed(&mut self) {
        let mode = self.screen.mode();
        for window in self.stack.windows() {
            window.toplevel.with_pending_state(|pending| {
                pending.bounds = Some((mode.width, mode.height).into());
                if pending.states.contains(xdg_toplevel::State::Fullscreen)
                    || pending.states.contains(xdg_toplevel::State::Maximized)
                {
                    pending.size = Some((mode.width, mode.height).into());
                }
            });
            if window.toplevel.is_initial_configure_sent() {
                window.toplevel.send_pending_configure();
            }
        }
    }

    fn place_popup(&self, popup: &PopupSurface, positioner: PositionerState) {
        let mode = self.screen.mode();
        // The parent's place is not known exactly before it is shown; its own size bounds the popup well enough.
        let parent = popup.get_parent_surface();
        let size = parent
            .and_then(|parent| self.stack.find(&parent).map(crate::surface::Surface::size))
            .unwrap_or((mode.width, mode.height));
        let left = (mode.width.saturating_sub(size.0) / 2).max(0);
        let top = (mode.height.saturating_sub(size.1) / 2).max(0);
        let target = Rectangle::new((-left, -top).into(), (mode.width, mode.height).into());
        popup.with_pending_state(|state| {
            state.geometry = positioner.get_unconstrained_geometry(target);
            state.positioner = positioner;
        });
    }
}

impl XdgShellHandler for State {
    fn xdg_shell_state(&mut self) -> &mut XdgShellState {
        &mut self.protocols.shell
    }

    fn new_toplevel(&mut self, surface: ToplevelSurface) {
        let mode = self.screen.mode();
        surface.with_pending_state(|state| {
            state.bounds = Some((mode.width, mode.height).into());
        });
        let new = surface.wl_surface().clone();
        self.stack.add_window(surface);
        let windows = self.stack.windows().iter();
        let held = windows.map(|window| window.toplevel.wl_surface());
        self.limit(&new, held, WINDOWS_MAX, "windows");
        self.focus_top();
    }

    fn toplevel_destroyed(&mut self, surface: ToplevelSurface) {
        self.stack.remove_window(&surface);
        self.role_ended(surface.wl_surface());
        self.focus_top();
        self.pointer_follows();
        self.screen.schedule_redraw();
    }

    fn new_popup(&mut self, surface: PopupSurface, positioner: PositionerState) {
        self.place_popup(&surface, positioner);
        let new = surface.wl_surface().clone();
        self.stack.add_popup(surface);
        let held = self.stack.popups().iter().map(PopupSurface::wl_surface);
        self.limit(&new, held, POPUPS_MAX, "popups");
    }

    fn popup_destroyed(&mut self, surface: PopupSurface) {
        self.stack.remove_popup(&surface);
        self.role_ended(surface.wl_surface());
        self.pointer_follows();
        self.screen.schedule_redraw();
    }

    fn reposition_request(
        &mut self,
        surface: PopupSurface,
        positioner: PositionerState,
        token: u32,
    ) {
        self.place_popup(&surface, positioner);
        surface.send_repositioned(token);
        self.screen.schedule_redraw();
    }

    // The keyboard stays with the window: a popup that could take it by a serial would need no focus of its client's.
    fn grab(&mut self, _surface: PopupSurface, _seat: WlSeat, _serial: Serial) {}

    fn fullscreen_request(&mut self, surface: ToplevelSurface, _output: Option<WlOutput>) {
        self.resize(&surface, Some(xdg_toplevel::State::Fullscreen));
    }

    fn unfullscreen_request(&mut self, surface: ToplevelSurface) {
        self.resize(&surface, None);
    }

    fn maximize_request(&mut self, surface: ToplevelSurface) {
        self.resize(&surface, Some(xdg_toplevel::State::Maximized));
    }

    fn unmaximize_request(&mut self, surface: ToplevelSurface) {
        self.resize(&surface, None);
    }
}

impl State {
    /// Puts a window on top and gives it the keyboard.
    pub fn activate(&mut self, toplevel: &ToplevelSurface) {
        self.stack.raise(toplevel);
        self.focus_top();
        self.screen.schedule_redraw();
    }

    /// Returns the seat.
    pub fn seat(&self) -> &Seat<Self> {
        &self.seat
    }
}

// Surfaces, toplevels and positioners are checked first.
delegate_global_dispatch!(State: [XdgWmBase: ()] => XdgShellState);
delegate_dispatch!(State: [XdgWmBase: XdgWmBaseUserData] => XdgShellState);
delegate_dispatch!(State: [XdgPopup: XdgShellSurfaceUserData] => XdgShellState);
