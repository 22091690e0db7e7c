//! The handlers of clients' requests. Each protocol has its own file.

mod activation;
mod checked;
pub(crate) mod color_representation;
mod compositor;
mod cursor_shape;
mod layer_shell;
pub(crate) mod pointer_constraints;
mod popup;
mod seat;
mod selection;
mod shell;
mod tablet;
mod unmapping;

use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewporter::WpViewporter;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{delegate_dispatch, delegate_global_dispatch};
use smithay::wayland::compositor::get_parent;
use smithay::wayland::output::OutputHandler;
use smithay::wayland::viewporter::ViewporterState;
use smithay::{
    delegate_output, delegate_pointer_gestures, delegate_presentation, delegate_relative_pointer,
};

use crate::state::State;

/// Returns the root of a surface's tree, and the number of levels from the root to the surface, which is 1 for the root.
pub(crate) fn root_of(surface: &WlSurface) -> (WlSurface, usize) {
    let mut root = surface.clone();
    let mut levels = 1_usize;
    while let Some(parent) = get_parent(&root) {
        root = parent;
        levels = levels.saturating_add(1);
    }
    (root, levels)
}

impl OutputHandler for State {}

delegate_output!(State);
delegate_pointer_gestures!(State);
delegate_presentation!(State);
delegate_relative_pointer!(State);
// The requests of viewports are validated in `checked` first.
delegate_global_dispatch!(State: [WpViewporter: ()] => ViewporterState);
delegate_dispatch!(State: [WpViewporter: ()] => ViewporterState);
