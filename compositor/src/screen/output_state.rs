//! Changes of the output: mode changes, session switches and hotplug.

use crate::backend::kms::HotplugOutcome;
use crate::render::Pixels as _;
use crate::scene::ShownScene;
use crate::state::State;

impl State {
    /// Changes the mode to the buffer size of a fullscreen window, if `--match-mode` is set.
    pub(super) fn match_mode(&mut self) {
        let wanted = self
            .stack
            .top()
            .filter(|window| window.fullscreen)
            .and_then(|window| {
                let surface = self.stack.find(window.toplevel.wl_surface())?;
                let content = surface.content()?;
                content.dmabuf()?;
                // The buffer size counts and not the surface size: a client may scale the surface because the buffer does not
                // fit.
                let (width, height) = content.size();
                Some((i32::try_from(width).ok()?, i32::try_from(height).ok()?))
            });
        match self.screen.backend.match_size(wanted) {
            Ok(true) => {
                self.mode_succeeded();
                self.output_changed();
            }
            Ok(false) => self.mode_succeeded(),
            Err(error) => self.mode_failed(&error),
        }
    }

    /// Announces a changed mode to clients, and damages the whole output.
    pub fn output_changed(&mut self) {
        self.screen.announce_mode();
        self.screen.shown_scene = ShownScene::default();
        self.screen.backend.swapchain().damage_all();
        self.screen.redraw_needed = true;
        self.configure_for_mode();
    }

    /// Pauses the output and the input devices while another program has the session.
    pub fn pause(&mut self) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.pause();
        }
        if let Some(devices) = &mut self.devices {
            devices.pause();
        }
    }

    /// Resumes the output and the input devices.
    pub fn resume(&mut self) {
        if let Some(devices) = &mut self.devices {
            devices.resume();
        }
        if let Some(kms) = self.screen.backend.kms() {
            kms.resume();
        }
        self.abandon_frame();
        self.output_changed();
    }

    /// Handles a hotplug event.
    pub fn hotplug(&mut self) {
        let outcome = match self.screen.backend.kms().map(|kms| kms.hotplug()) {
            None => return,
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                self.hotplug_failed(&error);
                return;
            }
        };
        self.hotplug_succeeded();
        match outcome {
            HotplugOutcome::Unchanged => {}
            HotplugOutcome::Disconnected => {
                self.abandon_frame();
                self.screen.release_scanout_buffers();
            }
            HotplugOutcome::Changed => {
                self.abandon_frame();
                self.output_changed();
            }
        }
    }

    /// Switches to another virtual terminal.
    pub fn switch_console(&mut self, number: i32) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.seat().switch_console(number);
        }
    }
}
