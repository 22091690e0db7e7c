//! Opens a window and waits for the data that planning its buffers needs: the size and the dma-buf feedback.

use crate::compositor::{Compositor, Event};
use crate::events::{ANSWER_DEADLINE, Events};
use crate::exit::{Exit, Failure};
use crate::exit_code;
use crate::feedback::Subscription;
use crate::window::Window;

/// Opens the window and waits until the compositor has configured it and has sent its dma-buf feedback.
///
/// The subscriptions are the default feedback and the surface's own; they receive new feedback until they are dropped.
///
/// # Errors
///
/// The compositor lacks a protocol, closed the connection, does not answer, or sent protocol data that is not valid.
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
    let mut invalid = None;
    events
        .dispatch_until(
            compositor,
            "configure the window and send its feedback",
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
                    || compositor.configure.is_some()
                        && compositor.feedback.is_some()
                        && compositor.window_feedback.is_some()
            },
        )
        .map_err(exit_code::compositor_failure)?;
    match invalid {
        Some(what) => Err(exit_code::invalid_protocol_data(events, &what)),
        None => Ok((window, [any, own])),
    }
}
