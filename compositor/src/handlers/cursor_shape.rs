//! `wp_cursor_shape_v1`: a client chooses an image of the cursor theme while the pointer is above its surface.

use smithay::reexports::wayland_protocols::wp::cursor_shape::v1::server::wp_cursor_shape_manager_v1::WpCursorShapeManagerV1;
use smithay::reexports::wayland_server::{delegate_dispatch, delegate_global_dispatch};
use smithay::wayland::cursor_shape::CursorShapeManagerState;

use crate::state::State;

// Requests to the devices go through `checked`.
delegate_global_dispatch!(State: [WpCursorShapeManagerV1: ()] => CursorShapeManagerState);
delegate_dispatch!(State: [WpCursorShapeManagerV1: ()] => CursorShapeManagerState);
