//! The requests of the session-lock protocol.

use smithay::reexports::wayland_protocols::ext::session_lock::v1::server::{
    ext_session_lock_manager_v1::{self, ExtSessionLockManagerV1},
    ext_session_lock_surface_v1::{self, ExtSessionLockSurfaceV1},
    ext_session_lock_v1::{self, ExtSessionLockV1},
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, Weak,
};
use smithay::wayland::compositor::{SurfaceAttributes, give_role, with_states};

use super::LockSurface;
use crate::privilege::is_privileged;
use crate::state::State;

/// The version of the protocol that is implemented.
const VERSION: u32 = 1;

/// The role of a lock surface.
const ROLE: &str = "ext_session_lock_surface_v1";

/// The data of a lock surface's object.
#[derive(Debug)]
pub(crate) struct LockSurfaceData(Weak<WlSurface>);

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, ExtSessionLockManagerV1, ()>(VERSION, ());
}

impl GlobalDispatch<ExtSessionLockManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ExtSessionLockManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<ExtSessionLockManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        _manager: &ExtSessionLockManagerV1,
        request: ext_session_lock_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        if let ext_session_lock_manager_v1::Request::Lock { id } = request {
            let lock = data_init.init(id, ());
            state.lock_requested(lock);
        }
    }
}

impl Dispatch<ExtSessionLockV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        lock: &ExtSessionLockV1,
        request: ext_session_lock_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        use ext_session_lock_v1::{Error, Request};
        let session_lock = &state.stack.session_lock;
        let is_confirmed = session_lock.is_held_by(lock) && session_lock.is_confirmed();
        match request {
            Request::GetLockSurface {
                id,
                surface,
                output,
            } => state.get_lock_surface(lock, id, surface, &output, data_init),
            Request::UnlockAndDestroy if is_confirmed => state.unlock(),
            Request::UnlockAndDestroy => {
                let message = "the session is not locked by this object";
                lock.post_error(Error::InvalidUnlock, message);
            }
            Request::Destroy if is_confirmed => {
                let message = "the session is locked; use unlock_and_destroy";
                lock.post_error(Error::InvalidDestroy, message);
            }
            Request::Destroy => state.lock_given_up(lock),
            _ => {}
        }
    }

    fn destroyed(state: &mut Self, _client: ClientId, lock: &ExtSessionLockV1, _data: &()) {
        // A client that unlocked the session, or gave the lock up, does not hold it any more.
        state.lock_abandoned(lock);
    }
}

impl Dispatch<ExtSessionLockSurfaceV1, LockSurfaceData> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        role: &ExtSessionLockSurfaceV1,
        request: ext_session_lock_surface_v1::Request,
        data: &LockSurfaceData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        use ext_session_lock_surface_v1::{Error, Request};
        let Request::AckConfigure { serial } = request else {
            return;
        };
        let surface = data.0.upgrade().ok();
        let session_lock = &mut state.stack.session_lock;
        let known = surface.and_then(|surface| session_lock.find_mut(&surface));
        // A surface of a lock that was refused or has ended gets no more configure events, so its requests have no effect.
        if known.is_some_and(|known| !known.acknowledge(serial)) {
            let message = format!("no configure event has the serial {serial}");
            role.post_error(Error::InvalidSerial, message);
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        _role: &ExtSessionLockSurfaceV1,
        data: &LockSurfaceData,
    ) {
        if let Ok(surface) = data.0.upgrade() {
            state.role_destroyed(&surface);
            state.remove_lock_surface(&surface);
        }
    }
}

impl State {
    /// Gives a surface the role of a lock surface for an output, and configures it. A surface of a lock that was refused or has
    /// ended, or of an output that was removed, is never configured.
    fn get_lock_surface(
        &mut self,
        lock: &ExtSessionLockV1,
        id: New<ExtSessionLockSurfaceV1>,
        surface: WlSurface,
        output: &WlOutput,
        data_init: &mut DataInit<'_, Self>,
    ) {
        use ext_session_lock_v1::Error;
        let is_used = self.stack.session_lock.find_mut(&surface).is_some();
        if is_used || give_role(&surface, ROLE).is_err() {
            lock.post_error(Error::Role, "the surface has a role already");
            return;
        }
        let has_pending_buffer = with_states(&surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.pending().buffer.is_some()
        });
        if has_pending_buffer || self.stack.has_content(&surface) {
            let message = "the surface has a buffer attached or committed";
            lock.post_error(Error::AlreadyConstructed, message);
            return;
        }
        let mut outputs = self.stack.outputs().iter();
        let output = self.find_output(output);
        let output = output.filter(|id| outputs.any(|view| view.id == *id));
        let is_held = self.stack.session_lock.is_held_by(lock);
        let output = output.filter(|_| is_held);
        let mut surfaces = self.stack.session_lock.surfaces().iter();
        if output.is_some_and(|id| surfaces.any(|known| known.output == id)) {
            let message = "the output has a lock surface already";
            lock.post_error(Error::DuplicateOutput, message);
            return;
        }
        let role = data_init.init(id, LockSurfaceData(surface.downgrade()));
        let held = self.stack.session_lock.0.as_mut();
        if let (Some(output), Some(held)) = (output, held) {
            held.surfaces.push(LockSurface::new(surface, role, output));
            self.configure_lock_surfaces();
        }
    }
}
