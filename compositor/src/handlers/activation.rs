//! `xdg_activation_v1`: a client requests that a window of its own or of another client is raised and gets the keyboard focus.
//!
//! A token is valid if it was made with the serial of a key press or button press that its client received. It activates one
//! window once, and expires.

use std::time::Duration;

use smithay::delegate_xdg_activation;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::xdg_activation::{
    XdgActivationHandler, XdgActivationState, XdgActivationToken, XdgActivationTokenData,
};

use super::root_of;
use crate::state::State;

/// The time after which a token expires. It is long enough for a program to start.
const LIFETIME: Duration = Duration::from_secs(60);
/// The maximum number of valid tokens. When it is exceeded, the oldest token expires. Each token needs a key or button press of
/// the user.
const TOKENS_MAX: usize = 64;

impl XdgActivationHandler for State {
    fn activation_state(&mut self) -> &mut XdgActivationState {
        &mut self.protocols.activation
    }

    fn token_created(&mut self, _token: XdgActivationToken, data: XdgActivationTokenData) -> bool {
        let is_valid = data
            .serial
            .zip(data.client_id)
            .is_some_and(|((serial, _), client)| self.user_acts.contains(serial, &client));
        if is_valid {
            self.remove_old_tokens();
        }
        is_valid
    }

    fn request_activation(
        &mut self,
        token: XdgActivationToken,
        data: XdgActivationTokenData,
        surface: WlSurface,
    ) {
        self.protocols.activation.remove_token(&token);
        if data.timestamp.elapsed() > LIFETIME {
            return;
        }
        let (root, _) = root_of(&surface);
        if let Some(window) = self.stack.window(&root).cloned() {
            if self.stack.has_content(&root) {
                self.activate(&window.toplevel);
            }
        }
    }
}

impl State {
    /// Removes expired tokens, and the oldest ones if there are too many.
    fn remove_old_tokens(&mut self) {
        let activation = &mut self.protocols.activation;
        activation.retain_tokens(|_, data| data.timestamp.elapsed() <= LIFETIME);
        // The new token is added after this loop.
        while activation.tokens().count() >= TOKENS_MAX {
            let oldest = activation
                .tokens()
                .min_by_key(|(_, data)| data.timestamp)
                .map(|(token, _)| token.clone());
            match oldest {
                Some(token) => activation.remove_token(&token),
                None => break,
            };
        }
    }
}

delegate_xdg_activation!(State);
