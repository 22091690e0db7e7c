//! The key bindings.

use std::fmt::Write as _;

use smithay::input::keyboard::{Keysym, ModifiersState};

use super::actions::Action;
use super::chord::{Chord, Modifiers};
use crate::window::Arrangement;

const SUPER: Modifiers = Modifiers {
    logo: true,
    alt: false,
    shift: false,
    ctrl: false,
};
const SUPER_SHIFT: Modifiers = Modifiers {
    shift: true,
    ..SUPER
};
const ALT: Modifiers = Modifiers {
    logo: false,
    alt: true,
    shift: false,
    ctrl: false,
};
const ALT_SHIFT: Modifiers = Modifiers { shift: true, ..ALT };

/// A row of the table.
#[derive(Debug)]
struct Binding {
    chord: Chord,
    action: Action,
    /// The keys as the help text writes them.
    keys: &'static str,
    /// What the action does, for the help text.
    effect: &'static str,
}

const fn binding(
    modifiers: Modifiers,
    key: Keysym,
    action: Action,
    keys: &'static str,
    effect: &'static str,
) -> Binding {
    Binding {
        chord: Chord { modifiers, key },
        action,
        keys,
        effect,
    }
}

/// The bindings without a configuration. The help text, `compositor/README.md` and `compositor/compositor.toml` have the same
/// rows.
static BINDINGS: [Binding; 12] = [
    binding(
        SUPER,
        Keysym::Return,
        Action::StartTerminal,
        "Super+Return",
        "start a terminal: the configured one, $TERMINAL, foot or weston-terminal",
    ),
    binding(
        SUPER,
        Keysym::q,
        Action::Close,
        "Super+Q",
        "close the window",
    ),
    binding(
        SUPER_SHIFT,
        Keysym::e,
        Action::Quit,
        "Super+Shift+E",
        "end the compositor",
    ),
    binding(
        SUPER,
        Keysym::f,
        Action::ToggleFullscreen,
        "Super+F",
        "make the window fullscreen, or give it its size back",
    ),
    binding(
        SUPER,
        Keysym::Up,
        Action::Toggle(Arrangement::Maximized),
        "Super+Up",
        "maximise the window, or give it its size back",
    ),
    binding(
        SUPER,
        Keysym::Down,
        Action::Minimize,
        "Super+Down",
        "minimise the window; Alt+Tab shows it again",
    ),
    binding(
        SUPER,
        Keysym::Left,
        Action::Toggle(Arrangement::LeftHalf),
        "Super+Left",
        "fill the left half of the output, or give the window its size back",
    ),
    binding(
        SUPER,
        Keysym::Right,
        Action::Toggle(Arrangement::RightHalf),
        "Super+Right",
        "fill the right half of the output, or give the window its size back",
    ),
    binding(
        SUPER,
        Keysym::o,
        Action::NextOutput,
        "Super+O",
        "move the window to the next output",
    ),
    binding(
        ALT,
        Keysym::Tab,
        Action::NextWindow,
        "Alt+Tab",
        "focus the window that was used before; each Tab goes one further while Alt is pressed",
    ),
    binding(
        ALT_SHIFT,
        Keysym::Tab,
        Action::PreviousWindow,
        "Alt+Shift+Tab",
        "the same in the other direction",
    ),
    binding(
        SUPER,
        Keysym::Escape,
        Action::ToggleInhibitor,
        "Super+Escape",
        "take these keys back from a window that gets them itself, or give them to it again",
    ),
];

/// What the pointer does, for the help text.
const POINTER: [(&str, &str); 2] = [
    ("Super+left button", "move the window with the pointer"),
    (
        "Super+right button",
        "resize the window with the pointer, at the nearest corner",
    ),
];

/// The bindings of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bindings(Vec<(Chord, Action)>);

impl Default for Bindings {
    fn default() -> Self {
        let rows = BINDINGS.iter();
        Self(rows.map(|row| (row.chord, row.action.clone())).collect())
    }
}

