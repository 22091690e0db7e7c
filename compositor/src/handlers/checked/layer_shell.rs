//! Validation of layer-shell requests: sizes, margins and zones, and the surfaces and popups that get a role or a parent.

use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::{
    zwlr_layer_shell_v1::{self, ZwlrLayerShellV1},
    zwlr_layer_surface_v1::{self, ZwlrLayerSurfaceV1},
};
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{SurfaceAttributes, get_role, with_states};
use smithay::wayland::shell::wlr_layer::{LAYER_SURFACE_ROLE, WlrLayerSurfaceUserData};

use super::{COORDINATE_MAX, coordinate};
use crate::state::State;

pub(super) fn layer_shell(
    state: &State,
    _client: &Client,
    shell: &ZwlrLayerShellV1,
    request: zwlr_layer_shell_v1::Request,
    _data: &(),
) -> Option<zwlr_layer_shell_v1::Request> {
    use zwlr_layer_shell_v1::Error;
    if let zwlr_layer_shell_v1::Request::GetLayerSurface { surface, .. } = &request {
        // Smithay gives a surface the same role again while its layer surface exists.
        if state.stack.layer_surfaces.find(surface).is_some() {
            let message = "the surface has a layer surface already";
            shell.post_error(Error::Role, message);
            return None;
        }
        // Smithay posts the error for a surface with another role.
        if get_role(surface).is_some_and(|role| role != LAYER_SURFACE_ROLE) {
            return Some(request);
        }
        let has_pending_buffer = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer.is_some()
        });
        if has_pending_buffer || state.stack.has_content(surface) {
            let message = "the surface has a buffer attached or committed";
            shell.post_error(Error::AlreadyConstructed, message);
            return None;
        }
    }
    Some(request)
}

pub(super) fn layer_surface(
    state: &State,
    _client: &Client,
    layer_surface: &ZwlrLayerSurfaceV1,
    request: zwlr_layer_surface_v1::Request,
    _data: &WlrLayerSurfaceUserData,
) -> Option<zwlr_layer_surface_v1::Request> {
    use zwlr_layer_surface_v1::{Error, Request};
    Some(match request {
        Request::SetSize { width, height } => {
            let most = COORDINATE_MAX.unsigned_abs();
            // Smithay would convert a larger number to a negative one.
            let is_negative = |size: u32| i32::try_from(size).is_err();
            if is_negative(width) || is_negative(height) {
                let message = format!("{width}x{height} is not a valid size");
                layer_surface.post_error(Error::InvalidSize, message);
                return None;
            }
            Request::SetSize {
                width: width.min(most),
                height: height.min(most),
            }
        }
        Request::SetExclusiveZone { zone } => Request::SetExclusiveZone {
            zone: coordinate(zone),
        },
        Request::SetMargin {
            top,
            right,
            bottom,
            left,
        } => Request::SetMargin {
            top: coordinate(top),
            right: coordinate(right),
            bottom: coordinate(bottom),
            left: coordinate(left),
        },
        Request::GetPopup { ref popup } => {
            let mut popups = state.stack.popups().iter();
            let known = popups.find(|known| known.xdg_popup() == popup);
            // Smithay would change the parent, also while the popup is shown.
            let is_new = known.is_some_and(|known| {
                known.get_parent_surface().is_none() && !known.is_initial_configure_sent()
            });
            if !is_new {
                let message = "the popup has a parent or was committed already";
                layer_surface.post_error(Error::InvalidSurfaceState, message);
                return None;
            }
            request
        }
        other => other,
    })
}
