//! A window, opened with all that a plan of its buffers needs to know.

use crate::blame;
use crate::compositor::{Compositor, Event};
use crate::events::{ANSWER_DEADLINE, Events};
use crate::exit::{Exit, Failure};
use crate::feedback::Subscription;
use crate::window::Window;

/// Opens the window and waits until the compositor has said what it wants of it and of its buffers.
///
/// The subscriptions bring what it wants of buffers from now on, as long as they are kept: for any surface, and for this one.
///
/// # Errors
///
/// Where the compositor lacks a protocol, is gone, does not answer or sends what cannot be true.
pub fn open_window(
    events: &mut Events,
    compositor: &mut Compositor,
    title: &str,
    fullscreen: bool,
) -> Result<(Window, [Subscription; 2]), Failure> {
    let missing = |error| Failure::new(Exit::NoPlan, error);
    let handle = events.handle();
    let window = Window::new(compositor, &handle, title, fullscreen).map_err(missing)?;
    let any = Subscription::any(compositor, &handle).map_err(missing)?;
    let own = Subscription::window(compositor, window.surface(), &handle).map_err(missing)?;
    let mut nonsense = None;
    events
        .until(
            compositor,
            "configure the window and send its feedback",
            ANSWER_DEADLINE,
            |compositor| {
                nonsense = compositor
                    .take_events()
                    .into_iter()
                    .find_map(|event| match event {
                        Event::Nonsense(what) => Some(what),
                        _ => None,
                    });
                nonsense.is_some()
                    || compositor.configure.is_some()
                        && compositor.feedback.is_some()
                        && compositor.window_feedback.is_some()
            },
        )
        .map_err(blame::compositor)?;
    match nonsense {
        Some(what) => Err(blame::insane(events, &what)),
        None => Ok((window, [any, own])),
    }
}
