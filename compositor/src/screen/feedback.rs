//! Presentation feedback that a frame owes: whoever asked for it gets an answer, whatever becomes of the frame.

use smithay::wayland::presentation::PresentationFeedbackCallback;

/// The feedback objects of a frame; those that are left when it is dropped are told that the frame was discarded.
#[derive(Debug, Default)]
pub(super) struct Feedback(Vec<PresentationFeedbackCallback>);

impl Feedback {
    pub(super) fn new(callbacks: Vec<PresentationFeedbackCallback>) -> Self {
        Self(callbacks)
    }

    /// Takes the feedback objects, to be told when the frame was presented.
    pub(super) fn take(&mut self) -> Vec<PresentationFeedbackCallback> {
        std::mem::take(&mut self.0)
    }

    /// Tells them now that the frame was discarded.
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
