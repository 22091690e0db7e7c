//! Finds and reads the JSON in a pasted text. The JSON begins with the first line that begins with a brace.

use std::fmt;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::LineError;
use super::text::number;

/// Returns where the JSON object of a text begins: the offset of the first line that begins with a brace, and the number of lines
/// before that line; `None` if no line begins with a brace.
pub(super) fn start(text: &str) -> Option<(usize, usize)> {
    let mut at = 0_usize;
    for (before, line) in text.split_inclusive('\n').enumerate() {
        let own = line.trim_start_matches(['\u{feff}', ' ', '\t']);
        if own.starts_with('{') {
            return Some((at, before));
        }
        at = at.saturating_add(line.len());
    }
    None
}

/// Reads the JSON object of a text. Text after the object, such as a shell's prompt, is ignored.
///
/// Fields that `T` does not have take no memory.
pub(super) fn read<T: DeserializeOwned>(text: &str, expected: &str) -> Result<T, LineError> {
    let Some((at, before)) = start(text) else {
        return Err(LineError::new(1, expected, text));
    };
    let json = text.get(at..).unwrap_or_default();
    let json = json.trim_start_matches('\u{feff}');
    let mut reader = serde_json::Deserializer::from_str(json);
    T::deserialize(&mut reader).map_err(|error| LineError::of_json(before, expected, &error))
}

/// A number that a tool wrote as a number or as text, such as `"0xffffffffffffff"`.
///
/// Older versions of json-c write 64 bits as a signed number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Number;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number of 64 bits")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number(u64::from_ne_bytes(value.to_ne_bytes())))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Number, E> {
                Ok(Number(value.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let unknown = || E::custom("expected a number in decimal or after 0x");
                number(text).map(Number).ok_or_else(unknown)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Number {
    /// Returns the number, or `u32::MAX` if the number does not fit into 32 bits.
    pub(super) fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_from_every_form() {
        let read = |text: &str| serde_json::from_str::<Number>(text).map(|own| own.0);
        assert_eq!(read("7").unwrap(), 7);
        assert_eq!(read("-1").unwrap(), u64::MAX);
        assert_eq!(read("\"0xffffffffffffff\"").unwrap(), 0x00ff_ffff_ffff_ffff);
        for text in ["1.5", "\"x\"", "[]", "null"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_found_below_a_prompt_and_its_errors_have_the_line_of_the_file() {
        let text = "$ drm_info -j\n```json\n{\"a\": 1}\n```\n$";
        let read = |text: &str| read::<std::collections::BTreeMap<String, Number>>(text, "numbers");
        assert_eq!(read(text).unwrap().len(), 1);
        assert_eq!(read("$\n{\"a\":\n x}").unwrap_err().line, 3);
        assert_eq!(read("nothing").unwrap_err().line, 1);
    }
}
