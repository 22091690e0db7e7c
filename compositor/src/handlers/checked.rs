//! Requests whose numbers Smithay 0.7 does not expect are stopped, or made harmless, before it sees them.
//!
//! Smithay adds, subtracts and unwraps numbers as clients send them: `wl_shm_pool.resize(0)` ends the process, and so does a
//! negative size or a sum that overflows where overflow is checked. The requests concerned come through here. Where a
//! protocol forbids a number, the client gets the protocol's own error. Where it permits every number, the number is limited
//! to what sums cannot overflow with: no output is nearly as large, so nobody can see the difference.

use smithay::input::SeatState;
use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewport::{
    self, WpViewport,
};
use smithay::reexports::wayland_protocols::xdg::shell::server::{
    xdg_positioner::{self, XdgPositioner},
    xdg_surface::{self, XdgSurface},
    xdg_toplevel::{self, XdgToplevel},
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::{
    wl_data_device::{self, WlDataDevice},
    wl_pointer::{self, WlPointer},
    wl_region::{self, WlRegion},
    wl_shm,
    wl_shm_pool::{self, WlShmPool},
    wl_subcompositor::{self, WlSubcompositor},
    wl_subsurface::{self, WlSubsurface},
    wl_surface::{self, WlSurface},
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, WEnum,
};
use smithay::wayland::compositor::{
    CompositorState, RegionUserData, SubsurfaceUserData, SurfaceUserData, get_children, get_parent,
};
use smithay::wayland::seat::PointerUserData;
use smithay::wayland::selection::data_device::{DataDeviceState, DataDeviceUserData};
use smithay::wayland::shell::xdg::{
    XdgPositionerUserData, XdgShellState, XdgShellSurfaceUserData, XdgSurfaceUserData,
};
use smithay::wayland::shm::{ShmPoolUserData, ShmState};
use smithay::wayland::viewporter::ViewportState;

use crate::state::State;

/// The largest coordinate and size that are passed on: a sum of a hundred of them still fits.
const COORDINATE_MAX: i32 = 1 << 24;

/// Levels of subsurfaces: trees are walked by functions that call themselves.
const DEPTH_MAX: usize = 32;
/// Surfaces of one tree: a commit of synchronised ones costs Smithay more than their square.
const SURFACES_MAX: usize = 256;

/// Passes requests of one interface to Smithay once `check` let them through, as they are or changed.
///
/// A check that stops a request which makes an object has to post an error: the object stays without data.
macro_rules! checked_dispatch {
    ($interface:ty: $data:ty => $delegate:ty, $check:path) => {
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
            }
        }
    };
}

checked_dispatch!(WlSurface: SurfaceUserData => CompositorState, surface);
checked_dispatch!(WlRegion: RegionUserData => CompositorState, region);
checked_dispatch!(WlSubcompositor: () => CompositorState, subcompositor);
checked_dispatch!(WlSubsurface: SubsurfaceUserData => CompositorState, subsurface);
checked_dispatch!(WlShmPool: ShmPoolUserData => ShmState, shm_pool);
checked_dispatch!(WpViewport: ViewportState => ViewportState, viewport);
checked_dispatch!(XdgPositioner: XdgPositionerUserData => XdgShellState, positioner);
checked_dispatch!(XdgSurface: XdgSurfaceUserData => XdgShellState, xdg_surface);
checked_dispatch!(XdgToplevel: XdgShellSurfaceUserData => XdgShellState, toplevel);
checked_dispatch!(WlDataDevice: DataDeviceUserData => DataDeviceState, data_device);
checked_dispatch!(WlPointer: PointerUserData<State> => SeatState<State>, pointer);

/// Limits a coordinate.
fn coordinate(value: i32) -> i32 {
    value.clamp(-COORDINATE_MAX, COORDINATE_MAX)
}

