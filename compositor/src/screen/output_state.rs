//! Handles mode changes, session switches and hotplug of outputs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use covalent_alloc::text::printable_path;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;

use super::Screen;
use crate::backend::Backend;
use crate::backend::kms::{HotplugOutcome, OpenCard};
use crate::kms::UsedObjects;
use crate::options::{OutputConfig, RendererKind};
use crate::output_view::OutputId;
use crate::outputs::SharedRenderer;
use crate::render::gles::OpenError;
use crate::render::{Pixels as _, Renderer};
use crate::scene::ShownScene;
use crate::state::State;

/// How long the global of a removed output can still be bound. A client may send the bind request before it receives
/// `wl_registry.global_remove`.
const GLOBAL_GRACE: Duration = Duration::from_secs(10);

impl Screen {
    /// Damages the whole output, so that the next frame is submitted even if it shows nothing else than the last one.
    pub(crate) fn damage_scene(&mut self) {
        self.shown_scene = ShownScene::default();
        self.backend.swapchain().damage_all();
    }

    /// Returns whether no frame with a window is on the display or on the way there.
    pub(crate) fn shows_locked_frame(&self) -> bool {
        let flight = self.redraw_state.flight();
        let in_flight = flight.and_then(|flight| flight.frame.as_ref());
        let mut others = in_flight.into_iter().chain(&self.abandoned_frames);
        let shown = self.on_display.as_ref();
        shown.is_some_and(|frame| frame.is_locked) && others.all(|frame| frame.is_locked)
    }
}

impl State {
    /// Adds an output.
    pub fn add_output(
        &mut self,
        backend: Backend,
        renderer: SharedRenderer,
        config: OutputConfig,
    ) -> OutputId {
        let id = self.outputs.add(&self.display, backend, renderer, config);
        self.layout_changed();
        id
    }

    /// Returns the renderer for an output of `backend`. All outputs of a card share one renderer.
    ///
    /// # Errors
    ///
    /// When the GPU was requested and cannot be used.
    pub fn renderer_for(
        &self,
        kind: RendererKind,
        backend: &Backend,
    ) -> Result<SharedRenderer, OpenError> {
        let mut screens = self.outputs.iter();
        let same = screens.find(|screen| screen.backend.device() == backend.device());
        match same {
            Some(screen) => Ok(screen.renderer.clone()),
            None => Ok(Rc::new(RefCell::new(Renderer::open(
                kind,
                backend.device(),
            )?))),
        }
    }

    /// Removes an output from the desktop. Its windows move to another output until this output is added again.
    pub fn remove_output(&mut self, id: OutputId) {
        self.abandon_frame(id);
        if let Some(screen) = self.outputs.get_mut(id) {
            screen.leave_all(&self.handle);
        }
        let global = self.outputs.remove(id);
        self.stack.forget_output(id);
        if let Some(global) = global {
            self.remove_global(global);
        }
        self.layout_changed();
    }

    /// Withdraws the global of an output, and destroys it after [`GLOBAL_GRACE`].
    fn remove_global(&mut self, global: GlobalId) {
        self.display.disable_global::<Self>(global.clone());
        self.handle.add_timer(GLOBAL_GRACE, move |state| {
            state.display.remove_global::<Self>(global.clone());
            TimeoutAction::Drop
        });
    }

    /// Computes the positions of outputs and windows again, after an output was added, removed or resized.
    pub fn layout_changed(&mut self) {
        self.outputs.arrange();
        let before = self.stack.set_outputs(self.outputs.views());
        for screen in self.outputs.iter_mut() {
            if before.contains(&screen.view()) {
                continue;
            }
            screen.announce();
            screen.damage_scene();
        }
        self.outputs.schedule_redraw();
        self.arrange_all_layer_surfaces();
        self.configure_lock_surfaces();
        self.check_captures();
        self.configure_for_outputs();
        let pointer = self.outputs.clamp(self.pointer.current_location());
        if pointer != self.pointer.current_location() {
            self.point_at_now(pointer);
        }
    }

