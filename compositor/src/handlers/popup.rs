//! `xdg_popup`: the position of popups.

use smithay::utils::Rectangle;
use smithay::wayland::shell::xdg::{PopupSurface, PositionerState};

use crate::state::State;

impl State {
    /// Computes the position of a popup, which is constrained by the output that shows the centre of its window, or else by the
    /// output on which its window is placed.
    pub(super) fn place_popup(&self, popup: &PopupSurface, positioner: PositionerState) {
        let parent = popup.get_parent_surface();
        let parent_popup = parent
            .as_ref()
            .and_then(|parent| self.stack.popup(parent))
            .and_then(|popup| self.stack.window_of_popup(popup));
        let parent_window = parent.as_ref().and_then(|parent| self.stack.window(parent));
        let (window, offset) = match (parent_window, parent_popup) {
            (Some(window), _) => (Some(window), (0, 0)),
            (None, Some((window, offset))) => (Some(window), offset),
            (None, None) => (None, (0, 0)),
        };
        let shown = window
            .filter(|window| self.stack.is_mapped(window))
            .and_then(|window| self.stack.rect(window));
        let output = shown
            .and_then(|rect| self.stack.output_at_centre(rect))
            .or_else(|| window.and_then(|window| self.stack.output_of(window)))
            .or_else(|| self.stack.outputs().first());
        let output = output.map(|output| output.logical).unwrap_or_default();
        // The position of a parent that is not mapped is not known, so its popup is constrained by the size of the output alone.
        let corner = shown.map_or((output.x, output.y), |rect| {
            (
                rect.x.saturating_add(offset.0),
                rect.y.saturating_add(offset.1),
            )
        });
        let target = Rectangle::new(
            (
                output.x.saturating_sub(corner.0),
                output.y.saturating_sub(corner.1),
            )
                .into(),
            (output.width, output.height).into(),
        );
        popup.with_pending_state(|state| {
            state.geometry = positioner.get_unconstrained_geometry(target);
            state.positioner = positioner;
        });
    }
}
