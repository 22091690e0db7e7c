//! `zwp_keyboard_shortcuts_inhibit_manager_v1`: a window gets the keys that are bound otherwise, such as those of a virtual
//! machine or a remote desktop.
//!
//! This is not Smithay's implementation. That of Smithay 0.7 keeps an entry for each `wl_seat` object that a client has used, of
//! which some are never removed, and does not notice a second inhibitor of a surface if it names another `wl_seat` object.
//!
//! An inhibitor is active only while its surface has keyboard focus. Super+Escape takes the keys back until the focus changes,
//! and the keys that show another virtual console are never inhibited.

use std::collections::HashMap;

use smithay::reexports::wayland_protocols::wp::keyboard_shortcuts_inhibit::zv1::server::{
    zwp_keyboard_shortcuts_inhibit_manager_v1::{self, ZwpKeyboardShortcutsInhibitManagerV1},
    zwp_keyboard_shortcuts_inhibitor_v1::{self, ZwpKeyboardShortcutsInhibitorV1},
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::state::State;

/// The version of the global.
const VERSION: u32 = 1;

/// The inhibitors of all surfaces.
#[derive(Debug, Default)]
pub struct ShortcutInhibitors {
    inhibitors: HashMap<ObjectId, ZwpKeyboardShortcutsInhibitorV1>,
    /// The surface whose inhibitor is active.
    active: Option<ObjectId>,
    /// The focused surface from which the user has taken the keys back.
    suspended: Option<ObjectId>,
}

/// The user data of an inhibitor.
#[derive(Debug)]
pub struct InhibitorData {
    surface: WlSurface,
}

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, ZwpKeyboardShortcutsInhibitManagerV1, ()>(VERSION, ());
}

impl ShortcutInhibitors {
    /// Returns whether the surface with keyboard focus gets the keys of bindings.
    pub(crate) fn is_active(&self, focus: Option<&WlSurface>) -> bool {
        let focus = focus.map(Resource::id);
        focus.is_some() && self.active == focus
    }

    /// Returns the number of inhibitors.
    pub fn count(&self) -> usize {
        self.inhibitors.len()
    }

    /// Removes the inhibitor of a destroyed surface.
    pub(crate) fn surface_destroyed(&mut self, surface: &WlSurface) {
        let id = surface.id();
        self.inhibitors.remove(&id);
        for kept in [&mut self.active, &mut self.suspended] {
            kept.take_if(|kept| *kept == id);
        }
    }

    /// Takes the keys back from the focused surface, or gives them to it again.
    fn toggle(&mut self, focus: ObjectId) {
        self.suspended = match self.suspended.take() {
            Some(suspended) if suspended == focus => None,
            _ => Some(focus),
        };
    }

    /// Makes the inhibitor of the focused surface active, and the others inactive.
    fn update(&mut self, focus: Option<ObjectId>) {
        if self.suspended != focus {
            self.suspended = None;
        }
        let is_inhibited =
            |id: &ObjectId| self.inhibitors.contains_key(id) && self.suspended.as_ref() != Some(id);
        let wanted = focus.filter(is_inhibited);
        if self.active == wanted {
            return;
        }
        let inhibitor = |id: &Option<ObjectId>| self.inhibitors.get(id.as_ref()?);
        if let Some(inhibitor) = inhibitor(&self.active) {
            inhibitor.inactive();
        }
        if let Some(inhibitor) = inhibitor(&wanted) {
            inhibitor.active();
        }
        self.active = wanted;
    }
}

impl State {
    /// Makes inhibitors active and inactive, after the keyboard focus or the inhibitors have changed.
    pub(crate) fn update_shortcut_inhibitors(&mut self) {
        let inhibitors = &self.shortcut_inhibitors;
        if inhibitors.inhibitors.is_empty() && inhibitors.suspended.is_none() {
            return;
        }
        let focus = self.keyboard_focus().map(|surface| surface.id());
        self.shortcut_inhibitors.update(focus);
    }

    /// Takes the keys of bindings back from the focused surface, or gives them to it again.
    pub(crate) fn toggle_shortcut_inhibitor(&mut self) {
        if let Some(focus) = self.keyboard_focus() {
            self.shortcut_inhibitors.toggle(focus.id());
            self.update_shortcut_inhibitors();
        }
    }

    /// Returns the surface with keyboard focus.
    pub(crate) fn keyboard_focus(&self) -> Option<WlSurface> {
        self.seat.get_keyboard()?.current_focus()
    }
}

impl GlobalDispatch<ZwpKeyboardShortcutsInhibitManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ZwpKeyboardShortcutsInhibitManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }
}

impl Dispatch<ZwpKeyboardShortcutsInhibitManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        manager: &ZwpKeyboardShortcutsInhibitManagerV1,
        request: zwp_keyboard_shortcuts_inhibit_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let zwp_keyboard_shortcuts_inhibit_manager_v1::Request::InhibitShortcuts {
            id,
            surface,
            ..
        } = request
        else {
            return;
        };
        let data = InhibitorData {
            surface: surface.clone(),
        };
        let inhibitor = data_init.init(id, data);
        let inhibitors = &mut state.shortcut_inhibitors.inhibitors;
        if inhibitors.contains_key(&surface.id()) {
            manager.post_error(
                zwp_keyboard_shortcuts_inhibit_manager_v1::Error::AlreadyInhibited,
                "the surface has an inhibitor",
            );
            return;
        }
        inhibitors.insert(surface.id(), inhibitor);
    }
}

impl Dispatch<ZwpKeyboardShortcutsInhibitorV1, InhibitorData> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _inhibitor: &ZwpKeyboardShortcutsInhibitorV1,
        _request: zwp_keyboard_shortcuts_inhibitor_v1::Request,
        _data: &InhibitorData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        // The only request destroys the inhibitor.
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        inhibitor: &ZwpKeyboardShortcutsInhibitorV1,
        data: &InhibitorData,
    ) {
        let id = data.surface.id();
        let inhibitors = &mut state.shortcut_inhibitors;
        if inhibitors.inhibitors.get(&id) == Some(inhibitor) {
            inhibitors.inhibitors.remove(&id);
            inhibitors.active.take_if(|active| *active == id);
        }
    }
}
