//! Opens a window and waits for its size and its dma-buf feedback, which the planning of its buffers needs.

use crate::compositor::{Compositor, Event};
use crate::events::{ANSWER_DEADLINE, Events};
use crate::exit::{Exit, Failure};
use crate::exit_code;
use crate::feedback::{Subscription, subscribe};
use crate::window::Window;

/// Opens the window and waits until the compositor has configured it and, if it supports feedback, has sent the dma-buf feedback.
///
/// The subscriptions receive new feedback until they are dropped.
///
/// # Errors
///
/// The compositor lacks a protocol, closed the connection, does not answer, or sent protocol data that is not valid.
pub fn open_window(
    events: &mut Events,
    compositor: &mut Compositor,
    title: &str,
    fullscreen: bool,
) -> Result<(Window, Vec<Subscription>), Failure> {
    let missing = |error| Failure::new(Exit::NoPlan, error);
    let handle = events.handle();
    let window = Window::new(compositor, &handle, title, fullscreen).map_err(missing)?;
    let subscriptions = subscribe(compositor, window.surface(), &handle);
    let mut invalid = None;
    events
        .dispatch_until(
            compositor,
            "configure the window and send its dma-buf feedback",
            ANSWER_DEADLINE,
            |compositor| {
                invalid = compositor
                    .take_events()
                    .into_iter()
                    .find_map(|event| match event {
                        Event::InvalidData(what) => Some(what),
                        _ => None,
                    });
                invalid.is_some()
                    || compositor.configure.is_some() && compositor.has_feedback_of(&subscriptions)
            },
        )
        .map_err(exit_code::compositor_failure)?;
    match invalid {
        Some(what) => Err(exit_code::invalid_protocol_data(events, &what)),
        None => Ok((window, subscriptions)),
    }
}
