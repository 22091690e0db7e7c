//! `linux-dmabuf` feedback: the formats and modifiers that the compositor supports, in its order of preference.

use covalent_protocols::feedback::Feedback;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, Proxy as _, QueueHandle};
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_feedback_v1::{
    Event as Sent, ZwpLinuxDmabufFeedbackV1,
};

use crate::compositor::{Compositor, Event, FeedbackOf, MissingGlobal, require_global};

/// The first version of linux-dmabuf with feedback.
const FEEDBACK_VERSION: u32 = 4;

/// A `zwp_linux_dmabuf_feedback_v1` object. The compositor sends new feedback through it until this value is dropped.
#[derive(Debug)]
pub struct Subscription(ZwpLinuxDmabufFeedbackV1);

impl Subscription {
    /// Requests the default feedback, which holds for every surface; it is stored in [`Compositor::feedback`].
    ///
    /// # Errors
    ///
    /// [`MissingGlobal`] when the compositor has no `linux-dmabuf` of version 4 or newer.
    pub fn any(
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
    ) -> Result<Self, MissingGlobal> {
        let dmabuf = require_global(compositor.globals.dmabuf.as_ref(), FEEDBACK_VERSION)?;
        Ok(Self(dmabuf.get_default_feedback(handle, FeedbackOf::Any)))
    }

    /// Requests the feedback of one surface; it is stored in [`Compositor::window_feedback`].
    ///
    /// # Errors
    ///
    /// [`MissingGlobal`] when the compositor has no `linux-dmabuf` of version 4 or newer.
    pub fn window(
        compositor: &Compositor,
        surface: &WlSurface,
        handle: &QueueHandle<Compositor>,
    ) -> Result<Self, MissingGlobal> {
        let dmabuf = require_global(compositor.globals.dmabuf.as_ref(), FEEDBACK_VERSION)?;
        Ok(Self(dmabuf.get_surface_feedback(
            surface,
            handle,
            FeedbackOf::Window,
        )))
    }
}

/// Requests the default feedback and the feedback of a surface. The returned list is empty if the compositor offers no feedback:
/// with linux-dmabuf version 3, and without linux-dmabuf.
#[must_use]
pub fn subscribe(
    compositor: &Compositor,
    surface: &WlSurface,
    handle: &QueueHandle<Compositor>,
) -> Vec<Subscription> {
    let dmabuf = compositor.globals.dmabuf.as_ref();
    if dmabuf.is_none_or(|dmabuf| dmabuf.version() < FEEDBACK_VERSION) {
        return Vec::new();
    }
    [
        Subscription::any(compositor, handle),
        Subscription::window(compositor, surface, handle),
    ]
    .into_iter()
    .filter_map(Result::ok)
    .collect()
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

impl Compositor {
    /// Returns the feedback to plan with: the window's feedback after it has arrived, and otherwise the default feedback.
    ///
    /// With linux-dmabuf version 3 the returned feedback has one tranche, with the formats that the compositor lists. Without
    /// linux-dmabuf it is `None`.
    #[must_use]
    pub fn current_feedback(&self) -> Option<&Feedback> {
        self.window_feedback.as_ref().or(self.feedback.as_ref())
    }

    /// Returns whether the feedback that [`subscribe`] requested has arrived.
    #[must_use]
    pub fn has_feedback_of(&self, subscriptions: &[Subscription]) -> bool {
        subscriptions.is_empty() || self.feedback.is_some() && self.window_feedback.is_some()
    }

    /// Converts the listed formats into feedback if the compositor has linux-dmabuf version 3, which has no feedback.
    pub(crate) fn use_listed_formats(&mut self) {
        let dmabuf = self.globals.dmabuf.as_ref();
        if dmabuf.is_some_and(|dmabuf| dmabuf.version() < FEEDBACK_VERSION) {
            self.feedback = self.listed_formats.feedback();
        }
    }
}

impl Dispatch<ZwpLinuxDmabufFeedbackV1, FeedbackOf> for Compositor {
    fn event(
        state: &mut Self,
        _: &ZwpLinuxDmabufFeedbackV1,
        event: Sent,
        of: &FeedbackOf,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let [any, window] = &mut state.collectors;
        let collector = match of {
            FeedbackOf::Any => any,
            FeedbackOf::Window => window,
        };
        match collector.event(event) {
            Ok(Some(feedback)) => match of {
                FeedbackOf::Any => state.feedback = Some(feedback),
                FeedbackOf::Window => {
                    state.window_feedback = Some(feedback);
                    state.push_event(Event::Feedback);
                }
            },
            Ok(None) => {}
            Err(error) => state.push_event(Event::InvalidData(format!(
                "linux-dmabuf feedback: {error}"
            ))),
        }
    }
}
