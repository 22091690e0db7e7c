//! Constraints on the coded extent, and the ability of a participant to crop.
//!
//! ```text
//! ├──────────── coded width ─────────────┤
//! ├─ x ─┤├──── visible width ────┤          ─┬─
//! ┌──────────────────────────────────────┐   y
//! │      ┌───────────────────────┐       │  ─┴─ ─┬─
//! │      │        picture        │       │       visible height
//! │      └───────────────────────┘       │      ─┴─
//! └──────────────────────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::common_multiple::CommonMultiple;
use super::demand::Field;
use super::field_kind::{FieldKind, Lcm, Max, Min, Nested};
use super::field_table::{FieldTable, Phrase, Reason, field_table, group, merged_type};
use super::image::{MergedSide, SideConstraints};
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;

field_table! {
    plain;
    /// Constraints on the coded extent and on the position of the picture in it, in pixels. The [`Default`] demands nothing.
    ///
    /// The coded extent is the size that is passed to a device in VIDIOC_S_FMT, DRM_IOCTL_MODE_ADDFB2 or `VkImageCreateInfo`. The
    /// number of rows, the strides and the offsets of packed planes follow from it.
    CodedConstraints,
    /// The merged constraints on the coded extent.
    MergedCoded;

    /// The width of the coded extent.
    width: SideConstraints = SideConstraints::default(), Nested as MergedSide, "pixels", Extent, limits [];
    /// The height of the coded extent.
    height: SideConstraints = SideConstraints::default(), Nested as MergedSide, "pixels", Extent, limits [];
    /// The first column of the picture in the coded image.
    x: OffsetConstraints = OffsetConstraints::default(), Nested as MergedOffset, "pixels", Extent, limits [];
    /// The first row of the picture in the coded image.
    y: OffsetConstraints = OffsetConstraints::default(), Nested as MergedOffset, "pixels", Extent, limits [];
}

field_table! {
    plain;
    /// Constraints on the picture's first column or row, in pixels. The [`Default`] demands nothing.
    OffsetConstraints,
    /// The merged constraints on the picture's first column or row, in pixels.
    MergedOffset;

    /// The minimum column or row.
    minimum: u32 = 0, Max, "pixels", Extent, limits [Extent];
    /// The maximum column or row.
    maximum: u32 = u32::MAX, Min, "pixels", Extent, limits [Extent];
    /// The column or row has to be a multiple of this number.
    multiple_of: u32 = 1, Lcm, "pixels", Extent, limits [Extent];
}

/// A participant's ability to crop: the part of a coded image that it can read or write without the rest of the image.
///
/// The value is not merged. If the coded extent is larger than the picture, every participant has to crop. A participant that
/// accesses the pixels with the CPU can always crop, because software chooses the pixels that it reads and writes. A participant
/// whose [`CodedConstraints`] demand such an extent can also crop it. A compositor has to be able to crop like other
/// participants, because it gets a buffer of the coded extent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The participant reads or writes every coded pixel, so the coded extent has to be equal to the picture's size.
    #[default]
    None,
    /// The participant reads or writes a rectangle that begins in the first row and column. An example is a camera that writes
    /// fewer rows than the buffer has.
    TopLeft,
    /// The participant can read or write any rectangle: with a KMS plane's source rectangle, texture coordinates, a viewport, or
    /// VIDIOC_S_SELECTION. [`CodedConstraints`] has the alignment of the rectangle's corner.
    Anywhere,
}

impl Crop {
    /// Returns whether this is [`Crop::None`].
    #[must_use]
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls this function with a reference"
    )]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Describes the demand of this value, as a clause that follows the participant's name; `None` if the participant can crop
    /// anywhere.
    pub(super) fn describe(self) -> Option<&'static str> {
        match self {
            Self::None => Some("cannot crop, and needs a coded size equal to the picture's"),
            Self::TopLeft => Some("crops only from the top left corner"),
            Self::Anywhere => None,
        }
    }
}

impl CodedConstraints {
    /// Returns whether these constraints may need a coded extent that is larger than the picture. Constraints with only maximum
    /// values never need one.
    pub(crate) fn pads(&self) -> bool {
        let side = |own: &SideConstraints| own.minimum > 1 || own.multiple_of > 1;
        side(&self.width) || side(&self.height) || self.x.minimum > 0 || self.y.minimum > 0
    }

    /// Returns the smallest ability to crop that a participant with these constraints must have.
    pub(crate) fn crop(&self) -> Crop {
        match self {
            _ if !self.pads() => Crop::None,
            _ if self.x.minimum > 0 || self.y.minimum > 0 => Crop::Anywhere,
            _ => Crop::TopLeft,
        }
    }

    /// Describes the constraints as a phrase that follows the participant's name; `None` if they demand nothing.
    pub(super) fn describe(&self) -> Option<Phrase> {
        let values = |least: u32, free: u32, most: u32, step: u32| {
            let range = match (least, most) {
                (least, u32::MAX) if least <= free => String::new(),
                (least, most) if least == most => format!(" of {least}"),
                (least, u32::MAX) => format!(" of at least {least}"),
                (least, most) if least <= free => format!(" of at most {most}"),
                (least, most) => format!(" from {least} to {most}"),
            };
            let step = match step {
                0 | 1 => String::new(),
                step => format!(" in multiples of {step}"),
            };
            Some(format!("{range}{step}")).filter(|words| !words.is_empty())
        };
        let side = |name: &str, own: &SideConstraints| {
            let words = values(own.minimum, 1, own.maximum, own.multiple_of)?;
            Some(format!("a coded {name}{words}"))
        };
        let offset = |name: &str, own: &OffsetConstraints| {
            let words = values(own.minimum, 0, own.maximum, own.multiple_of)?;
            Some(format!("a first {name} of the picture{words}"))
        };
        let all = [
            side("width", &self.width),
            side("height", &self.height),
            offset("column", &self.x),
            offset("row", &self.y),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| Phrase::standalone(format!("needs {}", all.join(" and "))))
    }
}

impl MergedCoded {
    /// Adds the reasons why the coded extent has its size and the picture its position.
    pub(super) fn add_reasons<'m>(&'m self, reasons: &mut Vec<Reason<'m>>) {
        let mut add = |words: String, owners: &'m Owners| {
            if !owners.is_empty() {
                reasons.push(Reason {
                    order: Reason::order_of("pixels", Some(Field::Extent)),
                    field: Some(Field::Extent),
                    words,
                    owners,
                });
            }
        };
        for (name, side) in [("width", &self.width), ("height", &self.height)] {
            let step = &side.multiple_of;
            add(
                format!("a coded {name} in multiples of {}", step.value),
                &step.owners,
            );
            let least = &side.minimum;
            add(
                format!("a coded {name} of at least {}", least.value),
                &least.owners,
            );
        }
        for (name, offset) in [("column", &self.x), ("row", &self.y)] {
            let step = &offset.multiple_of;
            let words = format!(
                "the first {name} of the picture at a multiple of {}",
                step.value
            );
            add(words, &step.owners);
            let least = &offset.minimum;
            let words = format!(
                "the first {name} of the picture at {} or later",
                least.value
            );
            add(words, &least.owners);
        }
    }
}
