//! Validation of the requests of data sources and data devices: `wl_data_device`, the primary selection and data-control.
//!
//! Smithay accepts any number of MIME types of any length, a source that is used twice, and types that are added to a source after
//! its use. It checks that the client has keyboard focus, which a client can have without a key or button press.

use smithay::reexports::wayland_protocols::ext::data_control::v1::server::{
    ext_data_control_device_v1::{self, ExtDataControlDeviceV1},
    ext_data_control_source_v1::{self, ExtDataControlSourceV1},
};
use smithay::reexports::wayland_protocols::wp::primary_selection::zv1::server::{
    zwp_primary_selection_device_v1::{self, ZwpPrimarySelectionDeviceV1},
    zwp_primary_selection_source_v1::{self, ZwpPrimarySelectionSourceV1},
};
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::{
    zwlr_data_control_device_v1::{self, ZwlrDataControlDeviceV1},
    zwlr_data_control_source_v1::{self, ZwlrDataControlSourceV1},
};
use smithay::reexports::wayland_server::protocol::{
    wl_data_device::{self, WlDataDevice},
    wl_data_source::{self, WlDataSource},
};
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::utils::Serial;
use smithay::wayland::selection::data_device::{
    DataDeviceUserData, DataSourceUserData, with_source_metadata,
};
use smithay::wayland::selection::ext_data_control::{
    ExtDataControlDeviceUserData, ExtDataControlSourceUserData,
};
use smithay::wayland::selection::primary_selection::{
    PrimaryDeviceUserData, PrimarySourceUserData,
};
use smithay::wayland::selection::wlr_data_control::{
    DataControlDeviceUserData, DataControlSourceUserData,
};

use crate::clock;
use crate::limits::{Limit, amount};
use crate::selections::MIME_TYPE_MAX;
use crate::state::{ClientState, State, usage_of};

/// Returns whether a source may offer a MIME type. `count` is the number of its types with the new one. A client whose source has
/// too many types is disconnected, and a type that is too long is ignored.
fn is_type_permitted(state: &State, client: &Client, mime_type: &str, count: u64) -> bool {
    if let Err(exceeded) = usage_of(client).check(Limit::MimeTypes, count) {
        state
            .connections
            .disconnect(&state.display, client, exceeded);
        return false;
    }
    if mime_type.len() > MIME_TYPE_MAX {
        tracing::debug!(
            ?client,
            length = mime_type.len(),
            "a MIME type is ignored because it is longer than {MIME_TYPE_MAX} bytes"
        );
        return false;
    }
    true
}

/// Returns whether a client may set a selection with that many bytes of MIME types now. The source of a selection that is not set
/// is cancelled, as that of one that is replaced at once.
fn is_allowed(client: &Client, bytes: u64) -> bool {
    let data = client.get_data::<ClientState>();
    let is_allowed = data.is_some_and(|data| data.selection_allowance.take(bytes, clock::now()));
    if !is_allowed {
        tracing::debug!(
            ?client,
            "a selection is ignored because its client sets selections too fast"
        );
    }
    is_allowed
}

/// Returns whether a selection may be set with this serial.
fn is_act_of_user(state: &State, client: &Client, serial: u32) -> bool {
    let is_act = state.user_acts.contains(serial.into(), &client.id());
    if !is_act {
        tracing::debug!(
            ?client,
            "a selection is ignored because its serial is not that of a key or button event of its client"
        );
    }
    is_act
}

/// Returns the client whose surface got the press or touch with this serial, while the button is pressed or the finger touches.
fn grab_holder(state: &State, serial: Serial) -> Option<Client> {
    let surface = if state.pointer.has_grab(serial) {
        state.pointer.grab_start_data()?.focus?.0
    } else {
        let touch = state.seat.get_touch()?;
        let grab = touch.has_grab(serial).then(|| touch.grab_start_data());
        grab??.focus?.0
    };
    surface.client()
}

pub(super) fn data_source(
    state: &mut State,
    client: &Client,
    source: &WlDataSource,
    request: wl_data_source::Request,
    _data: &DataSourceUserData,
) -> Option<wl_data_source::Request> {
    if let wl_data_source::Request::Offer { mime_type } = &request {
        let count = with_source_metadata(source, |metadata| metadata.mime_types.len());
        let count = amount(count.unwrap_or(0)).saturating_add(1);
        if !is_type_permitted(state, client, mime_type, count) {
            return None;
        }
    }
    Some(request)
}

pub(super) fn data_device(
    state: &mut State,
    client: &Client,
    _device: &WlDataDevice,
    request: wl_data_device::Request,
    _data: &DataDeviceUserData,
) -> Option<wl_data_device::Request> {
    if let wl_data_device::Request::SetSelection { source, serial } = &request {
        if !is_act_of_user(state, client, *serial) {
            return None;
        }
        let bytes = source.as_ref().map_or(0, |source| {
            let of_types = with_source_metadata(source, |metadata| {
                let lengths = metadata.mime_types.iter().map(String::len);
                amount(lengths.sum())
            });
            of_types.unwrap_or(0)
        });
        if !is_allowed(client, bytes) {
            if let Some(source) = source {
                source.cancelled();
            }
            return None;
        }
        state.selections.request(source.as_ref().map(Resource::id));
    }
    if let wl_data_device::Request::StartDrag { serial, .. } = request {
        // Smithay compares only the serial, which another client can guess while a button is pressed.
        if grab_holder(state, serial.into()).as_ref() != Some(client) {
            tracing::debug!(
                ?client,
                "a drag is ignored because its client does not have the grab of the pointer or of a touch"
            );
            return None;
        }
    }
    Some(request)
}

