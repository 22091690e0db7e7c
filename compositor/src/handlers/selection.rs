//! `wl_data_device`, the primary selection and data-control: the selections, and drags.
//!
//! The requests of sources and devices are validated in `checked` first.

use std::os::fd::OwnedFd;

use smithay::input::Seat;
use smithay::reexports::wayland_protocols::ext::data_control::v1::server::{
    ext_data_control_device_v1::{self, ExtDataControlDeviceV1},
    ext_data_control_manager_v1::ExtDataControlManagerV1,
};
use smithay::reexports::wayland_protocols::wp::primary_selection::zv1::server::{
    zwp_primary_selection_device_manager_v1::ZwpPrimarySelectionDeviceManagerV1,
    zwp_primary_selection_device_v1::{self, ZwpPrimarySelectionDeviceV1},
};
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::{
    zwlr_data_control_device_v1::{self, ZwlrDataControlDeviceV1},
    zwlr_data_control_manager_v1::ZwlrDataControlManagerV1,
};
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::{
    wl_data_device::{self, WlDataDevice},
    wl_data_device_manager::WlDataDeviceManager,
    wl_data_source::WlDataSource,
    wl_surface::WlSurface,
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_global_dispatch,
};
use smithay::wayland::selection::data_device::{
    ClientDndGrabHandler, DataDeviceHandler, DataDeviceState, DataDeviceUserData,
    ServerDndGrabHandler, clear_data_device_selection,
};
use smithay::wayland::selection::ext_data_control::{
    self, ExtDataControlDeviceUserData, ExtDataControlManagerGlobalData,
    ExtDataControlManagerUserData,
};
use smithay::wayland::selection::primary_selection::{
    PrimaryDeviceManagerGlobalData, PrimaryDeviceUserData, PrimarySelectionHandler,
    PrimarySelectionState, clear_primary_selection,
};
use smithay::wayland::selection::wlr_data_control::{
    self, DataControlDeviceUserData, DataControlManagerGlobalData, DataControlManagerUserData,
};
use smithay::wayland::selection::{SelectionHandler, SelectionSource, SelectionTarget};

use crate::state::State;

impl SelectionHandler for State {
    type SelectionUserData = ();

    fn new_selection(
        &mut self,
        target: SelectionTarget,
        _source: Option<SelectionSource>,
        _seat: Seat<Self>,
    ) {
        self.selections.set(target);
    }
}

impl DataDeviceHandler for State {
    fn data_device_state(&self) -> &DataDeviceState {
        &self.protocols.data_device
    }
}

impl PrimarySelectionHandler for State {
    fn primary_selection_state(&self) -> &PrimarySelectionState {
        &self.protocols.primary_selection
    }
}

impl ext_data_control::DataControlHandler for State {
    fn data_control_state(&self) -> &ext_data_control::DataControlState {
        &self.protocols.ext_data_control
    }
}

impl wlr_data_control::DataControlHandler for State {
    fn data_control_state(&self) -> &wlr_data_control::DataControlState {
        &self.protocols.wlr_data_control
    }
}

impl ClientDndGrabHandler for State {
    fn started(
        &mut self,
        _source: Option<WlDataSource>,
        icon: Option<WlSurface>,
        _seat: Seat<Self>,
    ) {
        if let Some(icon) = icon {
            self.show_drag_icon(icon);
        }
    }

    fn dropped(&mut self, _target: Option<WlSurface>, _validated: bool, _seat: Seat<Self>) {
        self.stack.hide_drag_icon();
        self.outputs.schedule_redraw();
    }
}

impl ServerDndGrabHandler for State {
    fn send(&mut self, _mime_type: String, _fd: OwnedFd, _seat: Seat<Self>) {}
}

impl State {
    /// Forgets a destroyed source. A selection that it provided is empty from now on; Smithay alone would send this to the
    /// clients only when the focus changes.
    pub(super) fn source_destroyed(&mut self, source: &ObjectId) {
        for target in self.selections.source_destroyed(source) {
            match target {
                SelectionTarget::Clipboard => {
                    clear_data_device_selection(&self.display, &self.seat);
                }
                SelectionTarget::Primary => clear_primary_selection(&self.display, &self.seat),
            }
        }
    }
}

/// Implements `Dispatch` for a manager. Before a request, Smithay forgets the destroyed devices in `$closed`: the request that
/// destroys a device has no other effect.
macro_rules! manager_dispatch {
    ($manager:ty: $data:ty => $delegate:ty, $closed:ident, $device:ty: $device_data:ty, $end:expr) => {
        impl Dispatch<$manager, $data> for State {
            fn request(
                state: &mut Self,
                client: &Client,
                manager: &$manager,
                request: <$manager as Resource>::Request,
                data: &$data,
                display: &DisplayHandle,
                data_init: &mut DataInit<'_, Self>,
            ) {
                for device in std::mem::take(&mut state.selections.closed.$closed) {
                    if let Some(data) = device.data::<$device_data>() {
                        <$delegate as Dispatch<$device, $device_data, Self>>::request(
                            state, client, &device, $end, data, display, data_init,
                        );
                    }
                }
                <$delegate as Dispatch<$manager, $data, Self>>::request(
                    state, client, manager, request, data, display, data_init,
                );
            }
        }
    };
}

manager_dispatch!(WlDataDeviceManager: () => DataDeviceState, data,
    WlDataDevice: DataDeviceUserData, wl_data_device::Request::Release);
manager_dispatch!(ZwpPrimarySelectionDeviceManagerV1: () => PrimarySelectionState, primary,
    ZwpPrimarySelectionDeviceV1: PrimaryDeviceUserData, zwp_primary_selection_device_v1::Request::Destroy);
manager_dispatch!(ExtDataControlManagerV1: ExtDataControlManagerUserData => ext_data_control::DataControlState, ext,
    ExtDataControlDeviceV1: ExtDataControlDeviceUserData, ext_data_control_device_v1::Request::Destroy);
manager_dispatch!(ZwlrDataControlManagerV1: DataControlManagerUserData => wlr_data_control::DataControlState, wlr,
    ZwlrDataControlDeviceV1: DataControlDeviceUserData, zwlr_data_control_device_v1::Request::Destroy);

delegate_global_dispatch!(State: [WlDataDeviceManager: ()] => DataDeviceState);
delegate_global_dispatch!(State: [ZwpPrimarySelectionDeviceManagerV1: PrimaryDeviceManagerGlobalData] => PrimarySelectionState);
delegate_global_dispatch!(State: [ExtDataControlManagerV1: ExtDataControlManagerGlobalData] => ext_data_control::DataControlState);
delegate_global_dispatch!(State: [ZwlrDataControlManagerV1: DataControlManagerGlobalData] => wlr_data_control::DataControlState);
