//! Constraints on an image's layout: width and height, strides, plane offsets and memory sizes.
//!
//! `DESIGN.md` describes how to add a field.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::coded::{CodedConstraints, Crop, MergedCoded};
use super::common_multiple::CommonMultiple;
use super::demand::Field;
use super::field_kind::{
    Agree, AgreeValue, FieldKind, Lcm, Max, Min, Nested, NotMerged, Optional, Or, PerParticipant,
    Union,
};
use super::field_table::{FieldTable, Phrase, Reason, apply, field_table, group, merged_type};
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;
use crate::reading::{ExtraFields, keeps_extra_fields};

field_table! {
    kept;
    /// Constraints on an image's layout. The [`Default`] demands nothing.
    ImageConstraints,
    /// The merged image constraints of several participants.
    MergedImage;

    /// The width of the picture in pixels. It is also the coded width, unless `coded` demands a larger one.
    width: SideConstraints = SideConstraints::default(), Nested as MergedSide, "pixels", Extent, limits [],
        describe |own, _| own.describe_sides();
    /// The height of the picture in pixels. It is also the coded height, unless `coded` demands a larger one.
    height: SideConstraints = SideConstraints::default(), Nested as MergedSide, "pixels", Extent, limits [];
    /// The number of bytes from one row to the next.
    stride: StrideConstraints = StrideConstraints::default(), Nested as MergedStride, "bytes", Stride, limits [];
    /// Each plane's offset is a multiple of this many bytes.
    offset_alignment_bytes: u64 = 1, Lcm, "bytes", Offset, limits [],
        describe |own, _| {
            let step = own.offset_alignment_bytes;
            (step > 1).then(|| Phrase::standalone(format!("planes to begin at multiples of {step} bytes")))
        },
        reason |step| Some(format!("plane offsets in multiples of {step} bytes"));
    /// Each plane's size is a multiple of this many bytes.
    plane_size_alignment_bytes: u64 = 1, Lcm, "bytes", Size, limits [Size],
        describe |own, _| {
            let step = own.plane_size_alignment_bytes;
            (step > 1).then(|| Phrase::standalone(format!("plane sizes in multiples of {step} bytes")))
        },
        reason |step| Some(format!("plane sizes in multiples of {step} bytes"));
    /// The image has memory for a multiple of this many rows of luma, and a chroma plane for the corresponding rows. Codecs that
    /// write whole blocks below the image need this. It does not change the size that is passed to devices, as `coded.height`
    /// does. It does not limit the sizes of pictures, as `height.multiple_of` does.
    rows_multiple_of: u32 = 1, Lcm, "rows", Size, limits [Size],
        describe |own, _| {
            let step = own.rows_multiple_of;
            (step > 1)
                .then(|| Phrase::standalone(format!("memory for a multiple of {step} rows")))
        },
        reason |step| Some(format!("memory for a multiple of {step} rows"));
    /// Each dma-buf's size is a multiple of this many bytes.
    size_alignment_bytes: u64 = 1, Lcm, "bytes", Size, limits [Size],
        describe |own, _| {
            let step = own.size_alignment_bytes;
            (step > 1).then(|| Phrase::bytes(format!("in multiples of {step}")).with_order(0))
        },
        reason |step| Some(format!("memory in multiples of {step} bytes"));
    /// The minimum sum of the sizes of an image's dma-bufs, in bytes.
    minimum_size_bytes: u64 = 0, Max, "bytes", Size, limits [Size],
        describe |own, _| {
            let least = own.minimum_size_bytes;
            (least > 0).then(|| Phrase::bytes(format!("of at least {least}")))
        },
        reason |least| Some(format!("memory of at least {least} bytes"));
    /// The maximum sum of the sizes of an image's dma-bufs, in bytes.
    maximum_size_bytes: u64 = u64::MAX, Min, "bytes", Size, limits [Size],
        describe |own, _| {
            let most = own.maximum_size_bytes;
            (most < u64::MAX).then(|| Phrase::bytes(format!("of at most {most}")))
        },
        reason |most| Some(format!("memory of at most {most} bytes"));
    /// Bytes of padding in each dma-buf before its first plane.
    padding_before_bytes: u64 = 0, Max, "bytes", Offset, limits [Size],
        describe |own, _| {
            let bytes = own.padding_before_bytes;
            (bytes > 0).then(|| Phrase::standalone(format!("{bytes} bytes of padding before the first plane")))
        },
        reason |bytes| Some(format!("{bytes} bytes of padding before the image"));
    /// Bytes of padding after the last plane, for importers that need more memory than the image does.
    padding_bytes: u64 = 0, Max, "bytes", Size, limits [Size],
        describe |own, _| {
            let bytes = own.padding_bytes;
            (bytes > 0).then(|| Phrase::standalone(format!("{bytes} bytes of padding after the image")))
        },
        reason |bytes| Some(format!("{bytes} bytes of padding after the image"));
    /// The maximum number of planes that an image may have.
    maximum_planes: u32 = u32::MAX, Min, "planes", Planes, limits [Planes],
        describe |own, _| {
            let most = own.maximum_planes;
            (most < u32::MAX)
                .then(|| Phrase::standalone(format!("accepts at most {most} planes")).with_order(2))
        };
    /// Whether planes follow each other without a gap. The first plane of a dma-buf starts at offset 0, and each further plane
    /// starts at stride × rows after the plane before it. V4L2's single-planar API lays out images in this way.
    packed_planes: bool = false, Or, "", Planes, limits [Stride, Size],
        describe |own, _| {
            let words = "needs planes without a gap between them";
            own.packed_planes.then(|| Phrase::standalone(words).with_order(1))
        },
        reason |is_asked| is_asked.then(|| "planes without a gap between them".to_owned());
    /// Whether all planes share one dma-buf, or each plane has a dma-buf of its own.
    placement: PlanePlacement = PlanePlacement::Either, Agree, "", Planes, limits [Planes],
        describe |own, _| {
            let words = match own.placement {
                PlanePlacement::Either => return None,
                PlanePlacement::Together => "needs all planes in one dma-buf",
                PlanePlacement::Disjoint => "needs a dma-buf for each plane",
                PlanePlacement::SinglePlane => "accepts only formats with one plane",
            };
            Some(Phrase::standalone(words).with_order(0))
        },
        reason |placement| match placement {
            PlanePlacement::Together => Some("all planes in one dma-buf".to_owned()),
            PlanePlacement::Disjoint => Some("a dma-buf for each plane".to_owned()),
            PlanePlacement::Either | PlanePlacement::SinglePlane => None,
        };
    /// Constraints on the coded extent, which contains the picture.
    coded: Option<CodedConstraints> = None, Optional as MergedCoded, "pixels", Extent, limits [],
        omitted "Option::is_none",
        describe |own, _| own.coded.as_ref().and_then(CodedConstraints::describe);
    /// There is memory for so many further rows of luma, below the rows that `rows_multiple_of` demands. A chroma plane has
    /// memory for the corresponding rows.
    padding_rows: u32 = 0, Max, "rows", Size, limits [Size], omitted "is_zero_rows",
        describe |own, _| {
            let rows = own.padding_rows;
            (rows > 0).then(|| Phrase::standalone(format!("memory for {rows} more rows")))
        },
        reason |rows| Some(format!("memory for {rows} more rows"));
    /// The number of bytes after the last plane for each block of 16x16 pixels of the coded extent, including incomplete blocks.
    /// Decoders keep the motion vectors of a picture there. They are needed in addition to `padding_bytes`.
    padding_bytes_per_macroblock: u64 = 0, Max, "bytes", Size, limits [Size], omitted "is_zero",
        describe |own, _| {
            let bytes = own.padding_bytes_per_macroblock;
            let words = || format!("{bytes} bytes after the image for each block of 16x16 pixels");
            (bytes > 0).then(|| Phrase::standalone(words()))
        },
        reason |bytes| Some(format!("{bytes} bytes after the image for each block of 16x16 pixels"));
    /// The part of a coded image that the participant can read or write without the rest. A format may have its own value in
    /// `per_fourcc`; the wider of that value and the one for all formats applies.
    crop: Crop = Crop::None, PerParticipant, "", Preference, limits [],
        omitted "Crop::is_none";
}

