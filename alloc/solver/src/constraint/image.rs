//! What is asked of the picture: its sides, its strides, where planes begin and how much memory is behind them.
//!
//! `DESIGN.md` says how to add a field.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::common_multiple::CommonMultiple;
use super::demand::Field;
use super::field_table::{Clause, FieldTable, Reason, field_table, group, merged_type, said};
use super::kind::{Agree, Answer, Kind, Lcm, Max, Min, Or, Union, Within};
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;
use crate::reading::{ExtraFields, keeps_extra_fields};

field_table! {
    kept;
    /// Demands on a picture's layout. [`Default`] demands nothing.
    ImageConstraints,
    /// What several ask of a picture.
    MergedImage;

    /// Width in pixels.
    width: SideConstraints = SideConstraints::default(), Within as MergedSide, "pixels", Extent, blamed for [],
        says |own, _| own.sides_words();
    /// Height in pixels.
    height: SideConstraints = SideConstraints::default(), Within as MergedSide, "pixels", Extent, blamed for [];
    /// Bytes from row to row.
    stride: StrideConstraints = StrideConstraints::default(), Within as MergedStride, "bytes", Stride, blamed for [];
    /// Where planes may begin: multiples of this many bytes.
    offset_alignment_bytes: u64 = 1, Lcm, "bytes", Offset, blamed for [],
        says |own, _| {
            let step = own.offset_alignment_bytes;
            (step > 1).then(|| Clause::whole(format!("planes to begin at multiples of {step} bytes")))
        },
        reason |step| Some(format!("plane offsets in multiples of {step} bytes"));
    /// How large each plane's share of memory may be: multiples of this many bytes.
    plane_size_alignment_bytes: u64 = 1, Lcm, "bytes", Size, blamed for [Size],
        says |own, _| {
            let step = own.plane_size_alignment_bytes;
            (step > 1).then(|| Clause::amount(format!("in multiples of {step} for each plane")).at(1))
        },
        reason |step| Some(format!("planes in multiples of {step} bytes"));
    /// Each plane has memory for a multiple of this many rows, as for codecs that write whole blocks below the picture.
    rows_multiple_of: u32 = 1, Lcm, "rows", Size, blamed for [Size],
        says |own, _| {
            let step = own.rows_multiple_of;
            (step > 1)
                .then(|| Clause::whole(format!("memory for a multiple of {step} rows in each plane")))
        },
        reason |step| Some(format!("memory for a multiple of {step} rows in each plane"));
    /// How large memories may be: multiples of this many bytes.
    size_alignment_bytes: u64 = 1, Lcm, "bytes", Size, blamed for [Size],
        says |own, _| {
            let step = own.size_alignment_bytes;
            (step > 1).then(|| Clause::amount(format!("in multiples of {step}")).at(0))
        },
        reason |step| Some(format!("memory in multiples of {step} bytes"));
    /// The least size of all memories together, in bytes.
    minimum_size_bytes: u64 = 0, Max, "bytes", Size, blamed for [Size],
        says |own, _| {
            let least = own.minimum_size_bytes;
            (least > 0).then(|| Clause::amount(format!("at least {least}")))
        },
        reason |least| Some(format!("memory of at least {least} bytes"));
    /// The greatest size of all memories together, in bytes.
    maximum_size_bytes: u64 = u64::MAX, Min, "bytes", Size, blamed for [Size],
        says |own, _| {
            let most = own.maximum_size_bytes;
            (most < u64::MAX).then(|| Clause::amount(format!("at most {most}")))
        },
        reason |most| Some(format!("memory of at most {most} bytes"));
    /// Bytes that must be there in each memory before its first plane.
    padding_before_bytes: u64 = 0, Max, "bytes", Offset, blamed for [Size],
        says |own, _| {
            let bytes = own.padding_before_bytes;
            (bytes > 0).then(|| Clause::whole(format!("{bytes} bytes before the first plane")))
        },
        reason |bytes| Some(format!("padding before the picture of {bytes} bytes"));
    /// Bytes that must be there behind the last plane, as for importers that demand more than the image needs.
    padding_bytes: u64 = 0, Max, "bytes", Size, blamed for [Size],
        says |own, _| {
            let bytes = own.padding_bytes;
            (bytes > 0).then(|| Clause::amount(format!("{bytes} behind the picture")))
        },
        reason |bytes| Some(format!("padding behind the picture of {bytes} bytes"));
    /// The most planes that a picture may have.
    maximum_planes: u32 = u32::MAX, Min, "planes", Planes, blamed for [Planes],
        says |own, _| {
            let most = own.maximum_planes;
            (most < u32::MAX)
                .then(|| Clause::whole(format!("takes pictures of at most {most} planes")).at(2))
        };
    /// Whether the first plane of a memory begins at its start, and each other where the one before it ends, stride by
    /// stride, as V4L2's single-planar API has it.
    packed_planes: bool = false, Or, "", Planes, blamed for [Stride, Size],
        says |own, _| {
            let words = "needs planes without a gap between them";
            own.packed_planes.then(|| Clause::whole(words).at(1))
        },
        reason |is_asked| is_asked.then(|| "planes without a gap between them".to_owned());
    /// Whether planes share one memory or have one each.
    placement: PlanePlacement = PlanePlacement::Either, Agree, "", Planes, blamed for [Planes],
        says |own, _| {
            let words = match own.placement {
                PlanePlacement::Either => return None,
                PlanePlacement::Together => "needs all planes in one dma-buf",
                PlanePlacement::Apart => "needs a dma-buf for each plane",
                PlanePlacement::Neither => "takes only pictures of one plane",
            };
            Some(Clause::whole(words).at(0))
        },
        reason |placement| match placement {
            PlanePlacement::Together => Some("all planes in one dma-buf".to_owned()),
            PlanePlacement::Apart => Some("a dma-buf for each plane".to_owned()),
            PlanePlacement::Either | PlanePlacement::Neither => None,
        };
}

