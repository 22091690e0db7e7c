//! The desktop shell: what the user does with windows by keys and by the pointer.

mod actions;
mod arrangement;
mod bindings;
mod chord;
mod placement;
mod popup_grab;
mod switcher;
mod terminal;
mod window_drag;

use std::collections::HashSet;

use smithay::input::keyboard::{FilterResult, Keycode, Keysym, ModifiersState};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::WmCapabilities;
use smithay::wayland::shell::xdg::PopupSurface;

pub(crate) use actions::Action;
pub(crate) use bindings::{Bindings, help};
pub(crate) use chord::{Chord, ChordError};
pub(crate) use window_drag::ResizeEdges;

use crate::state::State;
use chord::Modifiers;
use switcher::Switcher;
use window_drag::WindowDrag;

/// The state of the desktop shell.
#[derive(Debug, Default)]
pub struct Shell {
    /// Whether windows are centred and cannot be moved, and no key is bound apart from those that show another virtual console.
    is_kiosk: bool,
    /// Whether the session is locked, so that no key is bound apart from those that show another virtual console.
    is_locked: bool,
    /// The window that follows the pointer.
    drag: Option<WindowDrag>,
    /// The window switcher, while its modifier is pressed.
    switcher: Option<Switcher>,
    /// The modifiers of the key that was last bound to the switcher.
    switcher_modifiers: Modifiers,
    /// The key bindings.
    pub(crate) bindings: Bindings,
    /// The popups with a grab, of which each is the parent of the next one.
    popup_grabs: Vec<PopupSurface>,
    /// The pressed keys of bindings. Clients receive neither their press nor their release.
    bound_keys: HashSet<Keycode>,
    /// The pressed buttons of which no client is to receive the release.
    withheld_buttons: HashSet<u32>,
    /// The value of `WAYLAND_DISPLAY` for programs that the user starts.
    socket: Option<String>,
}

impl Shell {
    /// Returns whether a window follows the pointer.
    pub(crate) fn is_dragging(&self) -> bool {
        self.drag.is_some()
    }

    /// Sets whether the session is locked, and ends the window switcher.
    pub(crate) fn set_locked(&mut self, is_locked: bool) {
        self.is_locked = is_locked;
        self.switcher = None;
    }

    /// Withholds the release of a pressed button from clients.
    pub(crate) fn withhold(&mut self, button: u32) {
        self.withheld_buttons.insert(button);
    }

    /// Sets the value of `WAYLAND_DISPLAY` for programs that the user starts.
    pub fn set_socket(&mut self, socket: &str) {
        self.socket = Some(socket.to_owned());
    }

    /// Returns the value of `WAYLAND_DISPLAY` for programs that the user starts; `None` before there is a socket.
    pub(crate) fn socket(&self) -> Option<&str> {
        self.socket.as_deref()
    }

    /// Decides whether the client with keyboard focus receives a key event, or which action the key has. `symbol` is the key
    /// without modifiers, and `modified` with them. While bindings are inhibited, only those remain by which the user gets them back.
    pub(crate) fn filter_key(
        &mut self,
        (key, pressed): (Keycode, bool),
        modifiers: &ModifiersState,
        (symbol, modified): (Option<Keysym>, Keysym),
        is_inhibited: bool,
    ) -> FilterResult<Option<Action>> {
        if !self.switcher_modifiers.is_held(modifiers) {
            self.switcher = None;
        }
        if !pressed {
            return if self.bound_keys.remove(&key) {
                FilterResult::Intercept(None)
            } else {
                FilterResult::Forward
            };
        }
        let console = bindings::console(modified).map(Action::SwitchConsole);
        let bound = symbol
            .filter(|_| !self.is_kiosk && !self.is_locked)
            .and_then(|symbol| self.bindings.action(modifiers, symbol))
            .filter(|action| !is_inhibited || *action == Action::ToggleInhibitor);
        match console.or(bound) {
            Some(action) => {
                if matches!(action, Action::NextWindow | Action::PreviousWindow) {
                    self.switcher_modifiers = Modifiers::pressed(modifiers);
                }
                self.bound_keys.insert(key);
                FilterResult::Intercept(Some(action))
            }
            None => {
                // The release may have been lost while another session was active.
                self.bound_keys.remove(&key);
                FilterResult::Forward
            }
        }
    }
}

impl State {
    /// Centres all windows, and disables the key bindings and the moving of windows by the user.
    pub fn set_kiosk(&mut self) {
        self.shell.is_kiosk = true;
        let capabilities = [WmCapabilities::Fullscreen, WmCapabilities::Maximize];
        self.protocols.shell.replace_capabilities(capabilities);
    }
}
