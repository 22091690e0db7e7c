//! Frame callbacks: taken from the surfaces of a frame, sent when the next one could be drawn.

use calloop::timer::{TimeoutAction, Timer};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{SurfaceAttributes, with_states};

use crate::clock;
use crate::scene::SceneLayer;
use crate::state::State;

impl State {
    /// Takes the callbacks of surfaces that can be seen; the others wait until they can.
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
        // A surface without content cannot be seen, but a client may wait for its callback before it draws.
        for window in self.stack.windows() {
            let surface = window.toplevel.wl_surface();
            if !self.stack.is_shown(surface) {
                take(surface);
            }
        }
    }

    /// Sends the frame callbacks, or plans to when the output's period is over.
    pub(super) fn schedule_callbacks(&mut self) {
        if self.screen.callbacks.is_empty() || self.screen.callbacks_scheduled {
            return;
        }
        let now = clock::now();
        let period = self.screen.mode().period();
        let due = self.screen.callbacks_sent_at.saturating_add(period);
        // A display without a refresh of its own answers at once: clients that draw on callbacks must not spin with it.
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
