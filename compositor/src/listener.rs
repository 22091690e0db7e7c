//! The socket that clients connect to.

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use smithay::reexports::wayland_server::ListeningSocket;

use crate::limits;
use crate::state::State;

/// How long nobody is taken when there are no descriptors for one client more.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes clients as they come.
///
/// When the process has hardly any descriptors left, clients wait in the socket's queue until some are free. Without the
/// pause the event loop would do nothing but fail to take them.
///
/// # Errors
///
/// When the event loop takes no more sources.
pub fn accept_clients(
    handle: &LoopHandle<'static, State>,
    socket: ListeningSocket,
) -> anyhow::Result<()> {
    let token: Rc<Cell<Option<RegistrationToken>>> = Rc::default();
    let own = token.clone();
    let inserted = handle.insert_source(
        Generic::new(socket, Interest::READ, Mode::Level),
        move |_, socket, state| {
            if limits::is_full(&**socket) {
                tracing::warn!("clients wait: the process has no descriptors left for them");
                return Ok(pause(state, own.get()));
            }
            match socket.accept() {
                Ok(Some(stream)) => take(state, stream),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a client could not connect");
                    return Ok(pause(state, own.get()));
                }
            }
            Ok(PostAction::Continue)
        },
    );
    let registered = inserted
        .map_err(|error| anyhow::anyhow!("the socket cannot be watched: {}", error.error))?;
    token.set(Some(registered));
    Ok(())
}

/// Takes one client. One too many, or one that left again, is no reason to end.
fn take(state: &mut State, stream: UnixStream) {
    if let Err(error) = state.add_client(stream) {
        tracing::warn!(%error, "a client could not be taken");
    }
}

/// Takes nobody for a while.
fn pause(state: &State, listening: Option<RegistrationToken>) -> PostAction {
    let Some(listening) = listening else {
        return PostAction::Continue;
    };
    let timer = Timer::from_duration(PAUSE);
    let resumed = state.handle.insert_source(timer, move |_, (), state| {
        if let Err(error) = state.handle.enable(&listening) {
            state.fail(anyhow::anyhow!("no clients can be taken any more: {error}"));
        }
        TimeoutAction::Drop
    });
    match resumed {
        Ok(_) => PostAction::Disable,
        Err(_) => PostAction::Continue,
    }
}