field_table! {
    plain;
    /// Demands on one side of a picture, in pixels. [`Default`] demands nothing.
    SideConstraints,
    /// What several ask of one side of a picture, in pixels.
    MergedSide;

    /// The least.
    minimum: u32 = 1, Max, "pixels", Extent, blamed for [Extent];
    /// The most.
    maximum: u32 = u32::MAX, Min, "pixels", Extent, blamed for [Extent];
    /// Steps in between.
    multiple_of: u32 = 1, Lcm, "pixels", Extent, blamed for [Extent];
}

field_table! {
    plain;
    /// Demands and wishes on strides, in bytes. [`Default`] has none.
    ///
    /// Bounds and wishes are the first plane's, the others follow from it; the alignment holds for every plane. Whatever is asked,
    /// a plane's stride is a whole number of its pixels, where these have a power of two of bytes; bounds in between are taken inward.
    StrideConstraints,
    /// What several ask and wish of strides, in bytes.
    MergedStride;

    /// The least, of the first plane.
    minimum: u32 = 0, Max, "bytes", Stride, blamed for [Stride],
        says |own, _| Some(Clause::amount(match (own.minimum, own.maximum) {
            (0, u32::MAX) => return None,
            (least, most) if least == most => format!("of exactly {least}"),
            (0, most) => format!("of at most {most}"),
            (least, u32::MAX) => format!("of at least {least}"),
            (least, most) => format!("from {least} to {most}"),
        })),
        reason |least| Some(format!("stride at least {least} bytes"));
    /// The most, of the first plane.
    maximum: u32 = u32::MAX, Min, "bytes", Stride, blamed for [Stride],
        reason |most| Some(format!("stride at most {most} bytes"));
    /// Every plane's stride is a multiple of this.
    alignment: u32 = 1, Lcm, "bytes", Stride, blamed for [Stride],
        says |own, _| {
            let step = own.alignment;
            (step > 1).then(|| Clause::amount(format!("in multiples of {step}")))
        },
        reason |step| Some(format!("strides in multiples of {step} bytes"));
    /// Whether rows follow one another without a gap: each plane's stride is what its row needs, and no byte more.
    packed: bool = false, Or, "", Stride, blamed for [Stride],
        says |own, _| own.packed.then(|| Clause::whole("rows without a gap between them")),
        reason |is_asked| is_asked.then(|| "rows without a gap between them".to_owned());
    /// Multiples of this are better, of the first plane.
    preferred_alignment: u32 = 1, Lcm, "bytes", Preference, blamed for [],
        reason |step| Some(format!("strides better in multiples of {step} bytes"));
    /// These strides of the first plane are better than all others.
    preferred: BTreeSet<u32> = BTreeSet::new(), Union, "bytes", Preference, blamed for [];
    /// Multiples of these are worse, of the first plane.
    avoided_multiples: BTreeSet<u32> = BTreeSet::new(), Union, "bytes", Preference, blamed for [];
}

impl ImageConstraints {
    fn sides_words(&self) -> Option<Clause> {
        let free = SideConstraints::default();
        (self.width != free || self.height != free).then(|| {
            Clause::whole(format!(
                "needs a width {} and a height {}",
                self.width.words(),
                self.height.words()
            ))
        })
    }
}

impl SideConstraints {
    /// Demands this many pixels and no other.
    pub fn exactly(pixels: u32) -> Self {
        Self {
            minimum: pixels,
            maximum: pixels,
            multiple_of: 1,
        }
    }

    fn words(&self) -> String {
        let steps = if self.multiple_of > 1 {
            format!(" in steps of {}", self.multiple_of)
        } else {
            String::new()
        };
        match (self.minimum, self.maximum) {
            (1 | 0, u32::MAX) => format!("of any size{steps}"),
            (least, most) if least == most => format!("of {least}"),
            (least, u32::MAX) => format!("from {least}{steps}"),
            (least, most) => format!("from {least} to {most}{steps}"),
        }
    }
}

impl MergedImage {
    /// Returns who may be the reason that no layout meets the demands on a field.
    pub(crate) fn blamed(&self, field: Field) -> Owners {
        let mut owners = Owners::default();
        ImageConstraints::blame(self, field, &mut owners);
        owners
    }

    /// Returns what the demands make of a plan.
    pub(crate) fn reasons(&self) -> Vec<Reason<'_>> {
        let mut reasons = Vec::new();
        <ImageConstraints as FieldTable>::reasons(self, &mut reasons);
        reasons.sort_by_key(|reason| reason.place);
        reasons
    }
}

/// Whether a picture's planes share one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanePlacement {
    /// All in one, or one each.
    #[default]
    Either,
    /// All in one.
    Together,
    /// One each.
    Apart,
    /// Both at once, which only a single plane is.
    Neither,
}

impl PlanePlacement {
    /// Returns the placement that serves both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Either, one) | (one, Self::Either) => one,
            (one, two) if one == two => one,
            _ => Self::Neither,
        }
    }
}

impl Answer for PlanePlacement {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }

    fn is_demand(self) -> bool {
        self != Self::Either
    }
}
