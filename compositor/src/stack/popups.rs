//! The popups of all windows and layer surfaces.

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::shell::xdg::PopupSurface;

use super::{POPUP_DEPTH_MAX, Stack};

impl Stack {
    /// Adds a popup.
    pub fn add_popup(&mut self, popup: PopupSurface) {
        self.popups.push(popup);
    }

    /// Removes a popup.
    pub fn remove_popup(&mut self, popup: &PopupSurface) {
        self.popups.retain(|existing| existing != popup);
        self.dismissed_popups.remove(&popup.xdg_popup().id());
    }

    /// Hides a popup until it is destroyed.
    pub fn dismiss_popup(&mut self, popup: &PopupSurface) {
        if self.popups.contains(popup) {
            self.dismissed_popups.insert(popup.xdg_popup().id());
        }
    }

    /// Returns whether a popup is hidden until it is destroyed.
    pub fn is_dismissed(&self, popup: &PopupSurface) -> bool {
        self.dismissed_popups.contains(&popup.xdg_popup().id())
    }

    /// Returns the surface of the window or layer surface of a popup, and the position of the popup relative to its window
    /// geometry.
    pub fn root_of_popup(&self, popup: &PopupSurface) -> Option<(WlSurface, (i32, i32))> {
        let (mut popup, mut offset) = (popup, (0_i32, 0_i32));
        for _ in 0..POPUP_DEPTH_MAX {
            let place = popup.with_pending_state(|state| state.geometry.loc);
            offset = (
                offset.0.saturating_add(place.x),
                offset.1.saturating_add(place.y),
            );
            let parent = popup.get_parent_surface()?;
            match self.popup(&parent) {
                Some(parent) => popup = parent,
                None => return Some((parent, offset)),
            }
        }
        None
    }

    /// Returns all popups, in the order in which they were added.
    pub fn popups(&self) -> &[PopupSurface] {
        &self.popups
    }

    /// Returns the popup of a surface.
    pub fn popup(&self, surface: &WlSurface) -> Option<&PopupSurface> {
        self.popups
            .iter()
            .find(|popup| popup.wl_surface() == surface)
    }
}
