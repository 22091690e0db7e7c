//! Validation of request arguments that Smithay 0.7 does not check.
//!
//! Smithay computes with the numbers of clients without checks. `wl_shm_pool.resize(0)` makes it panic; with overflow checks, a
//! negative size and an overflow do too. The affected requests are validated here first. For a number that the protocol forbids,
//! the client gets the protocol's error. A number that the protocol permits is clamped to a range in which sums cannot overflow;
//! no output is nearly as large, so the difference is not visible.

mod layer_shell;
mod selection;
mod shell;
mod tree;

use smithay::input::SeatState;
use smithay::reexports::wayland_protocols::ext::data_control::v1::server::{
    ext_data_control_device_v1::ExtDataControlDeviceV1,
    ext_data_control_source_v1::ExtDataControlSourceV1,
};
use smithay::reexports::wayland_protocols::wp::cursor_shape::v1::server::wp_cursor_shape_device_v1::{
    self, WpCursorShapeDeviceV1,
};
use smithay::reexports::wayland_protocols::wp::primary_selection::zv1::server::{
    zwp_primary_selection_device_v1::ZwpPrimarySelectionDeviceV1,
    zwp_primary_selection_source_v1::ZwpPrimarySelectionSourceV1,
};
use smithay::reexports::wayland_protocols::wp::tablet::zv2::server::zwp_tablet_tool_v2::{
    self, ZwpTabletToolV2,
};
use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewport::{
    self, WpViewport,
};
use smithay::reexports::wayland_protocols::xdg::shell::server::{
    xdg_positioner::XdgPositioner, xdg_surface::XdgSurface, xdg_toplevel::XdgToplevel,
};
use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::{
    zwlr_layer_shell_v1::ZwlrLayerShellV1, zwlr_layer_surface_v1::ZwlrLayerSurfaceV1,
};
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::{
    zwlr_data_control_device_v1::ZwlrDataControlDeviceV1,
    zwlr_data_control_source_v1::ZwlrDataControlSourceV1,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::{
    wl_data_device::WlDataDevice,
    wl_data_source::WlDataSource,
    wl_pointer::{self, WlPointer},
    wl_shm::{self, WlShm},
    wl_shm_pool::{self, WlShmPool},
    wl_subcompositor::WlSubcompositor,
    wl_subsurface::WlSubsurface,
    wl_surface::{self, WlSurface},
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, WEnum,
};
use smithay::wayland::compositor::{
    CompositorState, Damage, SubsurfaceUserData, SurfaceAttributes, SurfaceUserData, with_states,
};
use smithay::wayland::cursor_shape::{CursorShapeDeviceUserData, CursorShapeManagerState};
use smithay::wayland::seat::PointerUserData;
use smithay::wayland::selection::data_device::{
    DataDeviceState, DataDeviceUserData, DataSourceUserData,
};
use smithay::wayland::selection::ext_data_control::{
    self, ExtDataControlDeviceUserData, ExtDataControlSourceUserData,
};
use smithay::wayland::selection::primary_selection::{
    PrimaryDeviceUserData, PrimarySelectionState, PrimarySourceUserData,
};
use smithay::wayland::selection::wlr_data_control::{
    self, DataControlDeviceUserData, DataControlSourceUserData,
};
use smithay::wayland::shell::wlr_layer::{WlrLayerShellState, WlrLayerSurfaceUserData};
use smithay::wayland::shell::xdg::{
    XdgPositionerUserData, XdgShellState, XdgShellSurfaceUserData, XdgSurfaceUserData,
};
use smithay::wayland::shm::{ShmPoolUserData, ShmState};
use smithay::wayland::tablet_manager::{TabletManagerState, TabletToolUserData};
use smithay::wayland::viewporter::ViewportState;

use super::unmapping::subsurface_destroyed;
use crate::client_region::{set_input_region, set_opaque_region};
use crate::connection::FileKind;
use crate::state::State;

/// The maximum coordinate and size. The sum of a hundred such numbers does not overflow.
const COORDINATE_MAX: i32 = 1 << 24;

/// Implements `Dispatch` for an interface: calls `check`, which returns the request unchanged, changed, or `None` to drop it, and
/// then Smithay's implementation. The function after `ended by` is called when an object is destroyed.
///
/// A check that drops a request with a new object has to post an error, because the object is not initialised.
macro_rules! checked_dispatch {
    ($interface:ty: $data:ty => $delegate:ty, $check:path $(, ended by $ended:path)?) => {
        impl Dispatch<$interface, $data> for State {
            fn request(
                state: &mut Self,
                client: &Client,
                resource: &$interface,
                request: <$interface as Resource>::Request,
                data: &$data,
                display: &DisplayHandle,
                data_init: &mut DataInit<'_, Self>,
            ) {
                let Some(request) = $check(state, client, resource, request, data) else {
                    return;
                };
                <$delegate as Dispatch<$interface, $data, Self>>::request(
                    state, client, resource, request, data, display, data_init,
                );
            }

            fn destroyed(state: &mut Self, client: ClientId, resource: &$interface, data: &$data) {
                <$delegate as Dispatch<$interface, $data, Self>>::destroyed(
                    state, client, resource, data,
                );
                $($ended(state, resource, data);)?
            }
        }
    };
}

checked_dispatch!(WlSurface: SurfaceUserData => CompositorState, surface);
checked_dispatch!(WlShm: () => ShmState, shm);
checked_dispatch!(WlSubcompositor: () => CompositorState, tree::subcompositor);
checked_dispatch!(WlSubsurface: SubsurfaceUserData => CompositorState, tree::subsurface, ended by subsurface_destroyed);
checked_dispatch!(WlShmPool: ShmPoolUserData => ShmState, shm_pool);
checked_dispatch!(WpViewport: ViewportState => ViewportState, viewport);
checked_dispatch!(XdgPositioner: XdgPositionerUserData => XdgShellState, shell::positioner);
checked_dispatch!(XdgSurface: XdgSurfaceUserData => XdgShellState, shell::xdg_surface);
checked_dispatch!(XdgToplevel: XdgShellSurfaceUserData => XdgShellState, shell::toplevel);
checked_dispatch!(ZwlrLayerShellV1: () => WlrLayerShellState, layer_shell::layer_shell);
checked_dispatch!(ZwlrLayerSurfaceV1: WlrLayerSurfaceUserData => WlrLayerShellState, layer_shell::layer_surface);
checked_dispatch!(WlDataSource: DataSourceUserData => DataDeviceState,
    selection::data_source, ended by selection::data_source_destroyed);
checked_dispatch!(WlDataDevice: DataDeviceUserData => DataDeviceState,
    selection::data_device, ended by selection::data_device_destroyed);
checked_dispatch!(ZwpPrimarySelectionSourceV1: PrimarySourceUserData => PrimarySelectionState,
    selection::primary_source, ended by selection::primary_source_destroyed);
checked_dispatch!(ZwpPrimarySelectionDeviceV1: PrimaryDeviceUserData => PrimarySelectionState,
    selection::primary_device, ended by selection::primary_device_destroyed);
checked_dispatch!(ExtDataControlSourceV1: ExtDataControlSourceUserData => ext_data_control::DataControlState,
    selection::ext_source, ended by selection::ext_source_destroyed);
checked_dispatch!(ExtDataControlDeviceV1: ExtDataControlDeviceUserData => ext_data_control::DataControlState,
    selection::ext_device, ended by selection::ext_device_destroyed);
checked_dispatch!(ZwlrDataControlSourceV1: DataControlSourceUserData => wlr_data_control::DataControlState,
    selection::wlr_source, ended by selection::wlr_source_destroyed);
checked_dispatch!(ZwlrDataControlDeviceV1: DataControlDeviceUserData => wlr_data_control::DataControlState,
    selection::wlr_device, ended by selection::wlr_device_destroyed);
checked_dispatch!(WlPointer: PointerUserData<State> => SeatState<State>, pointer);
checked_dispatch!(ZwpTabletToolV2: TabletToolUserData => TabletManagerState, tablet_tool);
checked_dispatch!(WpCursorShapeDeviceV1: CursorShapeDeviceUserData<State> => CursorShapeManagerState, cursor_shape_device);

/// Clamps a coordinate.
fn coordinate(value: i32) -> i32 {
    value.clamp(-COORDINATE_MAX, COORDINATE_MAX)
}

/// Clamps a rectangle; `None` if it is empty.
fn rectangle(x: i32, y: i32, width: i32, height: i32) -> Option<(i32, i32, i32, i32)> {
    let span = |start: i32, length: i32| {
        let limit = i64::from(COORDINATE_MAX);
        let end = i64::from(start)
            .saturating_add(i64::from(length))
            .min(limit);
        let start = i64::from(start).max(-limit);
        let length = i32::try_from(end.saturating_sub(start)).ok()?;
        (length > 0).then_some((i32::try_from(start).ok()?, length))
    };
    if width <= 0 || height <= 0 {
        return None;
    }
    let ((x, width), (y, height)) = (span(x, width)?, span(y, height)?);
    Some((x, y, width, height))
}

/// Checks a `wl_surface` request and clamps its coordinates. The result is `None` if the request is handled here or has no
/// effect.
fn surface(
    _state: &State,
    _client: &Client,
    surface: &WlSurface,
    request: wl_surface::Request,
    _data: &SurfaceUserData,
) -> Option<wl_surface::Request> {
    use wl_surface::Request;
    Some(match request {
        Request::Attach { buffer, x, y } => Request::Attach {
            buffer,
            x: coordinate(x),
            y: coordinate(y),
        },
        Request::Offset { x, y } => Request::Offset {
            x: coordinate(x),
            y: coordinate(y),
        },
        // Empty damage has no effect, so the request is dropped.
        Request::Damage {
            x,
            y,
            width,
            height,
        } => {
            let (x, y, width, height) = rectangle(x, y, width, height)?;
            limit_damage(surface);
            Request::Damage {
                x,
                y,
                width,
                height,
            }
        }
        Request::DamageBuffer {
            x,
            y,
            width,
            height,
        } => {
            let (x, y, width, height) = rectangle(x, y, width, height)?;
            limit_damage(surface);
            Request::DamageBuffer {
                x,
                y,
                width,
                height,
            }
        }
        Request::SetOpaqueRegion { region } => {
            set_opaque_region(surface, region.as_ref());
            return None;
        }
        Request::SetInputRegion { region } => {
            set_input_region(surface, region.as_ref());
            return None;
        }
        Request::SetBufferTransform {
            transform: WEnum::Unknown(number),
        } => {
            let message = format!("{number} is not a valid transform");
            surface.post_error(wl_surface::Error::InvalidTransform, message);
            return None;
        }
        other => other,
    })
}

/// The number of damage rectangles of one commit at which the rectangles are replaced by their bounding rectangle.
const DAMAGE_MAX: usize = 64;

/// Limits the damage of the next commit, because a client could add damage again and again without a commit.
fn limit_damage(surface: &WlSurface) {
    with_states(surface, |states| {
        let mut attributes = states.cached_state.get::<SurfaceAttributes>();
        simplify_damage(&mut attributes.pending().damage);
    });
}

/// Replaces the rectangles by their bounding rectangle if there are too many. Surface and buffer coordinates are handled
/// separately.
fn simplify_damage(damage: &mut Vec<Damage>) {
    if damage.len() < DAMAGE_MAX {
        return;
    }
    let (mut of_surface, mut of_buffer) = (None, None);
    for rect in damage.drain(..) {
        match rect {
            Damage::Surface(rect) => {
                of_surface = Some(of_surface.map_or(rect, |bounds| rect.merge(bounds)));
            }
            Damage::Buffer(rect) => {
                of_buffer = Some(of_buffer.map_or(rect, |bounds| rect.merge(bounds)));
            }
        }
    }
    damage.extend(of_surface.map(Damage::Surface));
    damage.extend(of_buffer.map(Damage::Buffer));
}

/// Rejects a pool in a file that is not shared memory.
fn shm(
    _state: &State,
    _client: &Client,
    shm: &WlShm,
    request: wl_shm::Request,
    _data: &(),
) -> Option<wl_shm::Request> {
    if let wl_shm::Request::CreatePool { fd, .. } = &request {
        // Reading memory that is mapped from any other file could wait for a disk or for another process.
        if FileKind::of(fd) != FileKind::SharedMemory {
            let message = "the file is not shared memory: create it by memfd_create or on a tmpfs";
            shm.post_error(wl_shm::Error::InvalidFd, message);
            return None;
        }
    }
    Some(request)
}

/// Rejects a size of a pool that is not positive.
fn shm_pool(
    _state: &State,
    _client: &Client,
    pool: &WlShmPool,
    request: wl_shm_pool::Request,
    _data: &ShmPoolUserData,
) -> Option<wl_shm_pool::Request> {
    if let wl_shm_pool::Request::Resize { size } = request {
        if size <= 0 {
            let message = format!("{size} is not a valid pool size");
            pool.post_error(wl_shm::Error::InvalidFd, message);
            return None;
        }
    }
    Some(request)
}

/// Checks a request for a viewport; `None` if a protocol error was posted.
fn viewport(
    _state: &State,
    _client: &Client,
    _viewport: &WpViewport,
    request: wp_viewport::Request,
    _data: &ViewportState,
) -> Option<wp_viewport::Request> {
    Some(match request {
        wp_viewport::Request::SetDestination { width, height } => {
            wp_viewport::Request::SetDestination {
                width: width.min(COORDINATE_MAX),
                height: height.min(COORDINATE_MAX),
            }
        }
        other => other,
    })
}

fn pointer(
    _state: &State,
    _client: &Client,
    _pointer: &WlPointer,
    request: wl_pointer::Request,
    _data: &PointerUserData<State>,
) -> Option<wl_pointer::Request> {
    Some(match request {
        wl_pointer::Request::SetCursor {
            serial,
            surface,
            hotspot_x,
            hotspot_y,
        } => wl_pointer::Request::SetCursor {
            serial,
            surface,
            hotspot_x: coordinate(hotspot_x),
            hotspot_y: coordinate(hotspot_y),
        },
        other => other,
    })
}

fn tablet_tool(
    _state: &State,
    _client: &Client,
    _tool: &ZwpTabletToolV2,
    request: zwp_tablet_tool_v2::Request,
    _data: &TabletToolUserData,
) -> Option<zwp_tablet_tool_v2::Request> {
    Some(match request {
        zwp_tablet_tool_v2::Request::SetCursor {
            serial,
            surface,
            hotspot_x,
            hotspot_y,
        } => zwp_tablet_tool_v2::Request::SetCursor {
            serial,
            surface,
            hotspot_x: coordinate(hotspot_x),
            hotspot_y: coordinate(hotspot_y),
        },
        other => other,
    })
}

fn cursor_shape_device(
    _state: &State,
    _client: &Client,
    device: &WpCursorShapeDeviceV1,
    request: wp_cursor_shape_device_v1::Request,
    _data: &CursorShapeDeviceUserData<State>,
) -> Option<wp_cursor_shape_device_v1::Request> {
    if let wp_cursor_shape_device_v1::Request::SetShape {
        shape: WEnum::Unknown(number),
        ..
    } = request
    {
        let message = format!("{number} is not a valid shape");
        device.post_error(wp_cursor_shape_device_v1::Error::InvalidShape, message);
        return None;
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangle_at_the_integer_limits_is_clamped() {
        let limit = COORDINATE_MAX;
        assert_eq!(rectangle(0, 0, i32::MAX, 1), Some((0, 0, limit, 1)));
        assert_eq!(
            rectangle(i32::MIN, i32::MIN, i32::MAX, i32::MAX),
            Some((-limit, -limit, limit - 1, limit - 1))
        );
        assert_eq!(rectangle(i32::MIN, 0, 1, 1), None);
        assert_eq!(rectangle(i32::MAX, 0, i32::MAX, 1), None);
        assert_eq!(rectangle(3, 4, 5, 6), Some((3, 4, 5, 6)));
    }

    #[test]
    fn damage_of_very_many_rectangles_is_simplified_to_its_bounds() {
        use smithay::utils::Rectangle;
        let mut damage = Vec::new();
        for place in 0..2000 {
            simplify_damage(&mut damage);
            assert!(damage.len() < DAMAGE_MAX);
            let position = (place % 50, place % 40);
            damage.push(if place % 2 == 0 {
                Damage::Surface(Rectangle::new(position.into(), (1, 1).into()))
            } else {
                Damage::Buffer(Rectangle::new(position.into(), (1, 1).into()))
            });
        }
        let area = |surface: bool| -> i32 {
            let areas = damage.iter().map(|rect| match rect {
                Damage::Surface(rect) if surface => rect.size.w * rect.size.h,
                Damage::Buffer(rect) if !surface => rect.size.w * rect.size.h,
                _ => 0,
            });
            areas.max().unwrap_or(0)
        };
        assert_eq!((area(true), area(false)), (49 * 39, 49 * 39));
    }

    #[test]
    fn rectangle_without_pixels_is_none() {
        for size in [i32::MIN, -1, 0] {
            assert_eq!(rectangle(0, 0, size, 1), None);
            assert_eq!(rectangle(0, 0, 1, size), None);
        }
    }
}
