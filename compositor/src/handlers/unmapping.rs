//! Surfaces that end, and surfaces whose role ends: they show nothing from then on, and give back what they held.
//!
//! Smithay tells of surfaces, windows and popups that end, and not of subsurfaces: their requests come through `checked`, which
//! says here when one ends.

use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{
    SubsurfaceUserData, SurfaceAttributes, get_children, with_states,
};

use crate::commits::pending_commits;
use crate::state::State;

impl State {
    /// Gives back what a surface held that has no role any more: its content, and commits that were not applied.
    pub(super) fn role_ended(&mut self, surface: &WlSurface) {
        self.blocked_commits.unblock_surface(&self.handle, surface);
        with_states(surface, |states| pending_commits(states).clear());
        self.stack.forget(surface);
        self.screen.schedule_redraw();
    }

    /// Gives back what a surface held that is destroyed, and what its subsurfaces held, which show nothing without it.
    pub(super) fn surface_ended(&mut self, surface: &WlSurface) {
        for child in get_children(surface) {
            self.role_ended(&child);
        }
        with_states(surface, |states| {
            // Attached and not committed: Smithay would release it, and another surface may show it.
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer = None;
        });
        self.role_ended(surface);
    }
}

/// Gives back what a surface held that is no subsurface any more.
pub(super) fn subsurface_ended(state: &mut State, data: &SubsurfaceUserData) {
    state.role_ended(data.surface());
}
