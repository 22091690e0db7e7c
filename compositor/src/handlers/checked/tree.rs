//! Validation of surface trees: size, depth and stacking order.

use smithay::reexports::wayland_server::protocol::{
    wl_subcompositor::{self, WlSubcompositor},
    wl_subsurface::{self, WlSubsurface},
    wl_surface::WlSurface,
};
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::{SubsurfaceUserData, get_children};

use super::coordinate;
use crate::handlers::root_of;
use crate::limits::{Limit, amount};
use crate::state::{State, usage_of};

/// Checks that a new subsurface does not exceed the limits of its tree; `None` if a protocol error was posted.
pub(super) fn subcompositor(
    _state: &State,
    client: &Client,
    subcompositor: &WlSubcompositor,
    request: wl_subcompositor::Request,
    _data: &(),
) -> Option<wl_subcompositor::Request> {
    if let wl_subcompositor::Request::GetSubsurface {
        surface, parent, ..
    } = &request
    {
        let (root, above) = root_of(parent);
        let (depth, count) = extent(surface);
        let usage = usage_of(client);
        let checked = usage
            .check(Limit::TreeDepth, amount(above.saturating_add(depth)))
            .and_then(|()| {
                let count = extent(&root).1.saturating_add(count);
                usage.check(Limit::TreeSurfaces, amount(count))
            });
        if let Err(exceeded) = checked {
            subcompositor.post_error(wl_subcompositor::Error::BadParent, exceeded.to_string());
            return None;
        }
    }
    Some(request)
}

/// Returns the depth and the number of surfaces of a tree. The depth of the recursion is bounded by the limit of the tree's
/// depth.
fn extent(surface: &WlSurface) -> (usize, usize) {
    let (mut depth, mut count) = (0_usize, 1_usize);
    for child in get_children(surface) {
        let (below, more) = extent(&child);
        depth = depth.max(below);
        count = count.saturating_add(more);
    }
    (depth.saturating_add(1), count)
}

/// Checks a request for a subsurface, and limits its position; `None` if a protocol error was posted.
pub(super) fn subsurface(
    _state: &State,
    _client: &Client,
    subsurface: &WlSubsurface,
    request: wl_subsurface::Request,
    data: &SubsurfaceUserData,
) -> Option<wl_subsurface::Request> {
    use wl_subsurface::Request;
    match &request {
        // Smithay accepts a surface as its own sibling and later panics, because it does not find the sibling.
        Request::PlaceAbove { sibling } | Request::PlaceBelow { sibling }
            if sibling == data.surface() =>
        {
            let message = "a surface cannot be placed relative to itself";
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
