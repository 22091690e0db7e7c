//! Families: modifiers with the same name, which have fixed bits and fields.

use super::{Modifier, ModifierError};

/// A family of modifiers: a name, fixed bits, and fields. All other bits are 0.
pub(super) struct Family {
    /// The family's name, which starts with the vendor's.
    pub(super) name: &'static str,
    /// The fixed bits, including the vendor's number.
    pub(super) code: u64,
    /// The fields.
    pub(super) fields: &'static [Field],
}

/// A field of a modifier.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The ranges of the field's bits, the lowest first.
    pub(super) bits: &'static [BitRange],
    pub(super) values: Values,
    /// When the field is part of the text.
    pub(super) written: Written,
}

/// Adjacent bits.
pub(super) struct BitRange {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// What a field's values mean. All other values are reserved.
pub(super) enum Values {
    /// One bit. The text has the field's name if it is set.
    Flag,
    /// A number up to this one, written in decimal.
    Number(u64),
    /// A number, written in hexadecimal.
    Hex,
    /// Values with names, written as `FIELD=NAME`.
    Named(&'static [(u64, &'static str)]),
    /// Values whose names identify the field, written as `NAME`.
    Bare(&'static [(u64, &'static str)]),
}

/// When a field is part of the text. A field that is left out is 0.
pub(super) enum Written {
    Always,
    /// If it is not 0.
    NotZero,
    /// If it is not 0, or any of these bits of the modifier is set.
    With(u64),
}

/// A decoded modifier: its name and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodedModifier {
    /// The name, which starts with the vendor's, such as `ARM_AFBC`.
    pub name: &'static str,
    /// All fields, including those that the text leaves out because they are 0.
    pub fields: Vec<ModifierField>,
}

/// A field of a decoded modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModifierField {
    /// The field's name in `drm_fourcc.h`.
    pub name: &'static str,
    /// The field's value.
    pub value: u64,
    /// The value's name; `None` for flags and numbers.
    pub value_name: Option<&'static str>,
}

impl DecodedModifier {
    /// Returns the value of a field; `None` if there is no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<u64> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.value)
    }
}

impl Family {
    /// Returns the modifier in which each field has its first value.
    pub(super) fn first(&self) -> Modifier {
        let fields = self.fields.iter().map(|field| match field.values {
            Values::Named(names) | Values::Bare(names) => {
                let (first, _) = names[0];
                field.place(first)
            }
            // A modifier with page kind 0 belongs to another family.
            Values::Hex => field.place(1),
            Values::Flag | Values::Number(_) => 0,
        });
        Modifier(fields.fold(self.code, |code, field| code | field))
    }

    /// Decodes a modifier of this family; `None` if it is of another family or has a reserved bit or value.
    pub(super) fn decode(&self, modifier: Modifier) -> Option<DecodedModifier> {
        let mut rest = modifier.0;
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            let value = field.read(modifier.0);
            rest &= !field.mask();
            fields.push(ModifierField {
                name: field.name,
                value,
                value_name: field.values.name_of(value)?,
            });
        }
        (rest == self.code).then_some(DecodedModifier {
            name: self.name,
            fields,
        })
    }

    /// Returns a modifier's text, without spaces.
    pub(super) fn text(&self, modifier: Modifier, decoded: &DecodedModifier) -> String {
        let mut words = Vec::new();
        for (field, found) in self.fields.iter().zip(&decoded.fields) {
            let written = match field.written {
                Written::Always => true,
                Written::NotZero => found.value != 0,
                Written::With(bits) => found.value != 0 || modifier.0 & bits != 0,
            };
            if !written {
                continue;
            }
            words.push(match (&field.values, found.value_name) {
                (Values::Flag, _) => field.name.to_owned(),
                (Values::Hex, _) => format!("{}={:#04x}", field.name, found.value),
                (Values::Bare(_), Some(name)) => name.to_owned(),
                (_, Some(name)) => format!("{}={name}", field.name),
                (_, None) => format!("{}={}", field.name, found.value),
            });
        }
        if words.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}({})", self.name, words.join(","))
        }
    }

    /// Parses the fields in the parentheses of a modifier's text.
    pub(super) fn parse(&self, words: &str) -> Result<Modifier, ModifierError> {
        let error = |why: String| {
            Err(ModifierError::Field {
                name: self.name.to_owned(),
                why,
            })
        };
        let (mut code, mut seen) = (self.code, Vec::new());
        for word in words
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let Some((field, value)) = self.fields.iter().find_map(|field| field.value_of(word))
            else {
                return error(format!(
                    "`{word}` is none of its fields; they are {}",
                    self.spelling()
                ));
            };
            if seen.contains(&field.name) {
                return error(format!("{} occurs twice", field.name));
            }
            seen.push(field.name);
            code |= field.place(value);
        }
        for field in self.fields {
            let missing = !seen.contains(&field.name);
            if missing && matches!(field.written, Written::Always) {
                return error(format!(
                    "{} is not there; its fields are {}",
                    field.name,
                    self.spelling()
                ));
            }
        }
        Ok(Modifier(code))
    }

    /// Lists the fields as they have to be written.
    fn spelling(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(Field::spelling).collect();
        if fields.is_empty() {
            "none".to_owned()
        } else {
            fields.join(", ")
        }
    }
}

