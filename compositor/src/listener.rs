//! Accepts clients on the listening socket.

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::TimeoutAction;
use calloop::{Interest, Mode, PostAction, RegistrationToken};
use smithay::reexports::wayland_server::ListeningSocket;

use crate::connection::too_many_are_closing;
use crate::descriptors;
use crate::event_loop::LoopHandle;
use crate::state::State;

/// How long no client is accepted after file descriptors were scarce.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts clients.
///
/// When the process has too few file descriptors, clients wait in the socket's backlog. Without the pause, the event loop would
/// wake up continuously and fail to accept them.
///
/// # Errors
///
/// When the socket cannot be added to the event loop.
pub fn accept_clients(handle: &LoopHandle, socket: ListeningSocket) -> anyhow::Result<()> {
    let token: Rc<Cell<Option<RegistrationToken>>> = Rc::default();
    let own_token = token.clone();
    let inserted = handle.insert_source(
        Generic::new(socket, Interest::READ, Mode::Level),
        move |_, socket, state| {
            if descriptors::is_full(&**socket) || too_many_are_closing() {
                tracing::warn!(
                    "new clients are not accepted now: the process has too few free file descriptors (raise ulimit -n), or too many files of clients do not close"
                );
                return Ok(pause(state, own_token.get()));
            }
            match socket.accept() {
                Ok(Some(stream)) => add_client_stream(state, stream),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    return Ok(pause(state, own_token.get()));
                }
            }
            Ok(PostAction::Continue)
        },
    );
    let registered = inserted.map_err(|error| {
        anyhow::anyhow!(
            "the Wayland socket cannot be added to the event loop: {}",
            error.error
        )
    })?;
    token.set(Some(registered));
    Ok(())
}

/// Adds a client. A failure affects only this client.
fn add_client_stream(state: &mut State, stream: UnixStream) {
    if let Err(error) = state.add_client(stream) {
        tracing::warn!(%error, "a client cannot be added");
    }
}

/// Stops accepting clients for a while.
fn pause(state: &State, listening: Option<RegistrationToken>) -> PostAction {
    let Some(listening) = listening else {
        return PostAction::Continue;
    };
    state.handle.add_timer(ACCEPT_PAUSE, move |state| {
        if let Err(error) = state.handle.enable(&listening) {
            state.fail(anyhow::anyhow!(
                "the Wayland socket cannot accept clients any more: {error}"
            ));
        }
        TimeoutAction::Drop
    });
    PostAction::Disable
}
