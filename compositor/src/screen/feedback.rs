//! The presentation feedback of a frame. Each feedback object is sent `presented` or `discarded`.

use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::with_states;
use smithay::wayland::presentation::{
    PresentationFeedbackCachedState, PresentationFeedbackCallback,
};

use crate::connection::expect_events;

/// The feedback objects of a frame. When it is dropped, the remaining objects are sent `discarded`.
#[derive(Debug, Default)]
pub(super) struct Feedback {
    callbacks: Vec<PresentationFeedbackCallback>,
    clients: Vec<Client>,
}

impl Feedback {
    /// Takes the feedback objects of the current commit of a surface.
    pub(super) fn add(&mut self, surface: &WlSurface) {
        let callbacks = with_states(surface, |states| {
            let mut state = states.cached_state.get::<PresentationFeedbackCachedState>();
            std::mem::take(&mut state.current().callbacks)
        });
        if !callbacks.is_empty() {
            self.callbacks.extend(callbacks);
            self.clients.extend(surface.client());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.callbacks.is_empty()
    }

    /// Takes the feedback objects, so that the caller can send `presented` to them.
    pub(super) fn take(&mut self) -> Vec<PresentationFeedbackCallback> {
        for client in self.clients.drain(..) {
            expect_events(&client);
        }
        std::mem::take(&mut self.callbacks)
    }

    /// Sends `discarded` to all feedback objects.
    pub(super) fn discard(&mut self) {
        for callback in self.take() {
            callback.discarded();
        }
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.discard();
    }
}
