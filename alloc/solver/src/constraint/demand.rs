//! Demands. A demand is one participant's constraint on one field, and a conflict is a set of demands.

use std::fmt;

use serde::Serialize;

use super::coded::{CodedConstraints, Crop};
use super::field_table::FieldTable;
use super::image::ImageConstraints;
use super::participant::{Constraints, Participant, Role};
use crate::model::Fourcc;
use crate::reading::ExtraFields;
use crate::text::printable;

/// The maximum number of formats that the description of a demand names. Further formats are only counted.
const FORMATS_NAMED: usize = 4;

/// The field that a demand constrains. The fields are in the order of cost: the demand on the first field is the cheapest to give
/// up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// The sources that are permitted.
    Permitted,
    /// The number of buffers that are held at a time.
    Held,
    /// The number of planes, and the dma-bufs in which they are.
    Planes,
    /// The stride in bytes.
    Stride,
    /// The offset of planes in a dma-buf.
    Offset,
    /// The sizes of planes and dma-bufs.
    Size,
    /// The part of a coded image that can be read or written without the rest of the image.
    Crop,
    /// The width and height of the picture and of the coded image.
    Extent,
    /// The pixel formats and modifiers.
    Formats,
    /// The frequency of reads or writes by the CPU.
    Cpu,
    /// The way in which accesses by the CPU become visible to devices.
    Coherency,
    /// The devices and sources whose memory is imported.
    Imports,
    /// Whether the memory of the participant's device can be exported.
    Exports,
    /// Whether memory has to be physically contiguous.
    Contiguity,
    /// The addresses that the device reaches.
    Address,
    /// Whether memory is protected.
    Protection,
    /// A field that a newer version wrote. This version does not know its meaning.
    Unknown,
}

impl Field {
    /// The fields that constrain images.
    pub(crate) const OF_IMAGES: [Self; 5] = [
        Self::Planes,
        Self::Stride,
        Self::Offset,
        Self::Size,
        Self::Extent,
    ];

    /// All fields; the demand on the first field is the cheapest to give up.
    pub const ALL: [Self; 17] = [
        Self::Permitted,
        Self::Held,
        Self::Planes,
        Self::Stride,
        Self::Offset,
        Self::Size,
        Self::Crop,
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

/// A demand of one participant on one field, with a description for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Demand {
    /// The field that is constrained.
    pub field: Field,
    /// The name of the participant that has the demand.
    pub owner: String,
    /// The demand as a clause that follows the owner's name, such as `needs physically contiguous memory`.
    pub words: String,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of participants, sources and devices are not trusted, so control characters are replaced.
        let (owner, words) = (printable(&self.owner), printable(&self.words));
        write!(f, "{owner} {words}")
    }
}

impl Participant {
    /// Returns the participant's demands, one for each field in which it does not accept everything; the cheapest to give up
    /// first.
    ///
    /// [`Field::Crop`] is left out. Whether a participant can crop matters only if another participant needs a coded extent that
    /// is larger than the picture.
    pub fn demands(&self) -> Vec<Demand> {
        Field::ALL
            .into_iter()
            .filter(|field| *field != Field::Crop)
            .filter_map(|field| self.demand(field))
            .collect()
    }

    /// Returns the participant's demand on one field; `None` if it accepts any value.
    pub fn demand(&self, field: Field) -> Option<Demand> {
        Some(Demand {
            field,
            owner: self.name.clone(),
            words: self.describe(field)?,
        })
    }

