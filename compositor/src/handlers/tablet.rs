//! `zwp_tablet_manager_v2`: the tablet seats and tools of clients. Requests of tools are validated in `checked` first.

use smithay::backend::input::TabletToolDescriptor;
use smithay::input::pointer::CursorImageStatus;
use smithay::reexports::wayland_protocols::wp::tablet::zv2::server::{
    zwp_tablet_manager_v2::{self, ZwpTabletManagerV2},
    zwp_tablet_seat_v2::{self, ZwpTabletSeatV2},
    zwp_tablet_v2::ZwpTabletV2,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::tablet_manager::{
    TabletManagerState, TabletSeatHandler, TabletSeatUserData, TabletUserData,
};

use crate::state::State;

impl TabletSeatHandler for State {
    fn tablet_tool_image(&mut self, _tool: &TabletToolDescriptor, image: CursorImageStatus) {
        // A window that follows the pointer has an image of its own. A tool that has not moved since the session was locked still
        // has the focus of a hidden window.
        if !self.shell.is_dragging() && !self.stack.session_lock.is_locked() {
            self.set_cursor(image);
        }
    }
}

impl Dispatch<ZwpTabletManagerV2, ()> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        manager: &ZwpTabletManagerV2,
        request: zwp_tablet_manager_v2::Request,
        data: &(),
        display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        if let zwp_tablet_manager_v2::Request::GetTabletSeat { .. } = request {
            state.tablet_clients.seat_added(client.id());
        }
        <TabletManagerState as Dispatch<ZwpTabletManagerV2, (), Self>>::request(
            state, client, manager, request, data, display, data_init,
        );
    }
}

impl Dispatch<ZwpTabletSeatV2, TabletSeatUserData> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _seat: &ZwpTabletSeatV2,
        _request: zwp_tablet_seat_v2::Request,
        _data: &TabletSeatUserData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        // The only request destroys the tablet seat.
    }

    fn destroyed(
        state: &mut Self,
        client: ClientId,
        seat: &ZwpTabletSeatV2,
        data: &TabletSeatUserData,
    ) {
        state.tablet_clients.seat_destroyed(&client);
        <TabletManagerState as Dispatch<ZwpTabletSeatV2, TabletSeatUserData, Self>>::destroyed(
            state, client, seat, data,
        );
    }
}

delegate_global_dispatch!(State: [ZwpTabletManagerV2: ()] => TabletManagerState);
delegate_dispatch!(State: [ZwpTabletV2: TabletUserData] => TabletManagerState);
