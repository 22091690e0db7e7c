//! Families of modifiers. The modifiers of a family have the same name and the same fixed bits, and differ in their fields.

use super::{Modifier, ModifierError};

/// A family of modifiers: a name, fixed bits, and fields. All bits that belong to none of these are 0.
pub(super) struct Family {
    /// The name of the family, which begins with the name of the vendor.
    pub(super) name: &'static str,
    /// The fixed bits, including the vendor's number in the upper 8 bits.
    pub(super) code: u64,
    /// The fields that distinguish the family's modifiers.
    pub(super) fields: &'static [Field],
}

/// A field of a modifier, such as a block size.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The ranges of bits that make up the field. The first range has the lowest bits of the value.
    pub(super) bits: &'static [BitRange],
    pub(super) values: Values,
    /// The condition under which the text of a modifier contains the field.
    pub(super) written: Written,
}

/// A range of adjacent bits.
pub(super) struct BitRange {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// The valid values of a field, and how the text of a modifier contains them. All other values are reserved.
pub(super) enum Values {
    /// The field is a single bit. The text contains the field's name if the bit is set.
    Flag,
    /// The value is a number from 0 to this one. The text contains it in decimal.
    Number(u64),
    /// The value is any number. The text contains it in hexadecimal.
    Hex,
    /// Each value has a name. The text contains `FIELD=NAME`.
    Named(&'static [(u64, &'static str)]),
    /// Each value has a name that also identifies the field. The text contains `NAME`.
    Bare(&'static [(u64, &'static str)]),
}

/// The condition under which the text of a modifier contains a field. A field that the text does not contain is 0.
pub(super) enum Written {
    Always,
    /// The text contains the field if its value is not 0.
    NotZero,
    /// The text contains the field if its value is not 0, or if any of these bits of the modifier is set.
    With(u64),
}

/// A decoded modifier: its name and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodedModifier {
    /// The name, which begins with the name of the vendor, such as `ARM_AFBC`.
    pub name: &'static str,
    /// All fields of the modifier, including fields with the value 0 that the modifier's text leaves out.
    pub fields: Vec<ModifierField>,
}

/// A field of a decoded modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModifierField {
    /// The name of the field in `drm_fourcc.h`.
    pub name: &'static str,
    /// The value of the field.
    pub value: u64,
    /// The name of the value; `None` for flags and numbers.
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
    /// Returns a modifier of this family in which each field has its first value.
    pub(super) fn first(&self) -> Modifier {
        let fields = self.fields.iter().map(|field| match field.values {
            Values::Named(names) | Values::Bare(names) => {
                let (first, _) = names[0];
                field.place(first)
            }
            // A modifier with page kind 0 belongs to another family, so 1 is the first value.
            Values::Hex => field.place(1),
            Values::Flag | Values::Number(_) => 0,
        });
        Modifier(fields.fold(self.code, |code, field| code | field))
    }

    /// Decodes a modifier of this family; `None` if the modifier belongs to another family or has a reserved bit or value.
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

    /// Returns the text of a modifier, without spaces.
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
                    "`{word}` is not a field of this modifier, whose fields are {}",
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
                    "{} is missing; its fields are {}",
                    field.name,
                    self.spelling()
                ));
            }
        }
        Ok(Modifier(code))
    }

    /// Lists the fields in the form in which the text of a modifier contains them.
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
    /// Returns the bits of the modifier that the field has.
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

    /// Returns the bits of a modifier in which this field has the value. Bits of the value that do not fit into the field are
    /// dropped.
    fn place(&self, value: u64) -> u64 {
        let (mut placed, mut rest) = (0, value);
        for range in self.bits {
            placed |= (rest & range.ones()) << range.first;
            rest >>= range.count;
        }
        placed
    }

    /// Returns this field and the value that a word of a modifier's text gives it; `None` if the word is not about this field or
    /// is not valid.
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

    /// Returns how the field is written in a modifier's text, for messages.
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
    /// Returns a number whose lowest bits are set, as many as the range has.
    fn ones(&self) -> u64 {
        u64::MAX >> 64_u32.saturating_sub(self.count).min(63)
    }
}

impl Values {
    /// Returns the name of a value. The result is `Some(None)` for a value without a name, and `None` for a reserved value.
    #[allow(
        clippy::option_option,
        reason = "a value without a name differs from a reserved value"
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
