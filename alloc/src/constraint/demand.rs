//! One participant's demand on one field: what a conflict is made of.

use std::fmt;

use serde::Serialize;

use super::image::{ImageTerms, PlanePlacement, SideTerms, StrideTerms};
use super::memory::{AddressWindow, Contiguity, Imports};
use super::participant::{Constraints, Participant};

/// What a demand is about, the cheapest to give up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
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
    /// Whose memory is taken.
    Imports,
    /// In how many pieces it comes.
    Contiguity,
    /// Where it lies.
    Address,
    /// What a newer version asks for.
    Unknown,
}

impl Field {
    /// Every field, the cheapest to give up first.
    pub const ALL: [Self; 10] = [
        Self::Planes,
        Self::Stride,
        Self::Offset,
        Self::Size,
        Self::Extent,
        Self::Formats,
        Self::Imports,
        Self::Contiguity,
        Self::Address,
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
        write!(f, "{} {}", self.owner, self.words)
    }
}

impl Participant {
    /// Returns the participant's demands: the fields in which it does not take everything.
    pub fn demands(&self) -> Vec<Demand> {
        Field::ALL
            .into_iter()
            .filter_map(|field| {
                Some(Demand {
                    field,
                    owner: self.name.clone(),
                    words: self.constraints.words(field)?,
                })
            })
            .collect()
    }
}

impl Constraints {
    /// Gives up every demand on one field.
    pub fn relax(&mut self, field: Field) {
        match field {
            Field::Formats => self.formats = None,
            Field::Imports => self.memory.imports = Imports::Any,
            Field::Contiguity => self.memory.contiguity = Contiguity::Scattered,
            Field::Address => self.memory.address = AddressWindow::default(),
            Field::Unknown => {
                self.unknown.0.clear();
                self.memory.unknown.0.clear();
            }
            Field::Planes | Field::Stride | Field::Offset | Field::Size | Field::Extent => {}
        }
        self.image.relax(field);
        for terms in self.per_fourcc.values_mut() {
            terms.relax(field);
        }
    }

    /// Says what is demanded of a field; `None` where nothing is.
    fn words(&self, field: Field) -> Option<String> {
        let images = || std::iter::once(&self.image).chain(self.per_fourcc.values());
        match field {
            Field::Formats => self.formats.as_ref().map(|formats| {
                let mut names: Vec<_> = formats.iter().map(|format| format.to_string()).collect();
                let rest = names.len().saturating_sub(4);
                names.truncate(4);
                match (names.is_empty(), rest) {
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
            Field::Unknown => {
                let names: Vec<_> = self
                    .unknown
                    .required()
                    .chain(self.memory.unknown.required())
                    .chain(images().flat_map(|terms| terms.unknown.required()))
                    .collect();
                (!names.is_empty()).then(|| {
                    format!(
                        "asks for {}, which this version does not know",
                        names.join(", ")
                    )
                })
            }
            Field::Planes | Field::Stride | Field::Offset | Field::Size | Field::Extent => {
                let mut words: Vec<_> = images().filter_map(|terms| terms.words(field)).collect();
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

impl ImageTerms {
    fn relax(&mut self, field: Field) {
        let free = Self::default();
        match field {
            Field::Planes => {
                self.packed_planes = free.packed_planes;
                self.placement = free.placement;
            }
            Field::Stride => self.stride = free.stride,
            Field::Offset => self.offset_alignment_bytes = free.offset_alignment_bytes,
            Field::Size => {
                self.size_alignment_bytes = free.size_alignment_bytes;
                self.minimum_size_bytes = free.minimum_size_bytes;
                self.padding_bytes = free.padding_bytes;
            }
            Field::Extent => {
                self.width = free.width;
                self.height = free.height;
            }
            Field::Unknown => self.unknown = free.unknown,
            Field::Formats | Field::Imports | Field::Contiguity | Field::Address => {}
        }
    }

    fn words(&self, field: Field) -> Option<String> {
        let free = Self::default();
        match field {
            Field::Planes => {
                let placed = match self.placement {
                    PlanePlacement::Either => None,
                    PlanePlacement::Together => Some("needs all planes in one dma-buf"),
                    PlanePlacement::Apart => Some("needs a dma-buf for each plane"),
                    PlanePlacement::Neither => Some("accepts no placement of planes"),
                };
                let packed = self
                    .packed_planes
                    .then_some("needs planes without a gap between them");
                let words: Vec<_> = placed.into_iter().chain(packed).collect();
                (!words.is_empty()).then(|| words.join(" and "))
            }
            Field::Stride => stride_words(&self.stride),
            Field::Offset => (self.offset_alignment_bytes > 1).then(|| {
                format!(
                    "needs planes to begin at multiples of {} bytes",
                    self.offset_alignment_bytes
                )
            }),
            Field::Size => {
                let mut words = Vec::new();
                if self.size_alignment_bytes > 1 {
                    words.push(format!("in multiples of {}", self.size_alignment_bytes));
                }
                if self.minimum_size_bytes > 0 {
                    words.push(format!("at least {}", self.minimum_size_bytes));
                }
                if self.padding_bytes > 0 {
                    words.push(format!("{} behind the picture", self.padding_bytes));
                }
                (!words.is_empty()).then(|| format!("needs {} bytes of memory", words.join(", ")))
            }
            Field::Extent => (self.width != free.width || self.height != free.height).then(|| {
                format!(
                    "needs a width {} and a height {}",
                    side_words(&self.width),
                    side_words(&self.height)
                )
            }),
            Field::Formats
            | Field::Imports
            | Field::Contiguity
            | Field::Address
            | Field::Unknown => None,
        }
    }
}

fn side_words(side: &SideTerms) -> String {
    let steps = if side.multiple_of > 1 {
        format!(" in steps of {}", side.multiple_of)
    } else {
        String::new()
    };
    match (side.minimum, side.maximum) {
        (1 | 0, u32::MAX) => format!("of any size{steps}"),
        (least, most) if least == most => format!("of {least}"),
        (least, u32::MAX) => format!("from {least}{steps}"),
        (least, most) => format!("from {least} to {most}{steps}"),
    }
}

fn stride_words(stride: &StrideTerms) -> Option<String> {
    let mut words = Vec::new();
    match (stride.minimum, stride.maximum) {
        (0, u32::MAX) => {}
        (least, most) if least == most => words.push(format!("of exactly {least}")),
        (0, most) => words.push(format!("of at most {most}")),
        (least, u32::MAX) => words.push(format!("of at least {least}")),
        (least, most) => words.push(format!("from {least} to {most}")),
    }
    if stride.alignment > 1 {
        words.push(format!("in multiples of {}", stride.alignment));
    }
    (!words.is_empty()).then(|| format!("needs a stride {} bytes", words.join(" ")))
}
