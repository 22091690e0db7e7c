//! `ext_foreign_toplevel_list_v1`: lists the mapped windows of all clients, for task bars and for the choice of a window to
//! capture.
//!
//! This is not Smithay's implementation. That of Smithay 0.7 sends each change at once, so that a client that changes its title
//! again and again fills the socket of a task bar, which is disconnected then. Here the changes are compared and sent together,
//! at most ten times a second. Smithay also sends events when its last reference to a window is dropped, which can be while
//! wayland-backend removes the objects of a client.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use calloop::timer::TimeoutAction;
use rustix::rand::{GetRandomFlags, getrandom};
use smithay::reexports::wayland_protocols::ext::foreign_toplevel_list::v1::server::{
    ext_foreign_toplevel_handle_v1::{self, ExtForeignToplevelHandleV1},
    ext_foreign_toplevel_list_v1::{self, ExtForeignToplevelListV1},
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::clock;
use crate::privilege::is_privileged;
use crate::state::State;

/// The version of the global.
const VERSION: u32 = 1;
/// The shortest time between two updates.
const PERIOD: Duration = Duration::from_millis(100);
/// The number of bytes of a title or application id that are sent. Longer texts are cut.
const TEXT_MAX: usize = 1024;

/// A listed window.
#[derive(Debug)]
struct Entry {
    surface: WlSurface,
    identifier: String,
    title: String,
    app_id: String,
    handles: Vec<ExtForeignToplevelHandleV1>,
}

/// The lists of all clients.
#[derive(Debug)]
pub struct ToplevelList {
    lists: Vec<ExtForeignToplevelListV1>,
    entries: HashMap<ObjectId, Entry>,
    /// The first part of the identifiers, which is different for each run of the compositor.
    run: String,
    last_number: u64,
    /// Whether windows may differ from the entries.
    has_changed: bool,
    /// The time of the last update.
    updated_at: Duration,
    has_timer: bool,
}

impl Default for ToplevelList {
    fn default() -> Self {
        let mut random = [0_u8; 8];
        let run = match getrandom(&mut random, GetRandomFlags::NONBLOCK) {
            Ok(_) => u64::from_ne_bytes(random),
            // The kernel's generator is not ready just after the boot.
            Err(_) => clock::nanoseconds(clock::now()),
        };
        Self {
            lists: Vec::new(),
            entries: HashMap::new(),
            run: format!("{run:016x}"),
            last_number: 0,
            has_changed: false,
            updated_at: Duration::ZERO,
            has_timer: false,
        }
    }
}

impl ToplevelList {
    /// Records that a window was mapped or unmapped, or has another title or application id.
    pub(crate) fn mark_changed(&mut self) {
        self.has_changed = !self.lists.is_empty() || !self.entries.is_empty();
    }

    /// Returns the number of handles of the clients.
    pub fn handle_count(&self) -> usize {
        self.entries.values().map(|entry| entry.handles.len()).sum()
    }
}

impl Entry {
    /// Sends the window to a list of a client.
    fn announce(&mut self, display: &DisplayHandle, list: &ExtForeignToplevelListV1) {
        let Some(client) = list.client() else {
            return;
        };
        let handle = client.create_resource::<ExtForeignToplevelHandleV1, ObjectId, State>(
            display,
            list.version(),
            self.surface.id(),
        );
        let Ok(handle) = handle else {
            return;
        };
        list.toplevel(&handle);
        handle.identifier(self.identifier.clone());
        handle.title(self.title.clone());
        handle.app_id(self.app_id.clone());
        handle.done();
        self.handles.push(handle);
    }

    /// Sends a changed title and application id.
    fn update(&mut self, title: String, app_id: String) {
        let has_title = std::mem::replace(&mut self.title, title) != self.title;
        let has_app_id = std::mem::replace(&mut self.app_id, app_id) != self.app_id;
        if !has_title && !has_app_id {
            return;
        }
        for handle in &self.handles {
            if has_title {
                handle.title(self.title.clone());
            }
            if has_app_id {
                handle.app_id(self.app_id.clone());
            }
            handle.done();
        }
    }
}

/// Returns the first bytes of a text.
fn cut(text: Option<String>) -> String {
    let mut text = text.unwrap_or_default();
    let mut end = TEXT_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text
}

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, ExtForeignToplevelListV1, ()>(VERSION, ());
}

