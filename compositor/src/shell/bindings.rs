//! The key bindings.

use std::fmt::Write as _;

use smithay::input::keyboard::{Keysym, ModifiersState};

use super::actions::Action;
use crate::window::Arrangement;

/// The modifiers of a binding. No other modifier may be pressed, apart from locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modifiers {
    logo: bool,
    alt: bool,
    shift: bool,
}

const SUPER: Modifiers = Modifiers {
    logo: true,
    alt: false,
    shift: false,
};
const SUPER_SHIFT: Modifiers = Modifiers {
    shift: true,
    ..SUPER
};
const ALT: Modifiers = Modifiers {
    logo: false,
    alt: true,
    shift: false,
};
const ALT_SHIFT: Modifiers = Modifiers { shift: true, ..ALT };

/// A row of the table.
#[derive(Debug)]
struct Binding {
    modifiers: Modifiers,
    key: Keysym,
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
        modifiers,
        key,
        action,
        keys,
        effect,
    }
}

/// All bindings. The help text and `compositor/README.md` have the same rows.
const BINDINGS: [Binding; 13] = [
    binding(
        SUPER,
        Keysym::Return,
        Action::StartTerminal,
        "Super+Return",
        "start a terminal: $TERMINAL, foot or weston-terminal",
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
    // Many layouts have another symbol on the key of Tab with Shift.
    binding(
        ALT_SHIFT,
        Keysym::ISO_Left_Tab,
        Action::PreviousWindow,
        "",
        "",
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

/// Returns the action of a key with these modifiers.
pub(super) fn action(modifiers: &ModifiersState, key: Keysym) -> Option<Action> {
    let pressed = Modifiers {
        logo: modifiers.logo,
        alt: modifiers.alt,
        shift: modifiers.shift,
    };
    let is_pressed = |binding: &&Binding| binding.key == key && binding.modifiers == pressed;
    let found = BINDINGS.iter().find(is_pressed);
    found
        .filter(|_| !modifiers.ctrl)
        .map(|binding| binding.action)
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
    let mut text = "Keys and pointer, unless --kiosk is given:\n".to_owned();
    let keys = BINDINGS
        .iter()
        .map(|binding| (binding.keys, binding.effect));
    let named = keys.filter(|(keys, _)| !keys.is_empty());
    for (keys, effect) in named.chain(POINTER) {
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
    fn each_key_with_modifiers_is_bound_once() {
        for binding in &BINDINGS {
            let same = BINDINGS
                .iter()
                .filter(|other| (other.key, other.modifiers) == (binding.key, binding.modifiers));
            assert_eq!(same.count(), 1, "{}", binding.keys);
        }
    }

    #[test]
    fn readme_has_each_binding() {
        let readme = include_str!("../../README.md");
        let rows = BINDINGS
            .iter()
            .map(|binding| (binding.keys, binding.effect));
        for (keys, effect) in rows.chain(POINTER).filter(|(keys, _)| !keys.is_empty()) {
            assert!(readme.contains(&format!("| {keys} | {effect} |")), "{keys}");
            assert!(help().contains(effect), "{keys}");
        }
    }
}
