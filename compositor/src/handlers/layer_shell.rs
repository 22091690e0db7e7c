//! `zwlr_layer_shell_v1`: surfaces that are anchored to the edges of an output.
//!
//! An unmapped surface is configured again only after another initial commit, which Smithay does not require.

use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::zwlr_layer_shell_v1::ZwlrLayerShellV1;
use smithay::reexports::wayland_server::delegate_global_dispatch;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::shell::wlr_layer::{
    Layer, LayerSurface, LayerSurfaceConfigure, WlrLayerShellGlobalData, WlrLayerShellHandler,
    WlrLayerShellState,
};
use smithay::wayland::shell::xdg::PopupSurface;

use crate::layer_shell::{AnchoredSurface, Placement, committed};
use crate::limits::{Limit, amount};
use crate::output_view::OutputId;
use crate::state::State;

impl WlrLayerShellHandler for State {
    fn shell_state(&mut self) -> &mut WlrLayerShellState {
        &mut self.protocols.layer_shell
    }

    fn new_layer_surface(
        &mut self,
        surface: LayerSurface,
        output: Option<WlOutput>,
        _layer: Layer,
        namespace: String,
    ) {
        let id = match output {
            Some(output) => self.find_output(&output),
            None => {
                let pointed = self.outputs.at(self.pointer.current_location());
                pointed.map(|output| output.id)
            }
        };
        let mut outputs = self.stack.outputs().iter();
        // A client may use a `wl_output` whose removal it has not received yet.
        let id = id.filter(|id| outputs.any(|output| output.id == *id));
        if id.is_none() {
            surface.send_close();
        }
        let new = surface.wl_surface().clone();
        let anchored = AnchoredSurface::new(surface, id, &namespace);
        self.stack.layer_surfaces.add(anchored);
        let count = amount(self.stack.count_layer_surfaces(&new));
        self.check_limit(&new, Limit::LayerSurfaces, count);
    }

    fn new_popup(&mut self, _parent: LayerSurface, popup: PopupSurface) {
        let positioner = popup.with_pending_state(|state| state.positioner);
        self.place_popup(&popup, positioner);
    }

    fn ack_configure(&mut self, surface: WlSurface, configure: LayerSurfaceConfigure) {
        if let Some(known) = self.stack.layer_surfaces.find_mut(&surface) {
            known
                .unacknowledged
                .take_if(|serial| configure.serial >= *serial);
            known.configure();
        }
    }

    fn layer_destroyed(&mut self, surface: LayerSurface) {
        self.remove_layer_surface(surface.wl_surface());
        self.role_destroyed(surface.wl_surface());
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
    }
}

impl State {
    /// Handles a commit of a layer surface: sends the initial configure event, checks that it was acknowledged, and arranges the
    /// surfaces of the output again if the place of the surface changed. It does nothing with other surfaces.
    pub(super) fn layer_surface_committed(&mut self, surface: &WlSurface) {
        let is_mapped = self.stack.has_content(surface);
        let Some(known) = self.stack.layer_surfaces.find_mut(surface) else {
            return;
        };
        let Some(output) = known.output else {
            return;
        };
        if is_mapped && !known.surface.ensure_configured() {
            // Smithay has posted the protocol error already.
            self.stack.remove_surface(surface);
            return;
        }
        let was_mapped = std::mem::replace(&mut known.is_mapped, is_mapped);
        let was_initialised = known.is_initialised;
        if was_mapped && !is_mapped {
            known.reset();
            self.stack.layer_surfaces.deactivate(surface);
            self.arrange_layer_surfaces(output);
            return;
        }
        known.is_initialised = true;
        let placement = Placement::new(&committed(surface));
        let before = std::mem::replace(&mut known.placement, placement);
        if before != placement || was_mapped != is_mapped || !was_initialised {
            self.arrange_layer_surfaces(output);
        }
        if is_mapped && !was_mapped && self.stack.is_focused_when_mapped(surface) {
            self.activate_layer_surface(Some(surface));
        }
    }

    /// Removes a layer surface, so that its exclusive zone is free. It does nothing with other surfaces.
    pub(super) fn remove_layer_surface(&mut self, surface: &WlSurface) {
        if let Some(output) = self.stack.layer_surfaces.remove(surface) {
            self.arrange_layer_surfaces(output);
        }
    }

    /// Makes a layer surface the one that the user used last, so that it gets keyboard focus if it wants it; `None` to give the
    /// focus back to a window.
    pub(crate) fn activate_layer_surface(&mut self, surface: Option<&WlSurface>) {
        self.stack.layer_surfaces.activate(surface);
        self.update_keyboard_focus();
    }

    /// Computes the rectangles of the layer surfaces of an output and its usable area, and configures those that changed.
    fn arrange_layer_surfaces(&mut self, id: OutputId) {
        let mut outputs = self.stack.outputs().iter();
        let Some(output) = outputs.find(|output| output.id == id).copied() else {
            return;
        };
        let is_other_area = self.stack.layer_surfaces.arrange(&output);
        for known in self.stack.layer_surfaces.iter_mut() {
            if known.output == Some(id) {
                known.configure();
            }
        }
        if is_other_area {
            self.configure_for_outputs();
        }
        self.outputs.schedule_redraw();
    }

    /// Arranges the layer surfaces of all outputs, and closes those of removed outputs.
    pub(crate) fn arrange_all_layer_surfaces(&mut self) {
        let ids: Vec<OutputId> = self
            .stack
            .outputs()
            .iter()
            .map(|output| output.id)
            .collect();
        for known in self.stack.layer_surfaces.iter_mut() {
            let removed = known.output.take_if(|output| !ids.contains(output));
            if removed.is_some() {
                known.is_mapped = false;
                known.surface.send_close();
            }
        }
        for id in ids {
            self.arrange_layer_surfaces(id);
        }
    }
}

// The requests of layer surfaces are validated in `checked` first.
delegate_global_dispatch!(State: [ZwlrLayerShellV1: WlrLayerShellGlobalData] => WlrLayerShellState);
