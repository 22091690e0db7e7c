//! The icon of a drag (`wl_data_device.start_drag`): a surface that follows the pointer above all windows, and gets no input.

use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::{SurfaceAttributes, with_states};

use super::{POPUP_DEPTH_MAX, Stack, Tree};
use crate::handlers::root_of;
use crate::output_view::OutputId;
use crate::scene::{Owner, Role, SceneLayer};
use crate::state::State;

/// The icon of the current drag.
#[derive(Debug)]
pub(super) struct DragIcon {
    surface: WlSurface,
    /// What the drag started in. The report names it as the owner of the icon.
    pub(super) owner: Owner,
    /// The position of the pointer.
    position: (i32, i32),
    /// The offset of the icon from the pointer, which is the sum of the offsets of its commits.
    offset: (i32, i32),
}

impl Stack {
    /// Removes the icon of the current drag.
    pub fn hide_drag_icon(&mut self) {
        self.drag_icon = None;
    }

    /// Returns whether a surface is the icon of the current drag.
    pub fn is_drag_icon(&self, surface: &WlSurface) -> bool {
        let icon = self.drag_icon.as_ref();
        icon.is_some_and(|icon| icon.surface == *surface)
    }

    /// Moves the icon of the current drag to the pointer.
    pub fn move_drag_icon(&mut self, to: (i32, i32)) {
        if let Some(icon) = &mut self.drag_icon {
            icon.position = to;
        }
    }

    /// Adds the surfaces of the icon to the layers of `output`, except while the session is locked.
    pub(super) fn add_drag_icon(&self, layers: &mut Vec<SceneLayer>, output: OutputId) {
        let Some(icon) = &self.drag_icon else {
            return;
        };
        if !icon.surface.is_alive() || self.session_lock.is_locked() {
            return;
        }
        let corner = (
            icon.position.0.saturating_add(icon.offset.0),
            icon.position.1.saturating_add(icon.offset.1),
        );
        let tree = Tree {
            owner: &icon.owner,
            output,
            role: Role::DragIcon,
            // An icon has no popups.
            depth: POPUP_DEPTH_MAX,
        };
        self.add_tree(layers, tree, &icon.surface, corner);
    }
}

impl State {
    /// Shows the icon of a drag that starts in the window with the grab of the pointer or of a touch.
    pub(crate) fn show_drag_icon(&mut self, surface: WlSurface) {
        let grab = self.pointer.grab_start_data();
        let of_pointer = grab.and_then(|grab| Some((grab.focus?.0, grab.location)));
        let touch = self.seat.get_touch();
        let grab = touch.and_then(|touch| touch.grab_start_data());
        let of_touch = grab.and_then(|grab| Some((grab.focus?.0, grab.location)));
        let Some((origin, began_at)) = of_pointer.or(of_touch) else {
            return;
        };
        let place = if self.pointer.is_grabbed() {
            self.pointer.current_location()
        } else {
            began_at
        };
        let (root, _) = root_of(&origin);
        let of_popup = self.stack.popup(&root);
        let of_popup = of_popup.and_then(|popup| self.stack.root_of_popup(popup));
        let root = of_popup.map_or(root, |(parent, _)| parent);
        let Some(owner) = self.stack.owner(&root) else {
            return;
        };
        self.stack.drag_icon = Some(DragIcon {
            surface,
            owner,
            position: to_pixel(place),
            offset: (0, 0),
        });
        self.outputs.schedule_redraw();
    }

    /// Moves the icon by the offset that a commit sets for its buffer.
    pub(crate) fn drag_icon_committed(&mut self, surface: &WlSurface) {
        let icon = self.stack.drag_icon.as_mut();
        let Some(icon) = icon.filter(|icon| icon.surface == *surface) else {
            return;
        };
        let delta = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.current().buffer_delta.take()
        });
        if let Some(delta) = delta {
            icon.offset = (
                icon.offset.0.saturating_add(delta.x),
                icon.offset.1.saturating_add(delta.y),
            );
        }
    }
}

/// Returns the pixel that contains a point.
pub(crate) fn to_pixel(point: Point<f64, Logical>) -> (i32, i32) {
    let pixel = point.to_i32_floor::<i32>();
    (pixel.x, pixel.y)
}
