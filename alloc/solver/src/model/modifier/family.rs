//! Modifiers that share a name: fixed bits, and fields beside them.

use super::{Modifier, ModifierError};

/// A name, the bits that are always the same behind it, and the fields that vary. Every other bit is 0.
pub(super) struct Family {
    /// The name, which begins with the vendor's.
    pub(super) name: &'static str,
    /// The fixed bits, the vendor's number among them.
    pub(super) code: u64,
    /// What varies.
    pub(super) fields: &'static [Field],
}

/// Some bits of a modifier.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Where its bits are, the lowest first.
    pub(super) bits: &'static [Run],
    pub(super) values: Values,
    /// When it is written.
    pub(super) written: Written,
}

/// Bits that lie side by side.
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// What the bits of a field mean. A value that is not here has no meaning yet.
pub(super) enum Values {
    /// One bit, which is written by the field's name where it is set.
    Flag,
    /// A number up to this, written in decimals.
    Number(u64),
    /// A number, written in hexadecimal.
    Hex,
    /// Numbers that have names.
    Named(&'static [(u64, &'static str)]),
    /// Numbers that have names which tell by themselves of which field they are.
    Bare(&'static [(u64, &'static str)]),
}

/// When a field is written. A field that is not written is 0.
pub(super) enum Written {
    Always,
    /// Where it is not 0.
    NotZero,
    /// Where it is not 0, or any of these bits of the modifier is set.
    With(u64),
}

/// A modifier taken apart: its name, and the fields that vary behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedModifier {
    /// The name, which begins with the vendor's, such as `ARM_AFBC`.
    pub name: &'static str,
    /// Every field, those too that the text leaves out because they are 0.
    pub fields: Vec<ModifierField>,
}

/// A field of a modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifierField {
    /// The field's name, as `drm_fourcc.h` has it.
    pub name: &'static str,
    /// Its bits.
    pub value: u64,
    /// The value's name; none for flags and numbers.
    pub value_name: Option<&'static str>,
}

impl DecodedModifier {
    /// Returns the value of a field; `None` where there is no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<u64> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.value)
    }
}

impl Family {
    /// Returns the modifier with each field in the first of its values.
    pub(super) fn first(&self) -> Modifier {
        let fields = self.fields.iter().map(|field| match field.values {
            Values::Named(names) | Values::Bare(names) => {
                let (first, _) = names[0];
                field.place(first)
            }
            // A page kind of 0 is told by another name.
            Values::Hex => field.place(1),
            Values::Flag | Values::Number(_) => 0,
        });
        Modifier(fields.fold(self.code, |code, field| code | field))
    }

    /// Takes a modifier of this family apart; `None` for one of another, or one with bits or values that have no meaning yet.
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

    /// Writes a modifier of this family, without spaces.
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

    /// Puts a modifier together of what stands in its brackets.
    pub(super) fn parse(&self, words: &str) -> Result<Modifier, ModifierError> {
        let refuse = |why: String| {
            Err(ModifierError::Field {
                name: self.name.to_owned(),
                why,
            })
        };
        let (mut code, mut said) = (self.code, Vec::new());
        for word in words
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let Some((field, value)) = self.fields.iter().find_map(|field| field.value_of(word))
            else {
                return refuse(format!(
                    "`{word}` is none of its fields; they are {}",
                    self.spelling()
                ));
            };
            if said.contains(&field.name) {
                return refuse(format!("{} is there twice", field.name));
            }
            said.push(field.name);
            code |= field.place(value);
        }
        for field in self.fields {
            let missing = !said.contains(&field.name);
            if missing && matches!(field.written, Written::Always) {
                return refuse(format!(
                    "{} is not there; its fields are {}",
                    field.name,
                    self.spelling()
                ));
            }
        }
        Ok(Modifier(code))
    }

    /// Lists the fields as they are to be written.
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
        for run in self.bits {
            let bits = (modifier >> run.first) & run.ones();
            value |= bits << place;
            place = place.saturating_add(run.count);
        }
        value
    }

    /// Puts a value into its bits; what does not fit is lost.
    fn place(&self, value: u64) -> u64 {
        let (mut placed, mut rest) = (0, value);
        for run in self.bits {
            placed |= (rest & run.ones()) << run.first;
            rest >>= run.count;
        }
        placed
    }

    /// Returns the value that a word gives this field; `None` where the word is about another, or no value of it.
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

impl Run {
    fn ones(&self) -> u64 {
        u64::MAX >> 64_u32.saturating_sub(self.count).min(63)
    }
}

impl Values {
    /// Returns the name of a value, none within for one that needs no name; `None` for a value without a meaning.
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
