//! `wl_compositor`, `wl_subcompositor` and `wl_shm`: surfaces, their commits and their buffers.

use smithay::reexports::wayland_server::protocol::{
    wl_buffer::WlBuffer,
    wl_callback::WlCallback,
    wl_compositor::{self, WlCompositor},
    wl_region::WlRegion,
    wl_shm::WlShm,
    wl_subcompositor::WlSubcompositor,
    wl_surface::WlSurface,
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch,
    delegate_global_dispatch,
};
use smithay::wayland::buffer::BufferHandler;
use smithay::wayland::compositor::{
    CompositorClientState, CompositorHandler, CompositorState, RegionUserData, SurfaceAttributes,
    TraversalAction, add_pre_commit_hook, is_sync_subsurface, with_surface_tree_upward,
};
use smithay::wayland::shm::{ShmBufferUserData, ShmHandler, ShmState};

use crate::buffer_lock::BufferLock;
use crate::client_region::RegionData;
use crate::clock;
use crate::commits::CommittedBuffer;
use crate::content::{Content, ContentError};
use crate::dmabuf::Dmabuf;
use crate::handlers::{color_representation, root_of};
use crate::state::{ClientState, State};

impl CompositorHandler for State {
    fn compositor_state(&mut self) -> &mut CompositorState {
        &mut self.protocols.compositor
    }

    #[allow(clippy::expect_used)] // the trait has no way to fail; every client is inserted with this data
    fn client_compositor_state<'a>(&self, client: &'a Client) -> &'a CompositorClientState {
        &client
            .get_data::<ClientState>()
            .expect("every client is added by State::add_client")
            .compositor
    }

    fn new_surface(&mut self, surface: &WlSurface) {
        add_pre_commit_hook::<Self, _>(surface, |state, _, surface| {
            // `queue_commit` removes the pending buffer from Smithay's state, so the checks have to be made before.
            state.check_lock_commit(surface);
            color_representation::check_commit(&state.dmabuf, surface);
            state.queue_commit(surface);
        });
    }

    fn commit(&mut self, surface: &WlSurface) {
        if is_sync_subsurface(surface) {
            return;
        }
        let mut failed_buffers = Vec::new();
        let mut mapping_changes = Vec::new();
        with_surface_tree_upward(
            surface,
            (),
            |_, _, ()| TraversalAction::DoChildren(()),
            |surface, states, ()| {
                let state = self.stack.surface(surface);
                let had_content = state.content().is_some();
                let mut content_error = None;
                state.apply_commit(states, |buffer| {
                    content(&self.dmabuf, buffer)
                        .map_err(|error| content_error = Some(error))
                        .ok()
                });
                if let Some(error) = content_error {
                    failed_buffers.push((surface.clone(), error));
                }
                if state.content().is_some() != had_content {
                    mapping_changes.push(surface.clone());
                }
                let mut attributes = states.cached_state.get::<SurfaceAttributes>();
                if !attributes.current().frame_callbacks.is_empty() {
                    self.callbacks.add(surface);
                }
            },
            |_, _, ()| true,
        );
        for (surface, error) in failed_buffers {
            tracing::warn!(surface = ?surface.id(), %error, "a buffer cannot be shown");
        }
        self.cursor_committed(surface);
        self.drag_icon_committed(surface);
        self.pointer_constraints.mark_changed();
        self.handle_shell_commit(&root_of(surface).0);
        for surface in mapping_changes {
            self.mapping_changed(&surface);
        }
        self.outputs.schedule_redraw();
    }

    fn destroyed(&mut self, surface: &WlSurface) {
        let had_content = self.stack.has_content(surface);
        self.callbacks.remove(surface);
        self.pointer_constraints.surface_destroyed(surface);
        self.shortcut_inhibitors.surface_destroyed(surface);
        self.surface_destroyed(surface);
        if self.stack.is_drag_icon(surface) {
            self.stack.hide_drag_icon();
        }
        if had_content {
            self.update_keyboard_focus();
            self.update_pointer_focus();
        }
        for screen in self.outputs.iter_mut() {
            screen.surface_destroyed(surface);
        }
        self.outputs.schedule_redraw();
    }
}

/// Locks a committed buffer and creates the content of its surface.
fn content(dmabuf: &Dmabuf, buffer: CommittedBuffer) -> Result<Content, ContentError> {
    let memory = dmabuf.find(buffer.buffer()).cloned();
    let lock = BufferLock::new(buffer);
    match memory {
        Some(memory) => Ok(Content::of_dmabuf(lock, memory, clock::now())),
        None => Content::of_shm(lock, clock::now()),
    }
}

impl BufferHandler for State {
    fn buffer_destroyed(&mut self, _buffer: &WlBuffer) {}
}

impl ShmHandler for State {
    fn shm_state(&self) -> &ShmState {
        &self.protocols.shm
    }
}

impl Dispatch<WlCompositor, ()> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        compositor: &WlCompositor,
        request: wl_compositor::Request,
        data: &(),
        display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        match request {
            wl_compositor::Request::CreateRegion { id } => {
                data_init.init(id, RegionData::new(client));
            }
            request => <CompositorState as Dispatch<WlCompositor, (), Self>>::request(
                state, client, compositor, request, data, display, data_init,
            ),
        }
    }
}

// The requests of surfaces, subsurfaces and pools are validated in `checked` first.
delegate_global_dispatch!(State: [WlCompositor: ()] => CompositorState);
delegate_global_dispatch!(State: [WlSubcompositor: ()] => CompositorState);
// Smithay requires this implementation for `wl_region` objects with `RegionUserData`. No object has this data, because
// `wl_region` objects are created with `RegionData`.
delegate_dispatch!(State: [WlRegion: RegionUserData] => CompositorState);
delegate_dispatch!(State: [WlCallback: ()] => CompositorState);
delegate_global_dispatch!(State: [WlShm: ()] => ShmState);
delegate_dispatch!(State: [WlBuffer: ShmBufferUserData] => ShmState);