field_table! {
    plain;
    /// Constraints on the width or height of an image, in pixels. The [`Default`] demands nothing.
    SideConstraints,
    /// The merged constraints on the width or height of an image, in pixels.
    MergedSide;

    /// The minimum width or height.
    minimum: u32 = 1, Max, "pixels", Extent, limits [Extent];
    /// The maximum width or height.
    maximum: u32 = u32::MAX, Min, "pixels", Extent, limits [Extent];
    /// The width or height has to be a multiple of this number.
    multiple_of: u32 = 1, Lcm, "pixels", Extent, limits [Extent];
}

field_table! {
    plain;
    /// Constraints and preferences on strides, in bytes. The [`Default`] has none.
    ///
    /// Bounds and preferences apply to the first plane, and the other strides follow from its stride. `alignment` applies to
    /// every plane, as GPUs require it. `first_plane_alignment` applies only to the first plane, as for V4L2's `bytesperline`. In
    /// addition, every stride is a multiple of its plane's block size if that is a power of two; other bounds are rounded inward.
    StrideConstraints,
    /// The merged constraints and preferences on strides, in bytes.
    MergedStride;

    /// The minimum stride of the first plane.
    minimum: u32 = 0, Max, "bytes", Stride, limits [Stride],
        describe |own, _| Some(Phrase::bytes(match (own.minimum, own.maximum) {
            (0, u32::MAX) => return None,
            (least, most) if least == most => format!("of exactly {least}"),
            (0, most) => format!("of at most {most}"),
            (least, u32::MAX) => format!("of at least {least}"),
            (least, most) => format!("from {least} to {most}"),
        })),
        reason |least| Some(format!("stride at least {least} bytes"));
    /// The maximum stride of the first plane.
    maximum: u32 = u32::MAX, Min, "bytes", Stride, limits [Stride],
        reason |most| Some(format!("stride at most {most} bytes"));
    /// The stride of every plane is a multiple of this number.
    alignment: u32 = 1, Lcm, "bytes", Stride, limits [Stride],
        describe |own, _| {
            let step = own.alignment;
            (step > 1).then(|| Phrase::bytes(format!("in multiples of {step}")))
        },
        reason |step| Some(format!("strides in multiples of {step} bytes"));
    /// The stride of the first plane is a multiple of this number. The strides of the other planes follow from it, and need not
    /// be multiples.
    first_plane_alignment: u32 = 1, Lcm, "bytes", Stride, limits [Stride],
        describe |own, _| {
            let step = own.first_plane_alignment;
            let words = || format!("a stride of the first plane in multiples of {step} bytes");
            (step > 1).then(|| Phrase::standalone(words()).with_order(0))
        },
        reason |step| Some(format!("stride of the first plane in multiples of {step} bytes"));
    /// Whether rows have no padding: the stride of each plane is equal to the number of bytes in its row.
    packed: bool = false, Or, "", Stride, limits [Stride],
        describe |own, _| own.packed.then(|| Phrase::standalone("rows without a gap between them")),
        reason |is_asked| is_asked.then(|| "rows without a gap between them".to_owned());
    /// The stride of the first plane is the number of bytes in its row, rounded up to a multiple of each of these numbers and no
    /// further. Drivers that set `bytesperline` themselves demand this. A number of 0 counts as 1.
    rounded_up_to: BTreeSet<u32> = BTreeSet::new(), Union, "bytes", Stride, limits [Stride], omitted "BTreeSet::is_empty",
        describe |own, _| {
            let steps = listed(&own.rounded_up_to);
            let words = || format!("rows that are rounded up to {steps} bytes and no further");
            (!own.rounded_up_to.is_empty()).then(|| Phrase::standalone(words()))
        },
        reason |steps| Some(format!("rows rounded up to {} bytes and no further", listed(steps)));
    /// The stride of the first plane is preferably a multiple of this number.
    preferred_alignment: u32 = 1, Lcm, "bytes", Preference, limits [],
        reason |step| Some(format!("strides preferably in multiples of {step} bytes"));
    /// Strides of the first plane that are preferred to all others.
    preferred: BTreeSet<u32> = BTreeSet::new(), Union, "bytes", Preference, limits [];
    /// The stride of the first plane is preferably no multiple of any of these numbers.
    avoided_multiples: BTreeSet<u32> = BTreeSet::new(), Union, "bytes", Preference, limits [];
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
)]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
)]
fn is_zero_rows(rows: &u32) -> bool {
    *rows == 0
}

