//! One participant's demand on one field: what a conflict is made of.

use std::fmt;

use serde::Serialize;

use super::image::ImageTerms;
use super::memory::{
    AddressWindow, Coherency, Contiguity, CpuUse, Exports, Imports, MemoryTerms, Protection,
};
use super::participant::{Constraints, Participant, Role};
use crate::reading::Unknown;
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
        (field == Field::Unknown && !self.unknown.required().is_empty())
            || self.choices().any(|choice| choice.demands_field(field))
    }

    /// Gives up every demand on one field, in every alternative.
    pub fn relax(&mut self, field: Field) {
        self.for_each_choice(|choice| choice.relax(field));
        if field == Field::Unknown {
            self.unknown = Unknown::default();
        }
    }

    /// Says what is demanded of a field; `None` where nothing is.
    fn words(&self, field: Field) -> Option<String> {
        if field == Field::Unknown {
            let own = self.unknown.required().into_iter();
            let all = own.chain(self.choices().flat_map(Constraints::unknown_names));
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
        let free = MemoryTerms::default();
        match field {
            Field::Permitted => self.memory.permitted = free.permitted,
            Field::Held => self.buffers_held = 0,
            Field::Formats => self.formats = None,
            Field::Cpu => self.memory.cpu = free.cpu,
            Field::Coherency => self.memory.coherency = free.coherency,
            Field::Imports => self.memory.imports = free.imports,
            Field::Exports => self.memory.exports = free.exports,
            Field::Contiguity => self.memory.contiguity = free.contiguity,
            Field::Address => self.memory.address = free.address,
            Field::Protection => self.memory.protection = free.protection,
            Field::Unknown => {
                self.version = Self::VERSION;
                self.unknown = Unknown::default();
                self.memory.unknown = Unknown::default();
            }
            Field::Planes | Field::Stride | Field::Offset | Field::Size | Field::Extent => {}
        }
        self.image.relax(field);
        for terms in self.per_fourcc.values_mut() {
            terms.relax(field);
        }
    }

    /// Returns whether anything is demanded of a field.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        let memory = &self.memory;
        let free = MemoryTerms::default();
        match field {
            Field::Permitted => memory.permitted.is_some(),
            Field::Held => self.buffers_held > 0,
            Field::Formats => self.formats.is_some(),
            Field::Cpu => memory.cpu != free.cpu,
            Field::Coherency => memory.coherency != free.coherency,
            Field::Imports => memory.imports != free.imports,
            Field::Exports => memory.exports != free.exports,
            Field::Contiguity => memory.contiguity != free.contiguity,
            Field::Address => memory.address != free.address,
            Field::Protection => {
                !matches!(memory.protection, Protection::Unsaid | Protection::Taken)
            }
            Field::Unknown => self.unknown_names().next().is_some(),
            Field::Planes | Field::Stride | Field::Offset | Field::Size | Field::Extent => {
                self.images().any(|terms| terms.demands_field(field))
            }
        }
    }

    /// Returns what is asked of pictures: of all, and then by format.
    fn images(&self) -> impl Iterator<Item = &ImageTerms> {
        std::iter::once(&self.image).chain(self.per_fourcc.values())
    }

    /// Returns the names of demands that nobody here understands: of a version that is not known, anything may be meant.
    pub(crate) fn unknown_names(&self) -> impl Iterator<Item = String> {
        let version = (self.version != Self::VERSION)
            .then(|| format!("constraints of version {}", self.version));
        let fields = [&self.unknown, &self.memory.unknown]
            .into_iter()
            .chain(self.images().map(|terms| &terms.unknown))
            .filter(|unknown| !unknown.is_empty())
            .flat_map(Unknown::required);
        version.into_iter().chain(fields)
    }

    /// Says what is demanded of a field; `None` where nothing is.
    fn words(&self, role: Role, field: Field) -> Option<String> {
        if !self.demands_field(field) {
            return None;
        }
        match field {
            Field::Permitted => self.memory.permitted.as_ref().map(|permitted| {
                let names: Vec<_> = permitted.iter().map(ToString::to_string).collect();
                if names.is_empty() {
                    "takes memory of no source at all".to_owned()
                } else {
                    format!("takes only memory of {}", names.join(", "))
                }
            }),
            Field::Held => Some(match self.buffers_held {
                1 => "holds a buffer".to_owned(),
                held => format!("holds {held} buffers at a time"),
            }),
            Field::Cpu => {
                let verb = if role.writes() { "writes" } else { "reads" };
                Some(match self.memory.cpu {
                    CpuUse::Often => format!("{verb} every frame with the processor"),
                    _ => format!("{verb} frames with the processor now and then"),
                })
            }
            Field::Coherency => match self.memory.coherency {
                Coherency::Synced => None,
                Coherency::Untransferred => {
                    Some("needs memory of which no device keeps a copy".to_owned())
                }
                Coherency::Coherent => Some(
                    "needs memory that processor and devices see alike without a sync".to_owned(),
                ),
            },
            Field::Exports => match &self.memory.exports {
                Exports::Declared => None,
                Exports::Nothing { reason } => {
                    Some(format!("lets nobody have its own memory, because {reason}"))
                }
            },
            Field::Protection => match self.memory.protection {
                Protection::Unsaid | Protection::Taken => None,
                Protection::Refused => Some("takes no protected memory".to_owned()),
                Protection::Needed => Some("needs protected memory".to_owned()),
                Protection::Neither => {
                    Some("takes neither protected memory nor any other".to_owned())
                }
            },
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
            Field::Imports => match &self.memory.imports {
                Imports::Any => None,
                Imports::OnlyFrom {
                    devices,
                    sources,
                    reason,
                } => {
                    let whose: Vec<_> = devices
                        .iter()
                        .map(ToString::to_string)
                        .chain(sources.iter().map(ToString::to_string))
                        .collect();
                    Some(format!(
                        "imports only memory of {}, because {reason}",
                        whose.join(", ")
                    ))
                }
                Imports::Nothing { reason } => Some(format!("imports no memory, because {reason}")),
            },
            Field::Contiguity => match self.memory.contiguity {
                Contiguity::Scattered => None,
                Contiguity::Unknown => Some("may need memory in one piece".to_owned()),
                Contiguity::Contiguous => Some("needs memory in one piece".to_owned()),
            },
            Field::Address => {
                let window = self.memory.address;
                (window != AddressWindow::default()).then(|| {
                    format!(
                        "reaches only addresses from {:#x} to {:#x}",
                        window.lowest, window.highest
                    )
                })
            }
            // The participant says it, with its own.
            Field::Unknown => None,
            Field::Planes | Field::Stride | Field::Offset | Field::Size | Field::Extent => {
                let mut words: Vec<_> = self
                    .images()
                    .filter_map(|terms| terms.words(field))
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
        }
    }
}
