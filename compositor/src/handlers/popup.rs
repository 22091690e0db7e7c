//! `xdg_popup`: the position of popups.

use smithay::utils::Rectangle;
use smithay::wayland::shell::xdg::{PopupSurface, PositionerState};

use crate::state::State;

impl State {
    /// Computes the position of a popup, which is constrained by the output of its layer surface, by the output that shows the
    /// centre of its window, or else by the output on which its window is placed.
    pub(super) fn place_popup(&self, popup: &PopupSurface, positioner: PositionerState) {
        let parent = popup.get_parent_surface();
        let root = parent.and_then(|parent| match self.stack.popup(&parent) {
            Some(popup) => self.stack.root_of_popup(popup),
            None => Some((parent, (0, 0))),
        });
        let offset = root.as_ref().map_or((0, 0), |(_, offset)| *offset);
        let root = root.as_ref().map(|(root, _)| root);
        let window = root.and_then(|root| self.stack.window(root));
        let layer_surface = root.and_then(|root| self.stack.layer_surfaces.find(root));
        let shown = window
            .filter(|window| self.stack.is_mapped(window))
            .and_then(|window| self.stack.rect(window))
            .or_else(|| Some(layer_surface?.rect));
        let mut outputs = self.stack.outputs().iter();
        let own = layer_surface.and_then(|known| known.output);
        let output = outputs
            .find(|output| Some(output.id) == own)
            .or_else(|| self.stack.output_at_centre(shown?))
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
