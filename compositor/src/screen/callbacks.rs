//! Sends frame callbacks.
//!
//! A visible surface receives its callbacks when a frame with its commit was submitted, or when the frame was skipped because
//! nothing had changed. An output draws one frame for each refresh, so a surface receives callbacks at most once in a refresh
//! period. A surface that no output shows receives callbacks at most once in [`HIDDEN_PERIOD`].

use std::collections::HashMap;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{SurfaceAttributes, with_states};

use crate::clock;
use crate::connection::expect_events;
use crate::event_loop::TimerToken;
use crate::output_view::OutputId;
use crate::scene::SceneLayer;
use crate::state::State;

/// The time between the callbacks of a surface that is hidden or unmapped, or whose output is off.
///
/// Hidden surfaces receive callbacks at all because some clients block on a callback in their main loop. Such a client would not
/// handle input or a ping without the callback.
const HIDDEN_PERIOD: Duration = Duration::from_secs(1);

/// The surfaces with frame callbacks that are not sent yet.
#[derive(Debug, Default)]
pub struct PendingCallbacks {
    /// The surfaces, each with the time of its last commit that has frame callbacks.
    surfaces: HashMap<ObjectId, (WlSurface, Duration)>,
    /// The timer for the next callback of a hidden surface.
    timer: Option<TimerToken>,
}

impl PendingCallbacks {
    /// Adds a surface after a commit that has frame callbacks.
    pub fn add(&mut self, surface: &WlSurface) {
        self.surfaces
            .insert(surface.id(), (surface.clone(), clock::now()));
    }

    /// Removes a destroyed surface.
    pub fn remove(&mut self, surface: &WlSurface) {
        self.surfaces.remove(&surface.id());
    }
}

impl State {
    /// Sends the callbacks of the surfaces in a frame that was submitted, or was skipped because nothing had changed.
    ///
    /// A surface on several outputs receives callbacks for the frames of its main output, which shows the largest part of it.
    pub(super) fn send_callbacks(&mut self, id: OutputId, visible: &[SceneLayer]) {
        let now = clock::now();
        let cursor = self.cursor.surface().cloned();
        let surfaces = visible.iter().map(|layer| &layer.surface).chain(&cursor);
        for surface in surfaces {
            if !self.is_main(id, surface) {
                continue;
            }
            if self.callbacks.surfaces.remove(&surface.id()).is_some() {
                self.send_surface_callbacks(surface, now);
            }
        }
    }

    /// Sends all pending frame callbacks of a surface.
    fn send_surface_callbacks(&mut self, surface: &WlSurface, now: Duration) {
        let callbacks = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            std::mem::take(&mut attributes.current().frame_callbacks)
        });
        if let Some(client) = surface.client() {
            expect_events(&client);
        }
        for callback in callbacks {
            callback.done(clock::milliseconds(now));
        }
        self.stack.surface(surface).set_callback_time(now);
    }

    /// Sends the callbacks that are due for surfaces that no output shows, and starts a timer for later callbacks.
    pub(crate) fn send_hidden_callbacks(&mut self) {
        if self.callbacks.surfaces.is_empty() {
            return;
        }
        let now = clock::now();
        let mut next: Option<Duration> = None;
        let mut due = Vec::new();
        for (surface, committed) in self.callbacks.surfaces.values() {
            if !self.is_hidden(surface, *committed) {
                continue;
            }
            let sent = self
                .stack
                .find(surface)
                .and_then(|state| state.callback_time());
            let time = sent.map_or(now, |sent| sent.saturating_add(HIDDEN_PERIOD));
            if time <= now {
                due.push(surface.clone());
            } else {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        }
        for surface in due {
            self.callbacks.remove(&surface);
            self.send_surface_callbacks(&surface, now);
        }
        let (Some(next), None) = (next, self.callbacks.timer) else {
            return;
        };
        let timer = self.handle.add_timer(next.saturating_sub(now), |state| {
            // The callbacks are sent at the end of this event-loop iteration, by `send_hidden_callbacks`.
            state.callbacks.timer = None;
            TimeoutAction::Drop
        });
        self.callbacks.timer = Some(timer);
    }

    /// Returns whether a surface with a commit at the time `committed` is hidden: no output that is on is its main output, and
    /// no output that is on still has to draw a frame after this commit, because that frame may show the surface.
    fn is_hidden(&self, surface: &WlSurface, committed: Duration) -> bool {
        let main = self
            .stack
            .find(surface)
            .and_then(|state| state.main_output());
        let mut outputs = self.outputs.iter().filter(|screen| screen.is_on());
        outputs.all(|screen| {
            let has_drawn = screen.drawn_at >= committed || !screen.redraw_state.needs_redraw();
            has_drawn && main != Some(screen.id)
        })
    }
}
