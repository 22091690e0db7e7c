//! Frame callbacks: collected from the surfaces of a frame, and sent when the next frame can be drawn.

use calloop::timer::{TimeoutAction, Timer};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{SurfaceAttributes, with_states};

use crate::clock;
use crate::scene::SceneLayer;
use crate::state::State;

impl State {
    /// Collects the callbacks of visible surfaces. The callbacks of hidden surfaces stay pending until the surfaces are visible.
    pub(super) fn collect_callbacks(&mut self, visible: &[SceneLayer]) {
        let callbacks = &mut self.screen.callbacks;
        let mut take = |surface: &WlSurface| {
            with_states(surface, |states| {
                let mut attributes = states.cached_state.get::<SurfaceAttributes>();
                callbacks.append(&mut attributes.current().frame_callbacks);
            });
        };
        for layer in visible {
            take(&layer.surface);
        }
        // A window without content is not visible, but its client may wait for a callback before it draws.
        for window in self.stack.windows() {
            let surface = window.toplevel.wl_surface();
            if !self.stack.has_content(surface) {
                take(surface);
            }
        }
    }

    /// Sends the frame callbacks, or schedules them for the end of the refresh period.
    pub(super) fn schedule_callbacks(&mut self) {
        if self.screen.callbacks.is_empty() || self.screen.callbacks_scheduled {
            return;
        }
        let now = clock::now();
        let period = self.screen.mode().period();
        let due = self.screen.callbacks_sent_at.saturating_add(period);
        // A display without vblanks reports a flip at once. Clients that draw on callbacks must not run faster than the refresh
        // rate.
        let wait = due.saturating_sub(now);
        if wait <= period / 5 {
            self.send_callbacks();
            return;
        }
        let timer = Timer::from_duration(wait);
        let scheduled = self.handle.insert_source(timer, |_, _, state: &mut Self| {
            state.screen.callbacks_scheduled = false;
            state.send_callbacks();
            TimeoutAction::Drop
        });
        match scheduled {
            Ok(_) => self.screen.callbacks_scheduled = true,
            Err(_) => self.send_callbacks(),
        }
    }

    fn send_callbacks(&mut self) {
        let now = clock::now();
        self.screen.callbacks_sent_at = now;
        for callback in self.screen.callbacks.drain(..) {
            callback.done(clock::milliseconds(now));
        }
    }
}
