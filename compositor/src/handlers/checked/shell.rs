//! Validation of xdg-shell requests: sizes, positions and edges.

use smithay::reexports::wayland_protocols::xdg::shell::server::{
    xdg_positioner::{self, XdgPositioner},
    xdg_surface::{self, XdgSurface},
    xdg_toplevel::{self, XdgToplevel},
};
use smithay::reexports::wayland_server::{Client, Resource, WEnum};
use smithay::wayland::shell::xdg::{
    XdgPositionerUserData, XdgShellSurfaceUserData, XdgSurfaceUserData,
};

use super::coordinate;
use crate::state::State;

/// Checks a request for a positioner, and limits its coordinates; `None` if a protocol error was posted.
pub(super) fn positioner(
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
        // Smithay posts the error for a size that is not positive.
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
                return wrong(format!("{width}x{height} is not a valid parent size"));
            }
            Request::SetParentSize {
                parent_width: coordinate(width),
                parent_height: coordinate(height),
            }
        }
        Request::SetAnchor {
            anchor: WEnum::Unknown(number),
        } => return wrong(format!("{number} is not a valid anchor")),
        Request::SetGravity {
            gravity: WEnum::Unknown(number),
        } => return wrong(format!("{number} is not a valid gravity")),
        other => other,
    })
}

/// Checks a request for an `xdg_surface`, and limits its coordinates; `None` if a protocol error was posted.
pub(super) fn xdg_surface(
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
                let message = format!("{width}x{height} is not a valid window geometry size");
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

/// Checks a request for a toplevel, and limits its sizes; `None` if a protocol error was posted.
pub(super) fn toplevel(
    _state: &State,
    _client: &Client,
    toplevel: &XdgToplevel,
    request: xdg_toplevel::Request,
    _data: &XdgShellSurfaceUserData,
) -> Option<xdg_toplevel::Request> {
    use xdg_toplevel::{Error, Request};
    let size = |width: i32, height: i32| {
        if width < 0 || height < 0 {
            let message = format!("{width}x{height} is not a valid size limit");
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
            let message = format!("{number} is not a valid edge");
            toplevel.post_error(Error::InvalidResizeEdge, message);
            return None;
        }
        other => other,
    })
}
