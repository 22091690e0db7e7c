//! The grabs of popups: the highest grabbing popup has keyboard focus, only its client gets pointer events, and a press outside
//! of this client's surfaces dismisses the popups.

use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_popup;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::utils::Serial;
use smithay::wayland::shell::xdg::PopupSurface;

use crate::state::State;
use crate::window::Window;

impl State {
    /// Gives a popup a grab, or dismisses it if its client may not have one. The serial has to be that of a key or button event
    /// that the client received, and the window of the popup has to have keyboard focus, or its layer surface to be the one that
    /// was pressed last: otherwise a client could take the focus.
    pub(crate) fn popup_grab_requested(&mut self, popup: &PopupSurface, serial: Serial) {
        let surface = popup.wl_surface();
        if self.stack.has_content(surface) {
            let message = "a popup cannot get a grab after it was mapped";
            popup
                .xdg_popup()
                .post_error(xdg_popup::Error::InvalidGrab, message);
            return;
        }
        // A popup has at most one grab, and a dismissed popup stays hidden.
        if self.shell.popup_grabs.contains(popup) || self.stack.is_dismissed(popup) {
            return;
        }
        let client = surface.client();
        let is_act = client
            .as_ref()
            .is_some_and(|client| self.user_acts.contains(serial, &client.id()));
        let parent = popup.get_parent_surface();
        let parent_popup = parent.and_then(|parent| self.stack.popup(&parent).cloned());
        let has_grabbing_parent = parent_popup
            .as_ref()
            .is_none_or(|parent| self.shell.popup_grabs.contains(parent));
        if !is_act || !has_grabbing_parent || !self.may_have_grab(popup) {
            self.stack.dismiss_popup(popup);
            popup.send_popup_done();
            return;
        }
        // The parent of the new popup must be the highest popup with a grab, so the popups above the parent are dismissed.
        self.dismiss_popups_above(parent_popup.as_ref());
        self.shell.popup_grabs.push(popup.clone());
    }

    /// Returns whether the window or layer surface of a popup is the one with keyboard focus. A panel has none, so the popups of
    /// the layer surface that was pressed last may have grabs as well. While the session is locked no popup may, because none is
    /// shown, and a popup with a grab gets the keys of the screen locker.
    fn may_have_grab(&self, popup: &PopupSurface) -> bool {
        if self.stack.session_lock.is_locked() {
            return false;
        }
        let Some((root, _)) = self.stack.root_of_popup(popup) else {
            return false;
        };
        if self.keyboard_root().as_ref() == Some(&root) {
            return true;
        }
        let active = self.stack.active_layer_surface();
        self.stack.exclusive_layer_surface().is_none()
            && active.is_some_and(|active| *active.surface.wl_surface() == root)
    }

    /// Dismisses the popups with a grab that are above another one, the highest first; `None` for all popups with a grab.
    fn dismiss_popups_above(&mut self, lowest: Option<&PopupSurface>) {
        while self.shell.popup_grabs.last() != lowest {
            let Some(popup) = self.shell.popup_grabs.pop() else {
                return;
            };
            if popup.alive() {
                popup.send_popup_done();
            }
            self.stack.dismiss_popup(&popup);
            self.outputs.schedule_redraw();
        }
    }

    /// Dismisses all popups with a grab, and gives keyboard and pointer focus back to the windows.
    pub(crate) fn dismiss_popups(&mut self) {
        if !self.shell.popup_grabs.is_empty() {
            self.dismiss_popups_above(None);
            self.update_keyboard_focus();
            // Without a grab, another client's surface may be under the pointer.
            self.point_at_now(self.pointer.current_location());
        }
    }

    /// Dismisses the popups with a grab if their window has no keyboard focus any more, or if their parent was destroyed.
    pub(crate) fn check_popup_grabs(&mut self) {
        let mut grabs = self.shell.popup_grabs.iter();
        if let Some(index) = grabs.position(|popup| !self.may_have_grab(popup)) {
            let below = index.checked_sub(1);
            let lowest = below.and_then(|below| self.shell.popup_grabs.get(below).cloned());
            self.dismiss_popups_above(lowest.as_ref());
            self.point_at_now(self.pointer.current_location());
        }
    }

    /// Ends the grab of a popup that was destroyed.
    pub(crate) fn forget_popup_grab(&mut self, popup: &PopupSurface) {
        if self.shell.popup_grabs.contains(popup) {
            self.shell.popup_grabs.retain(|grab| grab != popup);
            self.point_at_now(self.pointer.current_location());
        }
    }

    /// Returns the client that alone gets pointer events, if a popup has a grab.
    pub(crate) fn grabbing_client(&self) -> Option<Client> {
        self.shell.popup_grabs.last()?.wl_surface().client()
    }

    /// Returns the surface that is to have keyboard focus if no popup has a grab: a lock surface if the session is locked, a
    /// layer surface that wants it, or else the highest window of which a part is on an output.
    pub(crate) fn keyboard_root(&self) -> Option<WlSurface> {
        if self.stack.session_lock.is_locked() {
            let pointed = self.outputs.at(self.pointer.current_location());
            let output = pointed.map(|output| output.id);
            return self.stack.focused_lock_surface(output).cloned();
        }
        let layer_surface = self.stack.focused_layer_surface();
        layer_surface
            .map(|focused| focused.surface.wl_surface().clone())
            .or_else(|| Some(self.stack.top_visible()?.toplevel.wl_surface().clone()))
    }

    /// Returns the window that is to have keyboard focus; `None` if a layer surface or lock surface is.
    pub(crate) fn focused_window(&self) -> Option<&Window> {
        if self.stack.session_lock.is_locked() {
            return None;
        }
        let top = self.stack.top_visible();
        top.filter(|_| self.stack.focused_layer_surface().is_none())
    }

    /// Returns the surface that is to have keyboard focus: the highest popup with a grab, or else the root.
    pub(crate) fn keyboard_target(&self) -> Option<WlSurface> {
        let mut grabs = self.shell.popup_grabs.iter().rev();
        let popup = grabs
            .find(|popup| self.stack.has_content(popup.wl_surface()) && self.may_have_grab(popup));
        match popup {
            Some(popup) => Some(popup.wl_surface().clone()),
            None => self.keyboard_root(),
        }
    }
}