/// Joins numbers by "and".
fn listed(steps: &BTreeSet<u32>) -> String {
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    steps.join(" and ")
}

impl ImageConstraints {
    fn describe_sides(&self) -> Option<Phrase> {
        let free = SideConstraints::default();
        (self.width != free || self.height != free).then(|| {
            Phrase::standalone(format!(
                "needs a width {} and a height {}",
                self.width.describe(),
                self.height.describe()
            ))
        })
    }
}

impl ImageConstraints {
    /// Returns whether these constraints demand a placement of planes that the tiled layouts of a source do not have.
    /// `packed_planes` is not checked, because it is a rule about rows, and tiled images have no rows.
    pub(crate) fn demands_other_placement(&self, source: &Self) -> bool {
        self.placement != PlanePlacement::Either && self.placement != source.placement
    }

    /// Returns whether these constraints demand something of the memory size of a tiled image that a source of at least `given`
    /// bytes may not satisfy. Constraints on rows and strides are not checked, because the driver chooses both for tiles.
    pub(crate) fn demands_tiled_size(&self, given: u64) -> bool {
        self.size_alignment_bytes > 1
            || self.minimum_size_bytes > given
            || self.maximum_size_bytes < u64::MAX
            || self.padding_bytes > 0
            || self.padding_bytes_per_macroblock > 0
    }
}

