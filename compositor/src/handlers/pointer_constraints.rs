//! `zwp_pointer_constraints_v1`: the requests of pointer constraints.

use smithay::reexports::wayland_protocols::wp::pointer_constraints::zv1::server::{
    zwp_confined_pointer_v1::{self, ZwpConfinedPointerV1},
    zwp_locked_pointer_v1::{self, ZwpLockedPointerV1},
    zwp_pointer_constraints_v1::{self, Lifetime, ZwpPointerConstraintsV1},
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum,
};

use crate::pointer_constraints::ConstraintObject;
use crate::state::State;

/// The version of the global.
const VERSION: u32 = 1;

/// The user data of a constraint.
#[derive(Debug)]
pub struct ConstraintData {
    surface: WlSurface,
}

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, ZwpPointerConstraintsV1, ()>(VERSION, ());
}

impl GlobalDispatch<ZwpPointerConstraintsV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ZwpPointerConstraintsV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }
}

impl Dispatch<ZwpPointerConstraintsV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        manager: &ZwpPointerConstraintsV1,
        request: zwp_pointer_constraints_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        use zwp_pointer_constraints_v1::Request;
        let (surface, lifetime, region, object) = match request {
            Request::LockPointer {
                id,
                surface,
                region,
                lifetime,
                ..
            } => {
                let data = ConstraintData {
                    surface: surface.clone(),
                };
                let object = ConstraintObject::Locked(data_init.init(id, data));
                (surface, lifetime, region, object)
            }
            Request::ConfinePointer {
                id,
                surface,
                region,
                lifetime,
                ..
            } => {
                let data = ConstraintData {
                    surface: surface.clone(),
                };
                let object = ConstraintObject::Confined(data_init.init(id, data));
                (surface, lifetime, region, object)
            }
            _ => return,
        };
        if state.pointer_constraints.has(&surface) {
            manager.post_error(
                zwp_pointer_constraints_v1::Error::AlreadyConstrained,
                "the surface has a constraint that has not ended",
            );
            return;
        }
        // The protocol has no error for another lifetime.
        let is_persistent = lifetime == WEnum::Value(Lifetime::Persistent);
        state
            .pointer_constraints
            .add(&surface, object, is_persistent, region.as_ref());
    }
}

impl Dispatch<ZwpLockedPointerV1, ConstraintData> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        object: &ZwpLockedPointerV1,
        request: zwp_locked_pointer_v1::Request,
        data: &ConstraintData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        let constraints = &state.pointer_constraints;
        match request {
            zwp_locked_pointer_v1::Request::SetCursorPositionHint {
                surface_x,
                surface_y,
            } => constraints.change(&data.surface, &object.id(), |pending| {
                pending.set_hint((surface_x, surface_y));
            }),
            zwp_locked_pointer_v1::Request::SetRegion { region } => {
                constraints.change(&data.surface, &object.id(), |pending| {
                    pending.set_region(region.as_ref());
                });
            }
            _ => {}
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        object: &ZwpLockedPointerV1,
        data: &ConstraintData,
    ) {
        state.constraint_destroyed(&data.surface, &object.id());
    }
}

impl Dispatch<ZwpConfinedPointerV1, ConstraintData> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        object: &ZwpConfinedPointerV1,
        request: zwp_confined_pointer_v1::Request,
        data: &ConstraintData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        if let zwp_confined_pointer_v1::Request::SetRegion { region } = request {
            let constraints = &state.pointer_constraints;
            constraints.change(&data.surface, &object.id(), |pending| {
                pending.set_region(region.as_ref());
            });
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        object: &ZwpConfinedPointerV1,
        data: &ConstraintData,
    ) {
        state.constraint_destroyed(&data.surface, &object.id());
    }
}
