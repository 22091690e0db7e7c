//! Records key and button presses of the user, and the clients that received them.
//!
//! A client may set the selection or activate a window only with the serial of such an event. All clients' events share one
//! sequence of serials, so a client can guess the serials of another client's events. The client is therefore stored with each
//! serial.

use std::collections::VecDeque;

use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::Serial;

/// The maximum number of events that are stored. A client normally uses a serial before the user has caused 256 later events.
const EVENTS_MAX: usize = 256;

/// The last key and button events.
#[derive(Debug)]
pub struct UserActs<C = ClientId>(VecDeque<(Serial, C)>);

impl<C> Default for UserActs<C> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl UserActs {
    /// Records an event that a surface receives.
    pub fn record(&mut self, serial: Serial, surface: Option<&WlSurface>) {
        if let Some(client) = surface.and_then(Resource::client) {
            self.push(serial, client.id());
        }
    }
}

impl<C: PartialEq> UserActs<C> {
    /// Records the serial of an event; the oldest is forgotten if there are more than [`EVENTS_MAX`].
    fn push(&mut self, serial: Serial, client: C) {
        if self.0.len() >= EVENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((serial, client));
    }

    /// Returns whether this client received an event with this serial.
    pub fn contains(&self, serial: Serial, client: &C) -> bool {
        self.0
            .iter()
            .rev()
            .any(|(other, receiver)| u32::from(*other) == u32::from(serial) && receiver == client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_is_valid_for_its_receiver_until_many_later_events() {
        let mut acts = UserActs::default();
        acts.push(Serial::from(7), "terminal");
        assert!(acts.contains(Serial::from(7), &"terminal"));
        assert!(!acts.contains(Serial::from(7), &"other"));
        assert!(!acts.contains(Serial::from(8), &"terminal"));
        for serial in 0..EVENTS_MAX {
            let serial = u32::try_from(serial).unwrap() + 100;
            acts.push(Serial::from(serial), "other");
        }
        assert!(!acts.contains(Serial::from(7), &"terminal"));
    }
}
