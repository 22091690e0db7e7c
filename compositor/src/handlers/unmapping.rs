//! Surfaces that end, and surfaces whose role ends: they show nothing from then on, and give back what they held.
//!
//! Smithay tells of surfaces, windows and popups that end, and not of subsurfaces. So the requests of its compositor module are
//! delegated one interface at a time, and `wl_subsurface` passes through here.

use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::{
    wl_callback::WlCallback,
    wl_compositor::WlCompositor,
    wl_region::WlRegion,
    wl_subcompositor::WlSubcompositor,
    wl_subsurface::{self, WlSubsurface},
    wl_surface::WlSurface,
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::compositor::{
    CompositorState, RegionUserData, SubsurfaceUserData, SurfaceAttributes, SurfaceUserData,
    get_children, with_states,
};

use crate::owed::commits;
use crate::state::State;

impl State {
    /// Gives back what a surface held that has no role any more: its content, and commits that were not applied.
    pub(super) fn role_ended(&mut self, surface: &WlSurface) {
        self.waiting.forget(&self.handle, surface);
        with_states(surface, |states| commits(states).clear());
        self.stack.forget(surface);
        self.screen.want_redraw();
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

impl Dispatch<WlSubsurface, SubsurfaceUserData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        subsurface: &WlSubsurface,
        request: wl_subsurface::Request,
        data: &SubsurfaceUserData,
        display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        <CompositorState as Dispatch<WlSubsurface, SubsurfaceUserData, Self>>::request(
            state, client, subsurface, request, data, display, data_init,
        );
    }

    fn destroyed(
        state: &mut Self,
        client: ClientId,
        subsurface: &WlSubsurface,
        data: &SubsurfaceUserData,
    ) {
        <CompositorState as Dispatch<WlSubsurface, SubsurfaceUserData, Self>>::destroyed(
            state, client, subsurface, data,
        );
        state.role_ended(data.surface());
    }
}

delegate_global_dispatch!(State: [WlCompositor: ()] => CompositorState);
delegate_global_dispatch!(State: [WlSubcompositor: ()] => CompositorState);
delegate_dispatch!(State: [WlCompositor: ()] => CompositorState);
delegate_dispatch!(State: [WlSurface: SurfaceUserData] => CompositorState);
delegate_dispatch!(State: [WlRegion: RegionUserData] => CompositorState);
delegate_dispatch!(State: [WlCallback: ()] => CompositorState);
delegate_dispatch!(State: [WlSubcompositor: ()] => CompositorState);
