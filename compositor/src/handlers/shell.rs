//! `xdg_wm_base`: windows and popups.

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

/// The largest number of windows of one client. All windows are visited when the focus changes.
const WINDOWS_MAX: usize = 256;
/// The largest number of popups of one client. All popups are visited for each surface of a frame.
const POPUPS_MAX: usize = 128;

impl State {
    /// Disconnects the client of `surface` if it has more than `limit` of the `objects`, which are those of all clients.
    fn enforce_limit<'a>(
        &self,
        surface: &WlSurface,
        objects: impl Iterator<Item = &'a WlSurface>,
        limit: usize,
        kind: &str,
    ) {
        let Some(client) = surface.client() else {
            return;
        };
        let id = surface.id();
        let own = objects.filter(|surface| surface.id().same_client_as(&id));
        if own.count() > limit {
            let reason = format!("the client exceeds the limit of {limit} {kind}");
            self.connections.disconnect(&self.display, &client, reason);
        }
    }

    /// Handles a commit of a window or popup: sends the initial configure event, and checks that it was acknowledged.
    pub(super) fn handle_shell_commit(&mut self, surface: &WlSurface) {
        if let Some(window) = self.stack.window(surface).cloned() {
            if !self.stack.has_content(surface) {
                if !window.toplevel.is_initial_configure_sent() {
                    window.toplevel.send_configure();
                }
            } else if !window.toplevel.ensure_configured() {
                // Smithay has posted the protocol error.
                self.stack.remove_surface(surface);
            }
        } else if let Some(popup) = self.stack.popup(surface).cloned() {
            if self.stack.has_content(surface) {
                if !popup.ensure_configured() {
                    self.stack.remove_surface(surface);
                }
            } else if !popup.is_initial_configure_sent() {
                if let Err(error) = popup.send_configure() {
                    tracing::warn!(%error, "a popup cannot be configured");
                }
            }
        }
    }

    /// Updates stacking and focus after a surface was mapped or unmapped.
    pub(super) fn mapping_changed(&mut self, surface: &WlSurface) {
        if let Some(window) = self.stack.window(surface).cloned() {
            if self.stack.has_content(surface) {
                self.stack.raise(&window.toplevel);
            } else {
                // The next commit of an unmapped window has to be answered with a configure event.
                window.toplevel.reset_initial_configure_sent();
            }
        }
        self.update_keyboard_focus();
        self.update_pointer_focus();
    }

    /// Gives keyboard focus to the highest mapped window.
    ///
    /// An unmapped window gets neither keyboard focus nor the selection. Otherwise a client could create an invisible window and
    /// read input for another client.
    pub(super) fn update_keyboard_focus(&mut self) {
        let top = self.stack.top().map(|window| window.toplevel.clone());
        for window in self.stack.windows() {
            // An unmapped window will be in front when it is mapped, so it is configured as activated and need not draw twice.
            let active = Some(&window.toplevel) == top.as_ref()
                || !self.stack.has_content(window.toplevel.wl_surface());
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

    /// Configures a window as fullscreen or maximised with the size of the output, or with a size of its own if `state` is
    /// `None`.
    fn set_fill_state(&mut self, toplevel: &ToplevelSurface, state: Option<xdg_toplevel::State>) {
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
        let fullscreen = state == Some(xdg_toplevel::State::Fullscreen);
        if self.stack.set_fullscreen(toplevel, fullscreen) {
            self.dmabuf
                .set_surface_scanout(toplevel.wl_surface(), fullscreen);
        }
        if toplevel.is_initial_configure_sent() {
            toplevel.send_configure();
        }
        self.screen.schedule_redraw();
    }

    /// Configures fullscreen and maximised windows with the new size of the output.
    pub fn configure_for_mode(&mut self) {
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
        // The position of the parent is not known exactly before it is shown, so the popup is constrained by a centred parent.
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
        let objects = windows.map(|window| window.toplevel.wl_surface());
        self.enforce_limit(&new, objects, WINDOWS_MAX, "windows");
        self.update_keyboard_focus();
    }

    fn toplevel_destroyed(&mut self, surface: ToplevelSurface) {
        self.stack.remove_window(&surface);
        self.role_destroyed(surface.wl_surface());
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.screen.schedule_redraw();
    }

    fn new_popup(&mut self, surface: PopupSurface, positioner: PositionerState) {
        self.place_popup(&surface, positioner);
        let new = surface.wl_surface().clone();
        self.stack.add_popup(surface);
        let objects = self.stack.popups().iter().map(PopupSurface::wl_surface);
        self.enforce_limit(&new, objects, POPUPS_MAX, "popups");
    }

    fn popup_destroyed(&mut self, surface: PopupSurface) {
        self.stack.remove_popup(&surface);
        self.role_destroyed(surface.wl_surface());
        self.update_pointer_focus();
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

    // A grab does not change keyboard focus. Otherwise a client without focus could take it with a guessed serial.
    fn grab(&mut self, _surface: PopupSurface, _seat: WlSeat, _serial: Serial) {}

    fn fullscreen_request(&mut self, surface: ToplevelSurface, _output: Option<WlOutput>) {
        self.set_fill_state(&surface, Some(xdg_toplevel::State::Fullscreen));
    }

    fn unfullscreen_request(&mut self, surface: ToplevelSurface) {
        self.set_fill_state(&surface, None);
    }

    fn maximize_request(&mut self, surface: ToplevelSurface) {
        self.set_fill_state(&surface, Some(xdg_toplevel::State::Maximized));
    }

    fn unmaximize_request(&mut self, surface: ToplevelSurface) {
        self.set_fill_state(&surface, None);
    }
}

impl State {
    /// Raises a window and updates the keyboard focus.
    pub fn activate(&mut self, toplevel: &ToplevelSurface) {
        self.stack.raise(toplevel);
        self.update_keyboard_focus();
        self.screen.schedule_redraw();
    }

    /// Returns the seat.
    pub fn seat(&self) -> &Seat<Self> {
        &self.seat
    }
}

// Requests to surfaces, toplevels and positioners go through `checked`.
delegate_global_dispatch!(State: [XdgWmBase: ()] => XdgShellState);
delegate_dispatch!(State: [XdgWmBase: XdgWmBaseUserData] => XdgShellState);
delegate_dispatch!(State: [XdgPopup: XdgShellSurfaceUserData] => XdgShellState);