    /// Returns whether any alternative of the participant has a demand on this field.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        (field == Field::Unknown && !self.extra_fields.required().is_empty())
            || self.choices().any(|choice| choice.demands_field(field))
    }

    /// Removes all demands on one field from all alternatives.
    pub fn relax(&mut self, field: Field) {
        self.for_each_choice(|choice| choice.relax(field));
        if field == Field::Unknown {
            self.extra_fields = ExtraFields::default();
        }
    }

    /// Describes the demand on a field; `None` if there is no demand.
    fn describe(&self, field: Field) -> Option<String> {
        if field == Field::Unknown {
            let own = self.extra_fields.required().into_iter();
            let all = own.chain(self.choices().flat_map(Constraints::extra_field_names));
            let mut names: Vec<_> = all.collect();
            names.sort_unstable();
            names.dedup();
            return (!names.is_empty()).then(|| {
                format!(
                    "requires {}, which this version of the solver does not know",
                    names.join(", ")
                )
            });
        }
        if field == Field::Crop {
            return self.describe_crop();
        }
        let mut words: Vec<_> = self
            .choices()
            .map(|choice| choice.describe(self.role, field))
            .collect();
        words.dedup();
        let words: Vec<_> = words
            .iter()
            .map(|words| words.as_deref().unwrap_or("accepts any value"))
            .collect();
        (self.demands_field(field)).then(|| words.join(", or else "))
    }

    /// Describes the participant's ability to crop in the alternative with the smallest ability; `None` for [`Crop::Anywhere`].
    fn describe_crop(&self) -> Option<String> {
        if !self.limits_crop() {
            return None;
        }
        let least = self.choices().filter(|choice| choice.limits_crop());
        let least = least.map(Constraints::least_crop).min()?;
        least.describe().map(str::to_owned)
    }

    /// Returns whether an alternative may have a lesser ability to crop than [`Crop::Anywhere`]. A participant that uses the CPU
    /// can always crop, because software chooses the pixels that it reads and writes.
    pub(crate) fn limits_crop(&self) -> bool {
        !matches!(self.role, Role::CpuRead | Role::CpuWrite)
            && self.choices().any(Constraints::limits_crop)
    }
}

impl Constraints {
    /// Removes the demands on one field.
    pub fn relax(&mut self, field: Field) {
        match field {
            Field::Held => {
                self.buffers_held = 0;
                self.own_memory = Vec::new();
            }
            Field::Formats => self.formats = None,
            Field::Crop => self.image.crop = Crop::Anywhere,
            Field::Extent => {
                // A participant that demands a coded extent can crop to the picture. After the demand is removed, it can still
                // crop the rows and columns that other participants add.
                let images = std::iter::once(&mut self.image).chain(self.per_fourcc.values_mut());
                for image in images {
                    let own = image
                        .coded
                        .as_ref()
                        .map_or(Crop::None, CodedConstraints::crop);
                    image.crop = image.crop.max(own);
                }
            }
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

    /// Returns whether there is a demand on this field.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        match field {
            Field::Held => self.buffers_held > 0 || !self.own_memory.is_empty(),
            Field::Formats => self.formats.is_some(),
            Field::Unknown => self.extra_field_names().next().is_some(),
            _ if Field::OF_IMAGES.contains(&field) => self
                .images()
                .any(|constraints| constraints.demands_field(field)),
            _ => self.memory.demands_field(field),
        }
    }

    /// Returns whether the ability to crop may be less than [`Crop::Anywhere`] for images of some format.
    pub(crate) fn limits_crop(&self) -> bool {
        self.image.crop != Crop::Anywhere
    }

    /// Returns the participant's ability to crop images of a format. A participant that demands a coded extent can crop the rows
    /// and columns that its own demand adds.
    pub(crate) fn crop(&self, fourcc: Fourcc) -> Crop {
        let all = std::iter::once(&self.image).chain(self.per_fourcc.get(&fourcc));
        let crops = all.map(|image| {
            let own = image
                .coded
                .as_ref()
                .map_or(Crop::None, CodedConstraints::crop);
            image.crop.max(own)
        });
        crops.max().unwrap_or_default()
    }

    /// Returns whether the two constraints differ in the ability to crop images of some format.
    pub(crate) fn differs_in_crop(&self, other: &Self) -> bool {
        let crops = |own: &Self| {
            let formats = own
                .per_fourcc
                .keys()
                .map(|fourcc| (*fourcc, own.crop(*fourcc)));
            (own.crop(Fourcc(0)), formats.collect::<Vec<_>>())
        };
        crops(self) != crops(other)
    }