    /// Changes the mode to the buffer size of the fullscreen window, if `--match-mode` is set.
    pub(super) fn match_mode(&mut self, id: OutputId) {
        let fullscreen_size = self
            .stack
            .top_of(id)
            .filter(|window| window.fullscreen && !self.stack.session_lock.is_locked())
            .and_then(|window| {
                let surface = self.stack.find(window.toplevel.wl_surface())?;
                let content = surface.content()?;
                content.dmabuf()?;
                // The size of the source rectangle in the buffer is used and not that of the surface. If it does not fit the
                // mode, the client may scale the surface.
                if let Some(source) = surface.view((0, 0)).source_pixels() {
                    return Some((source.width, source.height));
                }
                let (width, height) = content.size();
                Some((i32::try_from(width).ok()?, i32::try_from(height).ok()?))
            });
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        // Without this check, each frame would allocate output buffers for the mode and fail again.
        if screen.recovery.is_size_rejected(fullscreen_size) {
            return;
        }
        match screen.backend.match_size(fullscreen_size) {
            Ok(changed) => {
                screen.recovery.reset_mode_failures();
                if changed {
                    self.output_changed(id);
                }
            }
            Err(error) => self.mode_failed(id, fullscreen_size, &error),
        }
    }

    /// Announces a changed mode to clients, and damages the whole output.
    fn output_changed(&mut self, id: OutputId) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        screen.announce();
        screen.damage_scene();
        screen.frame_clock.reset();
        screen.recovery.reset_mode_failures();
        screen.redraw_state.queue();
        self.layout_changed();
    }

    /// Pauses the outputs and the input devices, because another session becomes active.
    pub fn pause(&mut self) {
        for screen in self.outputs.iter_mut() {
            if let Some(kms) = screen.backend.kms() {
                kms.pause();
            }
        }
        self.check_captures();
        if let Some(devices) = &mut self.devices {
            devices.pause();
        }
    }

    /// Resumes the outputs and the input devices, because this session is active again, and adds the displays that were connected
    /// meanwhile.
    pub fn resume(&mut self) {
        if let Some(devices) = &mut self.devices {
            devices.resume();
        }
        for id in self.outputs.ids() {
            self.pending_flips(id);
            if let Some(kms) = self
                .outputs
                .get_mut(id)
                .and_then(|screen| screen.backend.kms())
            {
                kms.resume();
            }
            self.abandon_frame(id);
            self.output_changed(id);
        }
        // The kernel probes connectors only for the DRM master. So the modes of a display that was connected meanwhile were not
        // known when its hotplug event was handled.
        let devices: Vec<u64> = self.outputs.cards.iter().map(OpenCard::device).collect();
        for device in devices {
            self.hotplug(device);
        }
    }

    /// Handles a hotplug event of a card: probes its outputs, and adds an output for each new display.
    pub fn hotplug(&mut self, device: u64) {
        let cards = self.outputs.cards.iter();
        let Some(card) = cards.clone().find(|card| card.device() == device).cloned() else {
            return;
        };
        for id in self.outputs_of(device) {
            self.probe_output(id);
        }
        if let Err(error) = self.open_new_displays(&card) {
            tracing::info!(%error, "no display was added");
        }
    }

    /// Returns the outputs of a card.
    fn outputs_of(&mut self, device: u64) -> Vec<OutputId> {
        let of_card = |screen: &mut Screen| {
            let kms = screen.backend.kms()?;
            (kms.device() == device).then_some(screen.id)
        };
        self.outputs.iter_mut().filter_map(of_card).collect()
    }

    /// Adds an output for each connected display of a card that has no output yet.
    fn open_new_displays(&mut self, card: &OpenCard) -> Result<(), anyhow::Error> {
        // The files of --writeback hold the frames of one display, which was opened at the start.
        if self.outputs.options.writeback.is_some() {
            return Ok(());
        }
        let connector_names: Vec<String> = self
            .outputs
            .iter()
            .filter(|screen| screen.backend.device() == Some(card.path()))
            .map(|screen| screen.backend.name().to_owned())
            .collect();
        let options = self.outputs.options.clone();
        let mut used = UsedObjects::default();
        for screen in self.outputs.iter_mut() {
            let kms = screen.backend.kms();
            if let Some(kms) = kms.filter(|kms| kms.device() == card.device()) {
                kms.add_used_objects(&mut used);
            }
        }
        let mut displays = Vec::new();
        let is_new = |name: &str| !connector_names.iter().any(|known| known == name);
        let opened = card.open_displays(&mut displays, &options, used, is_new);
        for kms in displays {
            let backend = Backend::Kms(Box::new(kms));
            let renderer = self.renderer_for(options.renderer, &backend)?;
            let config = options.config_of(backend.name(), &backend.monitor());
            self.add_output(backend, renderer, config);
        }
        Ok(opened?)
    }

    /// Removes the outputs of a card that was removed. Ends the compositor if no output is left.
    pub fn card_removed(&mut self, device: u64) {
        let removed = self.outputs_of(device);
        let mut cards = self.outputs.cards.iter();
        let card = cards.find(|card| card.device() == device);
        let path = card.map_or_else(String::new, |card| {
            format!(" {}", printable_path(card.path()))
        });
        self.outputs.cards.retain(|card| card.device() != device);
        // The event loop has a file descriptor of the card, with which the kernel could not free the card.
        if let Some(watch) = self.outputs.card_watches.remove(&device) {
            self.handle.unwatch(watch);
        }
        if removed.len() == self.outputs.ids().len() {
            self.fail(anyhow::anyhow!(
                "the card{path} was removed, and no other card drives a display; connect a card and start the compositor again"
            ));
            return;
        }
        for id in removed {
            self.remove_output(id);
        }
    }

    /// Probes the connector of an output.
    pub(super) fn probe_output(&mut self, id: OutputId) {
        // The event of a page flip that has already happened must not count for a later frame, so pending events are read first.
        self.pending_flips(id);
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let outcome = match screen.backend.kms().map(|kms| kms.hotplug()) {
            None => return,
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                self.hotplug_failed(id, &error);
                return;
            }
        };
        screen.recovery.hotplug_succeeded();
        match outcome {
            HotplugOutcome::Unchanged => {}
            HotplugOutcome::Disconnected => {
                self.pending_flips(id);
                self.abandon_frame(id);
                if let Some(screen) = self.outputs.get_mut(id) {
                    screen.release_scanout_buffers();
                }
                self.display_disconnected(id);
            }
            HotplugOutcome::Changed => {
                self.abandon_frame(id);
                if let Some(screen) = self.outputs.get_mut(id) {
                    screen.publish(&self.display);
                }
                self.output_changed(id);
                // Another output may have kept its `wl_output` global although it has no display. The global is removed now.
                for other in self.outputs.ids() {
                    let screen = self.outputs.get(other);
                    if screen.is_some_and(|screen| !screen.is_connected()) {
                        self.display_disconnected(other);
                    }
                }
            }
        }
    }

    /// Removes the `wl_output` global of an output without a display, so that its windows move to other outputs. If no display is
    /// connected, the global is kept, because clients expect at least one output.
    fn display_disconnected(&mut self, id: OutputId) {
        if !self.outputs.iter().any(Screen::is_connected) {
            return;
        }
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let Some(global) = screen.withdraw() else {
            return;
        };
        screen.leave_all(&self.handle);
        self.stack.forget_output(id);
        self.remove_global(global);
        self.layout_changed();
    }

    /// Switches to another virtual terminal.
    pub fn switch_console(&mut self, number: i32) {
        let mut screens = self.outputs.iter_mut();
        if let Some(kms) = screens.find_map(|screen| screen.backend.kms()) {
            kms.seat().switch_console(number);
        }
    }

    /// Returns the output of a client's `wl_output`; `None` if it was removed.
    pub fn find_output(&self, output: &WlOutput) -> Option<OutputId> {
        let screen = self
            .outputs
            .iter()
            .find(|screen| screen.output.owns(output));
        screen.map(|screen| screen.id)
    }
}
