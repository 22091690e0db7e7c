//! `wl_seat`: keyboard and pointer focus, which the selections follow.

use smithay::input::pointer::CursorImageStatus;
use smithay::input::{Seat, SeatHandler, SeatState};
use smithay::reexports::wayland_server::protocol::{
    wl_keyboard::WlKeyboard, wl_seat::WlSeat, wl_surface::WlSurface, wl_touch::WlTouch,
};
use smithay::reexports::wayland_server::{
    DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::seat::{KeyboardUserData, SeatGlobalData, SeatUserData, TouchUserData};
use smithay::wayland::selection::data_device::set_data_device_focus;
use smithay::wayland::selection::primary_selection::set_primary_focus;

use crate::state::State;

impl SeatHandler for State {
    type KeyboardFocus = WlSurface;
    type PointerFocus = WlSurface;
    type TouchFocus = WlSurface;

    fn seat_state(&mut self) -> &mut SeatState<Self> {
        &mut self.protocols.seat
    }

    fn focus_changed(&mut self, seat: &Seat<Self>, focused: Option<&WlSurface>) {
        let display: &DisplayHandle = &self.display;
        let client = focused.and_then(|surface| display.get_client(surface.id()).ok());
        set_data_device_focus(display, seat, client.clone());
        set_primary_focus(display, seat, client);
    }

    fn cursor_image(&mut self, _seat: &Seat<Self>, image: CursorImageStatus) {
        // A window that follows the pointer has an image of its own.
        if !self.shell.is_dragging() {
            self.set_cursor(image);
        }
    }
}

// The requests of pointers are validated in `checked` first.
delegate_global_dispatch!(State: [WlSeat: SeatGlobalData<State>] => SeatState<State>);
delegate_dispatch!(State: [WlSeat: SeatUserData<State>] => SeatState<State>);
delegate_dispatch!(State: [WlKeyboard: KeyboardUserData<State>] => SeatState<State>);
delegate_dispatch!(State: [WlTouch: TouchUserData<State>] => SeatState<State>);