    /// Returns the smallest ability to crop among all formats.
    fn least_crop(&self) -> Crop {
        let formats = self.per_fourcc.keys().map(|fourcc| self.crop(*fourcc));
        let least = formats.min().filter(|crop| *crop != Crop::Anywhere);
        least.unwrap_or(self.image.crop)
    }

    /// Returns whether these constraints may need a coded extent that is larger than the picture.
    pub(crate) fn pads(&self) -> bool {
        self.images()
            .any(|image| image.coded.as_ref().is_some_and(CodedConstraints::pads))
    }

    /// Returns the constraints on images: first those on every image, then those on each format.
    fn images(&self) -> impl Iterator<Item = &ImageConstraints> {
        std::iter::once(&self.image).chain(self.per_fourcc.values())
    }

    /// Returns the names of the demands that this version does not know. An unknown version of the constraints is such a demand,
    /// because in that version any field may have another meaning.
    pub(crate) fn extra_field_names(&self) -> impl Iterator<Item = String> {
        let version = (!(1..=Self::VERSION).contains(&self.version))
            .then(|| format!("constraints of version {}", self.version));
        let fields = [&self.extra_fields, &self.memory.extra_fields]
            .into_iter()
            .chain(self.images().map(|constraints| &constraints.extra_fields))
            .filter(|extra_fields| !extra_fields.is_empty())
            .flat_map(ExtraFields::required);
        version.into_iter().chain(fields)
    }

    /// Describes how many buffers are held at a time, and the memory that the device allocates for itself.
    fn describe_held(&self) -> String {
        let held = match self.buffers_held {
            0 => None,
            1 => Some("holds one buffer at a time".to_owned()),
            held => Some(format!("holds {held} buffers at a time")),
        };
        let mut pools: Vec<&str> = self
            .own_memory
            .iter()
            .map(|own| own.pool.as_str())
            .collect();
        pools.dedup();
        let rest = pools.len().saturating_sub(FORMATS_NAMED);
        pools.truncate(FORMATS_NAMED);
        let own = (!pools.is_empty()).then(|| {
            let more = if rest == 0 { "" } else { " and others" };
            format!("allocates memory of {}{more} for itself", pools.join(", "))
        });
        let both: Vec<String> = held.into_iter().chain(own).collect();
        both.join(" and ")
    }

    /// Describes the demand on a field; `None` if there is none.
    fn describe(&self, role: Role, field: Field) -> Option<String> {
        if !self.demands_field(field) {
            return None;
        }
        match field {
            Field::Held => Some(self.describe_held()),
            Field::Formats => self.formats.as_ref().map(|formats| {
                let names: Vec<_> = formats
                    .iter()
                    .take(FORMATS_NAMED)
                    .map(|format| format.to_string())
                    .collect();
                match (names.is_empty(), formats.len().saturating_sub(names.len())) {
                    (true, _) => "accepts no format".to_owned(),
                    (false, 0) => format!("accepts only {}", names.join(", ")),
                    (false, rest) => format!("accepts only {} and {rest} more", names.join(", ")),
                }
            }),
            // `Participant::describe` describes the unknown fields of all alternatives together with those of the participant
            // itself.
            Field::Unknown => None,
            _ if Field::OF_IMAGES.contains(&field) => {
                let mut words: Vec<_> = self
                    .images()
                    .filter_map(|constraints| constraints.describe(role, field))
                    .collect();
                words.dedup();
                let rest = words.len().saturating_sub(3);
                words.truncate(3);
                let all = words.join(" or ");
                match (words.len(), rest) {
                    (0, _) => None,
                    (1, _) => Some(all),
                    (_, 0) => Some(format!("{all}, depending on the format")),
                    _ => Some(format!(
                        "{all} or {rest} other constraints, depending on the format"
                    )),
                }
            }
            _ => self.memory.describe(role, field),
        }
    }
}