impl Bindings {
    /// Binds keys to an action instead of the one that they had, or to nothing.
    pub(crate) fn set(&mut self, chord: Chord, action: Option<Action>) {
        let index = self.0.iter().position(|(known, _)| *known == chord);
        match (index, action) {
            (Some(index), Some(action)) => {
                if let Some(binding) = self.0.get_mut(index) {
                    binding.1 = action;
                }
            }
            (Some(index), None) => drop(self.0.remove(index)),
            (None, Some(action)) => self.0.push((chord, action)),
            (None, None) => {}
        }
    }

    /// Returns the action of a key with these modifiers.
    pub(super) fn action(&self, modifiers: &ModifiersState, key: Keysym) -> Option<Action> {
        let pressed = Chord::pressed(modifiers, key);
        let mut bindings = self.0.iter();
        let found = bindings.find(|(chord, _)| *chord == pressed);
        found.map(|(_, action)| action.clone())
    }
}

/// Returns the number of the virtual console to which a key switches.
pub(super) fn console(key: Keysym) -> Option<i32> {
    let first = Keysym::XF86_Switch_VT_1.raw();
    let last = Keysym::XF86_Switch_VT_12.raw();
    let number = (first..=last)
        .contains(&key.raw())
        .then(|| key.raw().saturating_sub(first).saturating_add(1))?;
    i32::try_from(number).ok()
}

/// Returns the bindings as a part of the help text.
pub(crate) fn help() -> String {
    let mut text =
        "Keys and pointer, unless --kiosk is given or the configuration changes the keys:\n"
            .to_owned();
    let keys = BINDINGS
        .iter()
        .map(|binding| (binding.keys, binding.effect));
    for (keys, effect) in keys.chain(POINTER) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {keys:<19} {effect}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modifiers(logo: bool, alt: bool, shift: bool, ctrl: bool) -> ModifiersState {
        ModifiersState {
            logo,
            alt,
            shift,
            ctrl,
            ..ModifiersState::default()
        }
    }

    #[test]
    fn key_has_an_action_with_exactly_its_modifiers() {
        let bindings = Bindings::default();
        let action = |modifiers: &ModifiersState, key| bindings.action(modifiers, key);
        let logo = modifiers(true, false, false, false);
        assert_eq!(action(&logo, Keysym::q), Some(Action::Close));
        assert_eq!(action(&logo, Keysym::e), None);
        assert_eq!(action(&ModifiersState::default(), Keysym::q), None);
        for other in [
            modifiers(true, true, false, false),
            modifiers(true, false, true, false),
            modifiers(true, false, false, true),
        ] {
            assert_eq!(action(&other, Keysym::q), None, "{other:?}");
        }
    }

    #[test]
    fn each_key_with_modifiers_is_bound_once_and_is_written_as_it_is_parsed() {
        for binding in &BINDINGS {
            let same = BINDINGS.iter().filter(|other| other.chord == binding.chord);
            assert_eq!(same.count(), 1, "{}", binding.keys);
            assert_eq!(binding.keys.parse(), Ok(binding.chord));
        }
    }

    #[test]
    fn bindings_are_replaced_removed_and_added() {
        let mut bindings = Bindings::default();
        let logo = modifiers(true, false, false, false);
        bindings.set("Super+q".parse().unwrap(), Some(Action::Quit));
        bindings.set("Super+f".parse().unwrap(), None);
        bindings.set("Super+x".parse().unwrap(), Some(Action::Close));
        bindings.set("Super+y".parse().unwrap(), None);
        let actions =
            [Keysym::q, Keysym::f, Keysym::x, Keysym::y].map(|key| bindings.action(&logo, key));
        assert_eq!(
            actions,
            [Some(Action::Quit), None, Some(Action::Close), None]
        );
    }

    #[test]
    fn other_symbol_of_tab_with_shift_counts_as_tab() {
        let bindings = Bindings::default();
        let alt = modifiers(false, true, true, false);
        let action = bindings.action(&alt, Keysym::ISO_Left_Tab);
        assert_eq!(action, Some(Action::PreviousWindow));
    }

    #[test]
    fn readme_has_each_binding() {
        let readme = include_str!("../../README.md");
        let rows = BINDINGS
            .iter()
            .map(|binding| (binding.keys, binding.effect));
        for (keys, effect) in rows.chain(POINTER) {
            assert!(readme.contains(&format!("| {keys} | {effect} |")), "{keys}");
            assert!(help().contains(effect), "{keys}");
        }
    }
}