/// Returns the part of a rectangle within the limits; `None` where it holds no pixel there.
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
        // Damage without a pixel damages nothing.
        Request::Damage {
            x,
            y,
            width,
            height,
        } => {
            let (x, y, width, height) = rectangle(x, y, width, height)?;
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
            Request::DamageBuffer {
                x,
                y,
                width,
                height,
            }
        }
        Request::SetBufferTransform {
            transform: WEnum::Unknown(number),
        } => {
            let message = format!("{number} is no transform");
            surface.post_error(wl_surface::Error::InvalidTransform, message);
            return None;
        }
        other => other,
    })
}

fn region(
    _state: &State,
    _client: &Client,
    _region: &WlRegion,
    request: wl_region::Request,
    _data: &RegionUserData,
) -> Option<wl_region::Request> {
    use wl_region::Request;
    Some(match request {
        Request::Add {
            x,
            y,
            width,
            height,
        } => {
            let (x, y, width, height) = rectangle(x, y, width, height)?;
            Request::Add {
                x,
                y,
                width,
                height,
            }
        }
        Request::Subtract {
            x,
            y,
            width,
            height,
        } => {
            let (x, y, width, height) = rectangle(x, y, width, height)?;
            Request::Subtract {
                x,
                y,
                width,
                height,
            }
        }
        other => other,
    })
}

fn subcompositor(
    _state: &State,
    _client: &Client,
    subcompositor: &WlSubcompositor,
    request: wl_subcompositor::Request,
    _data: &(),
) -> Option<wl_subcompositor::Request> {
    if let wl_subcompositor::Request::GetSubsurface {
        surface, parent, ..
    } = &request
    {
        let mut root = parent.clone();
        let mut above = 1_usize;
        while let Some(parent) = get_parent(&root) {
            root = parent;
            above = above.saturating_add(1);
        }
        let (depth, count) = extent(surface);
        if above.saturating_add(depth) > DEPTH_MAX
            || extent(&root).1.saturating_add(count) > SURFACES_MAX
        {
            let message = format!(
                "a window has {SURFACES_MAX} surfaces at most, nested in {DEPTH_MAX} levels"
            );
            subcompositor.post_error(wl_subcompositor::Error::BadParent, message);
            return None;
        }
    }
    Some(request)
}

/// Returns how many levels a tree of surfaces has, and how many surfaces; no tree has more levels than are permitted.
fn extent(surface: &WlSurface) -> (usize, usize) {
    let (mut depth, mut count) = (0_usize, 1_usize);
    for child in get_children(surface) {
        let (below, more) = extent(&child);
        depth = depth.max(below);
        count = count.saturating_add(more);
    }
    (depth.saturating_add(1), count)
}

fn subsurface(
    _state: &State,
    _client: &Client,
    subsurface: &WlSubsurface,
    request: wl_subsurface::Request,
    data: &SubsurfaceUserData,
) -> Option<wl_subsurface::Request> {
    use wl_subsurface::Request;
    match &request {
        // Smithay takes a surface for its own sibling, and then for one that is gone.
        Request::PlaceAbove { sibling } | Request::PlaceBelow { sibling }
            if sibling == data.surface() =>
        {
            let message = "a surface is no sibling of itself";
            subsurface.post_error(wl_subsurface::Error::BadSurface, message);
            None
        }
        Request::SetPosition { x, y } => Some(Request::SetPosition {
            x: coordinate(*x),
            y: coordinate(*y),
        }),
        _ => Some(request),
    }
}

fn shm_pool(
    _state: &State,
    _client: &Client,
    pool: &WlShmPool,
    request: wl_shm_pool::Request,
    _data: &ShmPoolUserData,
) -> Option<wl_shm_pool::Request> {
    if let wl_shm_pool::Request::Resize { size } = request {
        if size <= 0 {
            let message = format!("{size} bytes are no size of a pool");
            pool.post_error(wl_shm::Error::InvalidFd, message);
            return None;
        }
    }
    Some(request)
}

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