impl State {
    /// Sends the changes of windows to the lists, unless the last update was just before. They are sent by a timer then.
    pub(crate) fn update_toplevel_list(&mut self) {
        if !self.toplevel_list.has_changed || self.toplevel_list.has_timer {
            return;
        }
        let next = self.toplevel_list.updated_at.saturating_add(PERIOD);
        let wait = next.saturating_sub(clock::now());
        if wait.is_zero() {
            self.toplevel_list.updated_at = clock::now();
            let has_lists = !self.toplevel_list.lists.is_empty();
            self.send_toplevel_changes(has_lists);
            return;
        }
        self.toplevel_list.has_timer = true;
        self.handle.add_timer(wait, |state| {
            // The changes are sent at the end of this event-loop iteration.
            state.toplevel_list.has_timer = false;
            TimeoutAction::Drop
        });
    }

    /// Sends the changes of the listed windows. New windows are listed if there is a list.
    fn send_toplevel_changes(&mut self, has_lists: bool) {
        self.toplevel_list.has_changed = false;
        let Self {
            toplevel_list: list,
            stack,
            display,
            ..
        } = self;
        let mapped = stack
            .windows()
            .iter()
            .filter(|window| stack.is_mapped(window));
        let mapped: HashSet<ObjectId> = mapped
            .map(|window| window.toplevel.wl_surface().id())
            .collect();
        list.entries.retain(|id, entry| {
            let is_mapped = mapped.contains(id);
            if !is_mapped {
                let handles = entry.handles.iter();
                handles.for_each(ExtForeignToplevelHandleV1::closed);
            }
            is_mapped
        });
        // The windows are listed in stacking order, so that each client gets the same order.
        for window in stack.windows() {
            let surface = window.toplevel.wl_surface();
            if !mapped.contains(&surface.id()) {
                continue;
            }
            let (title, app_id) = window.title_and_app_id();
            let (title, app_id) = (cut(title), cut(app_id));
            if let Some(entry) = list.entries.get_mut(&surface.id()) {
                entry.update(title, app_id);
                continue;
            }
            if !has_lists {
                continue;
            }
            list.last_number = list.last_number.saturating_add(1);
            let mut entry = Entry {
                surface: surface.clone(),
                identifier: format!("{}{:x}", list.run, list.last_number),
                title,
                app_id,
                handles: Vec::new(),
            };
            for instance in &list.lists {
                entry.announce(display, instance);
            }
            list.entries.insert(surface.id(), entry);
        }
    }

    fn forget_list(&mut self, list: &ExtForeignToplevelListV1) {
        let lists = &mut self.toplevel_list.lists;
        lists.retain(|other| other != list);
        // Windows are tracked only for a client that lists them. Handles stay until their client destroys them.
        let entries = &self.toplevel_list.entries;
        if lists.is_empty() && entries.values().all(|entry| entry.handles.is_empty()) {
            self.toplevel_list.entries.clear();
        }
    }
}

impl GlobalDispatch<ExtForeignToplevelListV1, ()> for State {
    fn bind(
        state: &mut Self,
        display: &DisplayHandle,
        _client: &Client,
        resource: New<ExtForeignToplevelListV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        // The entries are updated first, so that the new list gets the windows as they are now.
        state.send_toplevel_changes(true);
        let list = data_init.init(resource, ());
        let windows = state.stack.windows().iter();
        let ids: Vec<ObjectId> = windows
            .map(|window| window.toplevel.wl_surface().id())
            .collect();
        for id in ids {
            if let Some(entry) = state.toplevel_list.entries.get_mut(&id) {
                entry.announce(display, &list);
            }
        }
        state.toplevel_list.lists.push(list);
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<ExtForeignToplevelListV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        list: &ExtForeignToplevelListV1,
        request: ext_foreign_toplevel_list_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        if let ext_foreign_toplevel_list_v1::Request::Stop = request {
            if state.toplevel_list.lists.contains(list) {
                state.forget_list(list);
                list.finished();
            }
        }
    }

    fn destroyed(state: &mut Self, _client: ClientId, list: &ExtForeignToplevelListV1, _data: &()) {
        state.forget_list(list);
    }
}

impl Dispatch<ExtForeignToplevelHandleV1, ObjectId> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _handle: &ExtForeignToplevelHandleV1,
        _request: ext_foreign_toplevel_handle_v1::Request,
        _surface: &ObjectId,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        // The only request destroys the handle.
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        handle: &ExtForeignToplevelHandleV1,
        surface: &ObjectId,
    ) {
        if let Some(entry) = state.toplevel_list.entries.get_mut(surface) {
            entry.handles.retain(|other| other != handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_two_characters() {
        assert_eq!(cut(None), "");
        assert_eq!(cut(Some("title".to_owned())), "title");
        let cut = cut(Some("ä".repeat(TEXT_MAX)));
        assert_eq!(cut.len(), TEXT_MAX);
        let odd = super::cut(Some(format!("x{}", "ä".repeat(TEXT_MAX))));
        assert_eq!(odd.len(), TEXT_MAX - 1);
    }
}
