//! Decides which clients may use privileged protocols, which act on the windows, the data or the session of other clients.
//!
//! The filter of every privileged global is [`is_privileged`], so that one place decides for all of them.

use smithay::reexports::wayland_server::Client;

use crate::state::ClientState;

/// Returns whether a client sees the globals of privileged protocols. A client of a security context does not.
pub fn is_privileged(client: &Client) -> bool {
    client
        .get_data::<ClientState>()
        .is_some_and(|data| data.security_context.is_none())
}
