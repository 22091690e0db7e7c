//! The presentation feedback of a frame. Each feedback object receives `presented` or `discarded`.

use smithay::wayland::presentation::PresentationFeedbackCallback;

/// The feedback objects of a frame. Those that remain when it is dropped receive `discarded`.
#[derive(Debug, Default)]
pub(super) struct Feedback(Vec<PresentationFeedbackCallback>);

impl Feedback {
    pub(super) fn new(callbacks: Vec<PresentationFeedbackCallback>) -> Self {
        Self(callbacks)
    }

    /// Takes the feedback objects, to send `presented` to them.
    pub(super) fn take(&mut self) -> Vec<PresentationFeedbackCallback> {
        std::mem::take(&mut self.0)
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
