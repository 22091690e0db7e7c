//! Removes the content of a surface, and releases all its buffers, when the surface or its role is destroyed.
//!
//! Smithay has callbacks for destroyed surfaces, toplevels and popups, but not for subsurfaces. The requests of subsurfaces are
//! validated in `checked`, which calls [`subsurface_destroyed`].

use smithay::reexports::wayland_server::protocol::{
    wl_subsurface::WlSubsurface, wl_surface::WlSurface,
};
use smithay::wayland::compositor::{
    SubsurfaceUserData, SurfaceAttributes, get_children, with_states,
};

use crate::commits::pending_commits;
use crate::state::State;

impl State {
    /// Releases the buffers of a surface whose role was destroyed: its content and its pending commits.
    pub(crate) fn role_destroyed(&mut self, surface: &WlSurface) {
        self.blocked_commits.unblock_surface(&self.handle, surface);
        with_states(surface, |states| pending_commits(states).clear());
        self.stack.remove_surface(surface);
        self.outputs.schedule_redraw();
    }

    /// Releases the buffers of a destroyed surface and of its subsurfaces, which are unmapped with it.
    pub(super) fn surface_destroyed(&mut self, surface: &WlSurface) {
        for child in get_children(surface) {
            self.role_destroyed(&child);
        }
        with_states(surface, |states| {
            // Smithay would send a release for a buffer that was attached and not committed, although another surface may show
            // that buffer.
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer = None;
        });
        self.remove_layer_surface(surface);
        self.remove_lock_surface(surface);
        self.role_destroyed(surface);
    }
}

/// Releases the buffers of a surface whose `wl_subsurface` was destroyed.
pub(super) fn subsurface_destroyed(
    state: &mut State,
    _subsurface: &WlSubsurface,
    data: &SubsurfaceUserData,
) {
    state.role_destroyed(data.surface());
}