impl Field {
    fn mask(&self) -> u64 {
        self.place(u64::MAX)
    }

    fn read(&self, modifier: u64) -> u64 {
        let (mut value, mut place) = (0, 0_u32);
        for range in self.bits {
            let bits = (modifier >> range.first) & range.ones();
            value |= bits << place;
            place = place.saturating_add(range.count);
        }
        value
    }

    /// Returns a value in its bit positions. Bits that do not fit are dropped.
    fn place(&self, value: u64) -> u64 {
        let (mut placed, mut rest) = (0, value);
        for range in self.bits {
            placed |= (rest & range.ones()) << range.first;
            rest >>= range.count;
        }
        placed
    }

    /// Returns the value that a word of the text gives this field; `None` if the word is not about this field or not valid.
    fn value_of(&self, word: &str) -> Option<(&Self, u64)> {
        let value = match &self.values {
            Values::Flag => (word == self.name).then_some(1)?,
            Values::Bare(names) => number_of(names, word)?,
            values => {
                let (name, text) = word.split_once('=')?;
                if name.trim() != self.name {
                    return None;
                }
                let text = text.trim();
                match values {
                    Values::Named(names) => number_of(names, text)?,
                    _ => {
                        let number = text.strip_prefix("0x").map_or_else(
                            || text.parse().ok(),
                            |digits| u64::from_str_radix(digits, 16).ok(),
                        )?;
                        values.name_of(number)?;
                        number
                    }
                }
            }
        };
        (self.read(self.place(value)) == value).then_some((self, value))
    }

    fn spelling(&self) -> String {
        let names = |names: &[(u64, &str)]| {
            let names: Vec<_> = names
                .iter()
                .map(|(_, name)| *name)
                .filter(|name| !name.is_empty())
                .collect();
            names.join("|")
        };
        match &self.values {
            Values::Flag => self.name.to_owned(),
            Values::Number(_) | Values::Hex => format!("{}=NUMBER", self.name),
            Values::Named(known) => format!("{}={}", self.name, names(known)),
            Values::Bare(known) => names(known),
        }
    }
}

impl BitRange {
    fn ones(&self) -> u64 {
        u64::MAX >> 64_u32.saturating_sub(self.count).min(63)
    }
}

impl Values {
    /// Returns the name of a value, `Some(None)` for a value without a name, and `None` for a reserved value.
    #[allow(
        clippy::option_option,
        reason = "no name and no meaning are two answers"
    )]
    fn name_of(&self, value: u64) -> Option<Option<&'static str>> {
        match self {
            Self::Flag => Some(None),
            Self::Hex => Some(None),
            Self::Number(most) => (value <= *most).then_some(None),
            Self::Named(names) | Self::Bare(names) => names
                .iter()
                .find(|(number, _)| *number == value)
                .map(|(_, name)| Some(*name)),
        }
    }
}

fn number_of(names: &[(u64, &str)], text: &str) -> Option<u64> {
    names
        .iter()
        .find(|(_, name)| *name == text)
        .map(|(number, _)| *number)
}
