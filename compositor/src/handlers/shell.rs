//! `xdg_wm_base`: windows and popups.

use smithay::input::Seat;
use smithay::reexports::wayland_protocols::xdg::shell::server::{
    xdg_popup::XdgPopup, xdg_toplevel, xdg_wm_base::XdgWmBase,
};
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_seat::WlSeat;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Resource, delegate_dispatch, delegate_global_dispatch};
use smithay::utils::{SERIAL_COUNTER, Serial};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{
    Configure, PopupSurface, PositionerState, ToplevelSurface, XdgPopupSurfaceData,
    XdgShellHandler, XdgShellState, XdgShellSurfaceUserData, XdgWmBaseUserData,
};

use crate::limits::{Limit, amount};
use crate::shell::ResizeEdges;
use crate::state::State;
use crate::window::Arrangement;

impl State {
    /// Disconnects the client of `surface` if the number of its objects in `objects` exceeds a limit. `objects` are the objects
    /// of all clients.
    fn enforce_limit<'a>(
        &self,
        surface: &WlSurface,
        objects: impl Iterator<Item = &'a WlSurface>,
        limit: Limit,
    ) {
        let id = surface.id();
        let own = objects.filter(|surface| surface.id().same_client_as(&id));
        self.check_limit(surface, limit, amount(own.count()));
    }

    /// Handles a commit of a window or popup: sends the initial configure event, and checks that it was acknowledged.
    pub(super) fn handle_shell_commit(&mut self, surface: &WlSurface) {
        if let Some(window) = self.stack.window(surface).cloned() {
            if !self.stack.has_content(surface) {
                if !window.toplevel.is_initial_configure_sent() {
                    window.toplevel.send_configure();
                }
            } else if !window.toplevel.ensure_configured() {
                // Smithay has posted the protocol error already.
                self.stack.remove_surface(surface);
            } else {
                self.window_committed(surface);
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
        } else {
            self.layer_surface_committed(surface);
        }
    }

    /// Updates stacking and focus after a surface was mapped or unmapped.
    pub(super) fn mapping_changed(&mut self, surface: &WlSurface) {
        self.toplevel_list.mark_changed();
        if let Some(window) = self.stack.window(surface).cloned() {
            if self.stack.has_content(surface) {
                self.stack.raise(&window.toplevel);
                self.stack.layer_surfaces.activate(None);
                self.place_window(&window.toplevel);
            } else {
                self.forget_place(&window.toplevel);
                // The compositor has to answer the next commit of an unmapped window with a configure event.
                window.toplevel.reset_initial_configure_sent();
            }
        }
        self.update_keyboard_focus();
        self.update_pointer_focus();
    }

    /// Moves the keyboard focus if the focused window is no longer the highest visible one, although no window was mapped or
    /// unmapped. Any commit can move a window's content away from the outputs.
    pub(crate) fn check_keyboard_focus(&mut self) {
        let target = self.keyboard_target();
        let keyboard = self.seat.get_keyboard();
        if keyboard.is_some_and(|keyboard| keyboard.current_focus() != target) {
            self.update_keyboard_focus();
        }
    }

    /// Gives keyboard focus to the highest window that is at least partly visible on an output, to a layer surface that wants it,
    /// or to a popup with a grab.
    ///
    /// No other window gets keyboard focus or the selection. Otherwise a client could create an invisible window and receive
    /// input that is meant for another client.
    pub(crate) fn update_keyboard_focus(&mut self) {
        self.check_popup_grabs();
        let top = self.focused_window();
        let top = top.map(|window| window.toplevel.clone());
        for window in self.stack.windows() {
            // An unmapped window becomes the highest one when it is mapped. It is configured as activated before, so that it need
            // not draw twice.
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
        self.pointer_constraints.mark_changed();
        if let Some(keyboard) = self.seat.get_keyboard() {
            let surface = self.keyboard_target();
            if keyboard.current_focus() != surface {
                keyboard.set_focus(self, surface, SERIAL_COUNTER.next_serial());
            }
        }
    }
}

impl XdgShellHandler for State {
    fn xdg_shell_state(&mut self) -> &mut XdgShellState {
        &mut self.protocols.shell
    }

    fn new_toplevel(&mut self, surface: ToplevelSurface) {
        let output = self.outputs.at(self.pointer.current_location());
        surface.with_pending_state(|state| {
            let area = output.map(|output| self.stack.usable_area(&output, false));
            state.bounds = area.map(|area| (area.width, area.height).into());
        });
        let new = surface.wl_surface().clone();
        self.stack
            .add_window(surface, output.map(|output| output.id));
        let windows = self.stack.windows().iter();
        let objects = windows.map(|window| window.toplevel.wl_surface());
        self.enforce_limit(&new, objects, Limit::Windows);
        self.update_keyboard_focus();
    }

    fn toplevel_destroyed(&mut self, surface: ToplevelSurface) {
        self.stack.remove_window(&surface);
        self.toplevel_list.mark_changed();
        self.cancel_drag_of(&surface);
        self.role_destroyed(surface.wl_surface());
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
    }

    fn title_changed(&mut self, _surface: ToplevelSurface) {
        self.toplevel_list.mark_changed();
    }

    fn app_id_changed(&mut self, _surface: ToplevelSurface) {
        self.toplevel_list.mark_changed();
    }

    fn new_popup(&mut self, surface: PopupSurface, positioner: PositionerState) {
        self.place_popup(&surface, positioner);
        let new = surface.wl_surface().clone();
        self.stack.add_popup(surface);
        let objects = self.stack.popups().iter().map(PopupSurface::wl_surface);
        self.enforce_limit(&new, objects, Limit::Popups);
    }

    fn popup_destroyed(&mut self, surface: PopupSurface) {
        self.stack.remove_popup(&surface);
        self.forget_popup_grab(&surface);
        self.role_destroyed(surface.wl_surface());
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
    }

    fn reposition_request(
        &mut self,
        surface: PopupSurface,
        positioner: PositionerState,
        token: u32,
    ) {
        self.place_popup(&surface, positioner);
        surface.send_repositioned(token);
        let surface = surface.wl_surface();
        let unacknowledged = with_states(surface, |states| {
            let data = states.data_map.get::<XdgPopupSurfaceData>();
            let data = data.and_then(|data| data.lock().ok());
            data.map_or(0, |data| data.pending_configures().len())
        });
        self.check_configures(surface, unacknowledged);
        self.outputs.schedule_redraw();
    }

    fn grab(&mut self, surface: PopupSurface, _seat: WlSeat, serial: Serial) {
        self.popup_grab_requested(&surface, serial);
    }

    fn move_request(&mut self, surface: ToplevelSurface, _seat: WlSeat, serial: Serial) {
        self.drag_requested(&surface, serial, None);
    }

    fn resize_request(
        &mut self,
        surface: ToplevelSurface,
        _seat: WlSeat,
        serial: Serial,
        edge: xdg_toplevel::ResizeEdge,
    ) {
        if let Some(edges) = ResizeEdges::new(edge) {
            self.drag_requested(&surface, serial, Some(edges));
        }
    }

    fn fullscreen_request(&mut self, surface: ToplevelSurface, output: Option<WlOutput>) {
        if let Some(id) = output.and_then(|output| self.find_output(&output)) {
            self.stack.set_window_output(&surface, id);
        }
        self.set_fullscreen(&surface, true);
        self.configure_arrangement(&surface, true);
    }

    fn unfullscreen_request(&mut self, surface: ToplevelSurface) {
        self.set_fullscreen(&surface, false);
        self.configure_arrangement(&surface, true);
    }

    // While a window is fullscreen, these requests change only the arrangement to which it returns, as the protocol requires.
    fn maximize_request(&mut self, surface: ToplevelSurface) {
        self.arrange(&surface, Arrangement::Maximized);
        self.configure_arrangement(&surface, true);
    }

    fn unmaximize_request(&mut self, surface: ToplevelSurface) {
        self.arrange(&surface, Arrangement::Floating);
        self.configure_arrangement(&surface, true);
    }

    fn minimize_request(&mut self, surface: ToplevelSurface) {
        self.minimize(&surface);
    }

    fn ack_configure(&mut self, surface: WlSurface, _configure: Configure) {
        self.send_area_of_window(&surface);
    }
}

impl State {
    /// Raises a window, shows it if it is minimised, and updates the focus.
    pub fn activate(&mut self, toplevel: &ToplevelSurface) {
        self.set_minimized(toplevel, false);
        self.stack.raise(toplevel);
        self.stack.layer_surfaces.activate(None);
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
    }

    /// Returns the seat.
    pub fn seat(&self) -> &Seat<Self> {
        &self.seat
    }
}

// The requests of surfaces, toplevels and positioners are validated in `checked` first.
delegate_global_dispatch!(State: [XdgWmBase: ()] => XdgShellState);
delegate_dispatch!(State: [XdgWmBase: XdgWmBaseUserData] => XdgShellState);
delegate_dispatch!(State: [XdgPopup: XdgShellSurfaceUserData] => XdgShellState);