fn positioner(
    _state: &State,
    _client: &Client,
    positioner: &XdgPositioner,
    request: xdg_positioner::Request,
    _data: &XdgPositionerUserData,
) -> Option<xdg_positioner::Request> {
    use xdg_positioner::Request;
    let wrong = |message: String| {
        positioner.post_error(xdg_positioner::Error::InvalidInput, message);
        None
    };
    Some(match request {
        // What is not positive is an error, which Smithay posts.
        Request::SetSize { width, height } => Request::SetSize {
            width: coordinate(width),
            height: coordinate(height),
        },
        Request::SetAnchorRect {
            x,
            y,
            width,
            height,
        } => Request::SetAnchorRect {
            x: coordinate(x),
            y: coordinate(y),
            width: coordinate(width),
            height: coordinate(height),
        },
        Request::SetOffset { x, y } => Request::SetOffset {
            x: coordinate(x),
            y: coordinate(y),
        },
        Request::SetParentSize {
            parent_width: width,
            parent_height: height,
        } => {
            if width < 0 || height < 0 {
                return wrong(format!("{width}x{height} is no size of a parent"));
            }
            Request::SetParentSize {
                parent_width: coordinate(width),
                parent_height: coordinate(height),
            }
        }
        Request::SetAnchor {
            anchor: WEnum::Unknown(number),
        } => return wrong(format!("{number} is no anchor")),
        Request::SetGravity {
            gravity: WEnum::Unknown(number),
        } => return wrong(format!("{number} is no gravity")),
        other => other,
    })
}

fn xdg_surface(
    _state: &State,
    _client: &Client,
    surface: &XdgSurface,
    request: xdg_surface::Request,
    _data: &XdgSurfaceUserData,
) -> Option<xdg_surface::Request> {
    use xdg_surface::Request;
    Some(match request {
        Request::SetWindowGeometry {
            x,
            y,
            width,
            height,
        } => {
            if width <= 0 || height <= 0 {
                let message = format!("{width}x{height} is no size of a window");
                surface.post_error(xdg_surface::Error::InvalidSize, message);
                return None;
            }
            Request::SetWindowGeometry {
                x: coordinate(x),
                y: coordinate(y),
                width: coordinate(width),
                height: coordinate(height),
            }
        }
        other => other,
    })
}

fn toplevel(
    _state: &State,
    _client: &Client,
    toplevel: &XdgToplevel,
    request: xdg_toplevel::Request,
    _data: &XdgShellSurfaceUserData,
) -> Option<xdg_toplevel::Request> {
    use xdg_toplevel::{Error, Request};
    let size = |width: i32, height: i32| {
        if width < 0 || height < 0 {
            let message = format!("{width}x{height} is no limit of a size");
            toplevel.post_error(Error::InvalidSize, message);
            return None;
        }
        Some((coordinate(width), coordinate(height)))
    };
    Some(match request {
        Request::SetMaxSize { width, height } => {
            let (width, height) = size(width, height)?;
            Request::SetMaxSize { width, height }
        }
        Request::SetMinSize { width, height } => {
            let (width, height) = size(width, height)?;
            Request::SetMinSize { width, height }
        }
        Request::Resize {
            edges: WEnum::Unknown(number),
            ..
        } => {
            let message = format!("{number} is no edge");
            toplevel.post_error(Error::InvalidResizeEdge, message);
            return None;
        }
        other => other,
    })
}

fn data_device(
    state: &State,
    client: &Client,
    _device: &WlDataDevice,
    request: wl_data_device::Request,
    _data: &DataDeviceUserData,
) -> Option<wl_data_device::Request> {
    if let wl_data_device::Request::StartDrag { .. } = request {
        // Smithay compares the serial alone, which another client can guess while a button is down.
        let grab = state.pointer.grab_start_data();
        let focus = grab.and_then(|grab| grab.focus);
        let holder = focus.and_then(|(surface, _)| surface.client());
        if holder.as_ref() != Some(client) {
            tracing::debug!(?client, "a client without the pointer cannot drag");
            return None;
        }
    }
    Some(request)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangle_at_the_edge_of_the_numbers_is_limited() {
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
    fn rectangle_without_a_pixel_is_none() {
        for size in [i32::MIN, -1, 0] {
            assert_eq!(rectangle(0, 0, size, 1), None);
            assert_eq!(rectangle(0, 0, 1, size), None);
        }
    }
}