pub(super) fn data_source_destroyed(
    state: &mut State,
    source: &WlDataSource,
    _data: &DataSourceUserData,
) {
    state.source_destroyed(&source.id());
}

pub(super) fn data_device_destroyed(
    state: &mut State,
    device: &WlDataDevice,
    _data: &DataDeviceUserData,
) {
    state.selections.closed.data.push(device.clone());
}

pub(super) fn primary_source(
    state: &mut State,
    client: &Client,
    source: &ZwpPrimarySelectionSourceV1,
    request: zwp_primary_selection_source_v1::Request,
    _data: &PrimarySourceUserData,
) -> Option<zwp_primary_selection_source_v1::Request> {
    if let zwp_primary_selection_source_v1::Request::Offer { mime_type } = &request {
        let count = state.selections.add_type(source.id(), mime_type);
        if !is_type_permitted(state, client, mime_type, count) {
            return None;
        }
    }
    Some(request)
}

pub(super) fn primary_device(
    state: &mut State,
    client: &Client,
    _device: &ZwpPrimarySelectionDeviceV1,
    request: zwp_primary_selection_device_v1::Request,
    _data: &PrimaryDeviceUserData,
) -> Option<zwp_primary_selection_device_v1::Request> {
    if let zwp_primary_selection_device_v1::Request::SetSelection { source, serial } = &request {
        if !is_act_of_user(state, client, *serial) {
            return None;
        }
        let bytes = source.as_ref().map(Resource::id);
        let bytes = bytes.map_or(0, |source| state.selections.type_bytes(&source));
        if !is_allowed(client, bytes) {
            if let Some(source) = source {
                source.cancelled();
            }
            return None;
        }
        state.selections.request(source.as_ref().map(Resource::id));
    }
    Some(request)
}

pub(super) fn primary_source_destroyed(
    state: &mut State,
    source: &ZwpPrimarySelectionSourceV1,
    _data: &PrimarySourceUserData,
) {
    state.source_destroyed(&source.id());
}

pub(super) fn primary_device_destroyed(
    state: &mut State,
    device: &ZwpPrimarySelectionDeviceV1,
    _data: &PrimaryDeviceUserData,
) {
    state.selections.closed.primary.push(device.clone());
}

/// Defines the checks of one version of data-control. Both versions have the same requests and errors.
macro_rules! data_control_checks {
    (
        source: $source_check:ident, $source_destroyed:ident, $source:ty, $source_data:ty, $source_module:ident;
        device: $device_check:ident, $device_destroyed:ident, $device:ty, $device_data:ty, $device_module:ident, $closed:ident
    ) => {
        pub(super) fn $source_check(
            state: &mut State,
            client: &Client,
            source: &$source,
            request: $source_module::Request,
            _data: &$source_data,
        ) -> Option<$source_module::Request> {
            if let $source_module::Request::Offer { mime_type } = &request {
                if state.selections.is_used(&source.id()) {
                    let message = "a MIME type is offered after the source was used";
                    source.post_error($source_module::Error::InvalidOffer, message);
                    return None;
                }
                let count = state.selections.add_type(source.id(), mime_type);
                if !is_type_permitted(state, client, mime_type, count) {
                    return None;
                }
            }
            Some(request)
        }

        pub(super) fn $device_check(
            state: &mut State,
            client: &Client,
            device: &$device,
            request: $device_module::Request,
            _data: &$device_data,
        ) -> Option<$device_module::Request> {
            let ($device_module::Request::SetSelection { source }
            | $device_module::Request::SetPrimarySelection { source }) = &request
            else {
                return Some(request);
            };
            let object = source.as_ref();
            let source = object.map(Resource::id);
            if let Some(source) = source.clone() {
                if state.selections.is_used(&source) {
                    let message = "the source was used before";
                    device.post_error($device_module::Error::UsedSource, message);
                    return None;
                }
                state.selections.mark_used(source);
            }
            let bytes = source.as_ref();
            let bytes = bytes.map_or(0, |source| state.selections.type_bytes(source));
            if !is_allowed(client, bytes) {
                if let Some(source) = object {
                    source.cancelled();
                }
                return None;
            }
            state.selections.request(source);
            Some(request)
        }

        pub(super) fn $source_destroyed(state: &mut State, source: &$source, _data: &$source_data) {
            state.source_destroyed(&source.id());
        }

        pub(super) fn $device_destroyed(state: &mut State, device: &$device, _data: &$device_data) {
            state.selections.closed.$closed.push(device.clone());
        }
    };
}

data_control_checks! {
    source: ext_source, ext_source_destroyed, ExtDataControlSourceV1, ExtDataControlSourceUserData, ext_data_control_source_v1;
    device: ext_device, ext_device_destroyed, ExtDataControlDeviceV1, ExtDataControlDeviceUserData, ext_data_control_device_v1, ext
}
data_control_checks! {
    source: wlr_source, wlr_source_destroyed, ZwlrDataControlSourceV1, DataControlSourceUserData, zwlr_data_control_source_v1;
    device: wlr_device, wlr_device_destroyed, ZwlrDataControlDeviceV1, DataControlDeviceUserData, zwlr_data_control_device_v1, wlr
}
