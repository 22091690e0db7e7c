//! One participant's demand on one field: what a conflict is made of.

use std::fmt;

use serde::Serialize;

use super::field_table::FieldTable;
use super::image::ImageConstraints;
use super::participant::{Constraints, Participant, Role};
use crate::reading::ExtraFields;
use crate::text::printable;

/// How many formats a demand names; of more, it says how many there are.
const FORMATS_NAMED: usize = 4;

/// What a demand is about, the cheapest to give up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// The only sources that are taken.
    Permitted,
    /// How many buffers are held.
    Held,
    /// How planes are placed.
    Planes,
    /// Bytes from row to row.
    Stride,
    /// Where planes begin.
    Offset,
    /// How much memory there is.
    Size,
    /// Width and height.
    Extent,
    /// Formats and modifiers.
    Formats,
    /// How much the processor reads or writes.
    Cpu,
    /// How its reads and writes reach the device.
    Coherency,
    /// Whose memory is taken.
    Imports,
    /// Who can have the device's own memory.
    Exports,
    /// In how many pieces it comes.
    Contiguity,
    /// Where it lies.
    Address,
    /// Whether it is protected.
    Protection,
    /// What a newer version asks for.
    Unknown,
}

impl Field {
    /// The fields of demands on pictures.
    pub(crate) const OF_PICTURES: [Self; 5] = [
        Self::Planes,
        Self::Stride,
        Self::Offset,
        Self::Size,
        Self::Extent,
    ];

    /// Every field, the cheapest to give up first.
    pub const ALL: [Self; 16] = [
        Self::Permitted,
        Self::Held,
        Self::Planes,
        Self::Stride,
        Self::Offset,
        Self::Size,
        Self::Extent,
        Self::Formats,
        Self::Cpu,
        Self::Coherency,
        Self::Imports,
        Self::Exports,
        Self::Contiguity,
        Self::Address,
        Self::Protection,
        Self::Unknown,
    ];
}

/// One participant's demand on one field, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Demand {
    /// What it is about.
    pub field: Field,
    /// Who demands it.
    pub owner: String,
    /// What is demanded, in words that follow the owner's name.
    pub words: String,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name is whatever its owner chose, and the words may hold others' names.
        let (owner, words) = (printable(&self.owner), printable(&self.words));
        write!(f, "{owner} {words}")
    }
}

impl Participant {
    /// Returns the participant's demands: the fields in which it does not take everything, the cheapest to give up first.
    pub fn demands(&self) -> Vec<Demand> {
        Field::ALL
            .into_iter()
            .filter_map(|field| self.demand(field))
            .collect()
    }

    /// Returns the participant's demand on one field, if there is one.
    pub fn demand(&self, field: Field) -> Option<Demand> {
        Some(Demand {
            field,
            owner: self.name.clone(),
            words: self.words(field)?,
        })
    }

    /// Returns whether anything is demanded of a field.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        (field == Field::Unknown && !self.extra_fields.required().is_empty())
            || self.choices().any(|choice| choice.demands_field(field))
    }

    /// Gives up every demand on one field, in every alternative.
    pub fn relax(&mut self, field: Field) {
        self.for_each_choice(|choice| choice.relax(field));
        if field == Field::Unknown {
            self.extra_fields = ExtraFields::default();
        }
    }

    /// Says what is demanded of a field; `None` where nothing is.
    fn words(&self, field: Field) -> Option<String> {
        if field == Field::Unknown {
            let own = self.extra_fields.required().into_iter();
            let all = own.chain(self.choices().flat_map(Constraints::extra_field_names));
            let mut names: Vec<_> = all.collect();
            names.sort_unstable();
            names.dedup();
            return (!names.is_empty()).then(|| {
                format!(
                    "asks for {}, which this version does not know",
                    names.join(", ")
                )
            });
        }
        let mut words: Vec<_> = self
            .choices()
            .map(|choice| choice.words(self.role, field))
            .collect();
        words.dedup();
        let words: Vec<_> = words
            .iter()
            .map(|words| words.as_deref().unwrap_or("takes anything"))
            .collect();
        (self.demands_field(field)).then(|| words.join(", or else "))
    }
}

impl Constraints {
    /// Gives up every demand on one field.
    pub fn relax(&mut self, field: Field) {
        match field {
            Field::Held => self.buffers_held = 0,
            Field::Formats => self.formats = None,
            Field::Unknown => {
                self.version = Self::VERSION;
                self.extra_fields = ExtraFields::default();
            }
            _ => {}
        }
        self.memory.relax(field);
        self.image.relax(field);
        for constraints in self.per_fourcc.values_mut() {
            constraints.relax(field);
        }
    }

    /// Returns whether anything is demanded of a field.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        match field {
            Field::Held => self.buffers_held > 0,
            Field::Formats => self.formats.is_some(),
            Field::Unknown => self.extra_field_names().next().is_some(),
            _ if Field::OF_PICTURES.contains(&field) => self
                .images()
                .any(|constraints| constraints.demands_field(field)),
            _ => self.memory.demands_field(field),
        }
    }

    /// Returns what is asked of pictures: of all, and then by format.
    fn images(&self) -> impl Iterator<Item = &ImageConstraints> {
        std::iter::once(&self.image).chain(self.per_fourcc.values())
    }

    /// Returns the names of demands that nobody here understands: of a version that is not known, anything may be meant.
    pub(crate) fn extra_field_names(&self) -> impl Iterator<Item = String> {
        let version = (self.version != Self::VERSION)
            .then(|| format!("constraints of version {}", self.version));
        let fields = [&self.extra_fields, &self.memory.extra_fields]
            .into_iter()
            .chain(self.images().map(|constraints| &constraints.extra_fields))
            .filter(|extra_fields| !extra_fields.is_empty())
            .flat_map(ExtraFields::required);
        version.into_iter().chain(fields)
    }

    /// Says what is demanded of a field; `None` where nothing is.
    fn words(&self, role: Role, field: Field) -> Option<String> {
        if !self.demands_field(field) {
            return None;
        }
        match field {
            Field::Held => Some(match self.buffers_held {
                1 => "holds a buffer".to_owned(),
                held => format!("holds {held} buffers at a time"),
            }),
            Field::Formats => self.formats.as_ref().map(|formats| {
                let names: Vec<_> = formats
                    .iter()
                    .take(FORMATS_NAMED)
                    .map(|format| format.to_string())
                    .collect();
                match (names.is_empty(), formats.len().saturating_sub(names.len())) {
                    (true, _) => "takes no format at all".to_owned(),
                    (false, 0) => format!("takes only {}", names.join(", ")),
                    (false, rest) => format!("takes only {} and {rest} more", names.join(", ")),
                }
            }),
            // The participant says it, with its own.
            Field::Unknown => None,
            _ if Field::OF_PICTURES.contains(&field) => {
                let mut words: Vec<_> = self
                    .images()
                    .filter_map(|constraints| constraints.words(role, field))
                    .collect();
                words.dedup();
                let rest = words.len().saturating_sub(3);
                words.truncate(3);
                match (words.is_empty(), rest) {
                    (true, _) => None,
                    (false, 0) => Some(words.join(" or ")),
                    (false, _) => Some(format!("{} and other by format", words.join(" or "))),
                }
            }
            _ => self.memory.words(role, field),
        }
    }
}
