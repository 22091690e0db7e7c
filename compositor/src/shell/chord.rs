//! The keys of a binding: modifiers and a key, such as `Super+Shift+E`.

use std::str::FromStr;

use smithay::input::keyboard::{Keysym, ModifiersState, xkb};

/// The maximum number of bytes of the name of a key.
const NAME_MAX: usize = 64;

/// The modifiers of a binding. No other modifier may be pressed, apart from locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modifiers {
    pub(super) logo: bool,
    pub(super) alt: bool,
    pub(super) shift: bool,
    pub(super) ctrl: bool,
}

/// A key with modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chord {
    pub(super) modifiers: Modifiers,
    /// The symbol of the key without modifiers.
    pub(super) key: Keysym,
}

/// The error for keys that cannot be parsed: what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChordError {
    /// A word before the last one is no modifier.
    #[error("{0} is no modifier: write Super, Alt, Ctrl or Shift")]
    Modifier(String),
    /// The last word is no key.
    #[error(
        "{0} is no key: write the name that xkbcommon has for it without modifiers, such as q, Return or XF86AudioMute"
    )]
    Key(String),
}

impl Modifiers {
    /// Returns the pressed modifiers.
    pub(super) fn pressed(state: &ModifiersState) -> Self {
        Self {
            logo: state.logo,
            alt: state.alt,
            shift: state.shift,
            ctrl: state.ctrl,
        }
    }

    /// Returns whether one of these modifiers is pressed, apart from Shift.
    pub(super) fn is_held(self, state: &ModifiersState) -> bool {
        self.logo && state.logo || self.alt && state.alt || self.ctrl && state.ctrl
    }
}

impl Chord {
    /// Returns the pressed keys. Many layouts have another symbol on the key of Tab with Shift, which counts as Tab.
    pub(super) fn pressed(modifiers: &ModifiersState, key: Keysym) -> Self {
        Self {
            modifiers: Modifiers::pressed(modifiers),
            key: if key == Keysym::ISO_Left_Tab {
                Keysym::Tab
            } else {
                key
            },
        }
    }
}

impl FromStr for Chord {
    type Err = ChordError;

    fn from_str(text: &str) -> Result<Self, ChordError> {
        let (modifiers, name) = match text.rsplit_once('+') {
            Some((modifiers, name)) => (Some(modifiers), name.trim()),
            None => (None, text.trim()),
        };
        let mut chord = Self {
            modifiers: Modifiers::default(),
            key: key(name).ok_or_else(|| ChordError::Key(name.to_owned()))?,
        };
        for modifier in modifiers.into_iter().flat_map(|words| words.split('+')) {
            let set = match modifier.trim().to_ascii_lowercase().as_str() {
                "super" | "logo" | "mod4" => &mut chord.modifiers.logo,
                "alt" | "mod1" => &mut chord.modifiers.alt,
                "shift" => &mut chord.modifiers.shift,
                "ctrl" | "control" => &mut chord.modifiers.ctrl,
                _ => return Err(ChordError::Modifier(modifier.trim().to_owned())),
            };
            *set = true;
        }
        Ok(chord)
    }
}

/// Returns the symbol with that name. A letter is the one of the key without Shift.
fn key(name: &str) -> Option<Keysym> {
    // xkbcommon takes a C string.
    let is_name = name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name || name.is_empty() {
        return None;
    }
    let exact = xkb::keysym_from_name(name, xkb::KEYSYM_NO_FLAGS);
    let found = if exact == Keysym::NoSymbol || name.chars().count() == 1 {
        xkb::keysym_from_name(name, xkb::KEYSYM_CASE_INSENSITIVE)
    } else {
        exact
    };
    (found != Keysym::NoSymbol).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chord(text: &str) -> Result<Chord, String> {
        text.parse().map_err(|error: ChordError| error.to_string())
    }

    #[test]
    fn keys_are_parsed_in_any_case_and_order() {
        let expected = Chord {
            modifiers: Modifiers {
                logo: true,
                shift: true,
                ..Modifiers::default()
            },
            key: Keysym::e,
        };
        for text in ["Super+Shift+E", "shift+mod4+e", " Logo + Shift + e "] {
            assert_eq!(chord(text), Ok(expected), "{text}");
        }
        assert_eq!(chord("Print").unwrap().key, Keysym::Print);
        assert_eq!(chord("ctrl+return").unwrap().key, Keysym::Return);
        assert_eq!(chord("XF86AudioMute").unwrap().key, Keysym::XF86_AudioMute);
    }

    #[test]
    fn keys_that_do_not_exist_are_rejected_with_their_part() {
        for (text, part) in [
            ("Hyper+q", "Hyper is no modifier"),
            ("Super+", " is no key"),
            ("", " is no key"),
            ("Super+Enter", "Enter is no key"),
            ("Super+q\0", "is no key"),
            ("Super+\u{fc}", "is no key"),
        ] {
            let error = chord(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
