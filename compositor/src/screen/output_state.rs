//! What becomes of the display while frames go to it: another mode, another console, a plug.

use crate::backend::kms::HotplugOutcome;
use crate::render::Pixels as _;
use crate::scene::Shown;
use crate::state::State;

impl State {
    /// Makes the mode that of a fullscreen window's buffer, where that was asked for.
    pub(super) fn match_mode(&mut self) {
        let wanted = self
            .stack
            .top()
            .filter(|window| window.fullscreen)
            .and_then(|window| {
                let surface = self.stack.find(window.toplevel.wl_surface())?;
                let content = surface.content()?;
                content.dmabuf()?;
                // The buffer's own size: a surface may be scaled to the mode because it does not fit.
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

    /// Tells clients that the output has another mode, and draws everything anew.
    pub fn output_changed(&mut self) {
        self.screen.announce_mode();
        self.screen.shown = Shown::default();
        self.screen.backend.swapchain().damage_all();
        self.screen.redraw_needed = true;
        self.mode_changed();
    }

    /// Stops showing frames while another program drives the display.
    pub fn pause(&mut self) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.pause();
        }
        if let Some(devices) = &mut self.devices {
            devices.pause();
        }
    }

    /// Shows frames again.
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

    /// Takes in that displays were plugged or unplugged.
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

    /// Switches to another console.
    pub fn switch_console(&mut self, number: i32) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.seat().switch_console(number);
        }
    }
}