impl SideConstraints {
    /// Makes constraints that demand exactly this many pixels.
    pub fn exactly(pixels: u32) -> Self {
        Self {
            minimum: pixels,
            maximum: pixels,
            multiple_of: 1,
        }
    }

    fn describe(&self) -> String {
        let steps = if self.multiple_of > 1 {
            format!(" in multiples of {}", self.multiple_of)
        } else {
            String::new()
        };
        match (self.minimum, self.maximum) {
            (1 | 0, u32::MAX) => format!("of any size{steps}"),
            (least, most) if least == most => format!("of {least}"),
            (least, u32::MAX) => format!("of at least {least}{steps}"),
            (least, most) => format!("from {least} to {most}{steps}"),
        }
    }
}

impl MergedImage {
    /// Returns the owners of those constraints that may be the reason why no layout satisfies the demands on a field.
    pub(crate) fn limiting_owners(&self, field: Field) -> Owners {
        let mut owners = Owners::default();
        ImageConstraints::add_limiting_owners(self, field, &mut owners);
        owners
    }

    /// Returns the reasons that the merged constraints give for a plan's layout.
    pub(crate) fn reasons(&self) -> Vec<Reason<'_>> {
        let mut reasons = Vec::new();
        <ImageConstraints as FieldTable>::reasons(self, &mut reasons);
        if let Some(coded) = &self.coded {
            coded.add_reasons(&mut reasons);
        }
        reasons.sort_by_key(|reason| reason.order);
        reasons
    }
}

/// The number of dma-bufs in which an image's planes are. A single-plane format satisfies every placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanePlacement {
    /// The planes share a dma-buf, or each plane has a dma-buf of its own.
    #[default]
    Either,
    /// All planes share one dma-buf.
    Together,
    /// Each plane has a dma-buf of its own ("disjoint" in Vulkan).
    #[serde(rename = "apart")]
    Disjoint,
    /// Both placements are demanded, which only a single-plane format satisfies.
    #[serde(rename = "neither")]
    SinglePlane,
}

impl PlanePlacement {
    /// Merges the placements that two participants demand.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Either, one) | (one, Self::Either) => one,
            (one, two) if one == two => one,
            _ => Self::SinglePlane,
        }
    }
}

impl AgreeValue for PlanePlacement {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }

    fn is_demand(self) -> bool {
        self != Self::Either
    }
}
