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
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{
    PopupSurface, PositionerState, ToplevelSurface, XdgPopupSurfaceData, XdgShellHandler,
    XdgShellState, XdgShellSurfaceUserData, XdgToplevelSurfaceData, XdgWmBaseUserData,
};

use crate::limits::{Limit, amount};
use crate::state::State;

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
        let top = self.stack.top_visible();
        let top = top.map(|window| window.toplevel.wl_surface().clone());
        let keyboard = self.seat.get_keyboard();
        if keyboard.is_some_and(|keyboard| keyboard.current_focus() != top) {
            self.update_keyboard_focus();
        }
    }

    /// Gives keyboard focus to the highest window that is at least partly visible on an output.
    ///
    /// No other window gets keyboard focus or the selection. Otherwise a client could create an invisible window and receive
    /// input that is meant for another client.
    pub(super) fn update_keyboard_focus(&mut self) {
        let top = self.stack.top_visible();
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
        if let Some(keyboard) = self.seat.get_keyboard() {
            let surface = top.map(|toplevel| toplevel.wl_surface().clone());
            if keyboard.current_focus() != surface {
                keyboard.set_focus(self, surface, SERIAL_COUNTER.next_serial());
            }
        }
    }

    /// Configures a window as fullscreen or maximised with the size of its output. If `state` is `None`, the client chooses the
    /// size.
    fn set_fill_state(&mut self, toplevel: &ToplevelSurface, state: Option<xdg_toplevel::State>) {
        let size = self.stack.window(toplevel.wl_surface()).and_then(|window| {
            let output = self.stack.output_of(window)?;
            Some((output.logical.width, output.logical.height))
        });
        toplevel.with_pending_state(|pending| {
            pending.states.unset(xdg_toplevel::State::Fullscreen);
            pending.states.unset(xdg_toplevel::State::Maximized);
            pending.size = state.and_then(|state| {
                pending.states.set(state);
                size.map(Into::into)
            });
            pending.fullscreen_output = None;
        });
        let fullscreen = state == Some(xdg_toplevel::State::Fullscreen);
        if self.stack.set_fullscreen(toplevel, fullscreen) {
            self.set_surface_scanout(toplevel.wl_surface(), fullscreen);
        }
        if toplevel.is_initial_configure_sent() {
            toplevel.send_configure();
        }
        // A client can cause configure events by requests. Each of them is stored until the client acknowledges it, so their
        // number is limited.
        let surface = toplevel.wl_surface();
        let unacknowledged = with_states(surface, |states| {
            let data = states.data_map.get::<XdgToplevelSurfaceData>();
            let data = data.and_then(|data| data.lock().ok());
            data.map_or(0, |data| data.pending_configures().len())
        });
        self.check_configures(surface, unacknowledged);
        self.outputs.schedule_redraw();
    }

    fn check_configures(&self, surface: &WlSurface, unacknowledged: usize) {
        self.check_limit(surface, Limit::Configures, amount(unacknowledged));
    }

    /// Configures fullscreen and maximised windows with the new size of their output.
    pub fn configure_for_outputs(&mut self) {
        for window in self.stack.windows() {
            let Some(output) = self.stack.output_of(window) else {
                continue;
            };
            let size = (output.logical.width, output.logical.height);
            window.toplevel.with_pending_state(|pending| {
                pending.bounds = Some(size.into());
                if pending.states.contains(xdg_toplevel::State::Fullscreen)
                    || pending.states.contains(xdg_toplevel::State::Maximized)
                {
                    pending.size = Some(size.into());
                }
            });
            if window.toplevel.is_initial_configure_sent() {
                window.toplevel.send_pending_configure();
            }
        }
    }

    fn place_popup(&self, popup: &PopupSurface, positioner: PositionerState) {
        // The position of the parent is not known before it is shown, so the popup is constrained as if the parent were centred.
        let parent = popup.get_parent_surface();
        let window = parent.as_ref().and_then(|parent| self.stack.window(parent));
        let output = match window {
            Some(window) => self.stack.output_of(window),
            None => self.stack.outputs().first(),
        };
        let (width, height) = output.map_or((0, 0), |output| {
            (output.logical.width, output.logical.height)
        });
        let size = parent
            .and_then(|parent| self.stack.find(&parent).map(crate::surface::Surface::size))
            .unwrap_or((width, height));
        let left = (width.saturating_sub(size.0) / 2).max(0);
        let top = (height.saturating_sub(size.1) / 2).max(0);
        let target = Rectangle::new((-left, -top).into(), (width, height).into());
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
        let output = self.outputs.at(self.pointer.current_location());
        surface.with_pending_state(|state| {
            state.bounds =
                output.map(|output| (output.logical.width, output.logical.height).into());
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
        self.role_destroyed(surface.wl_surface());
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
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
        self.role_destroyed(surface.wl_surface());
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

    // A popup grab does not change keyboard focus. Otherwise a client without focus could take the focus with a guessed serial.
    fn grab(&mut self, _surface: PopupSurface, _seat: WlSeat, _serial: Serial) {}

    fn fullscreen_request(&mut self, surface: ToplevelSurface, output: Option<WlOutput>) {
        if let Some(id) = output.and_then(|output| self.find_output(&output)) {
            self.stack.set_window_output(&surface, id);
        }
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
