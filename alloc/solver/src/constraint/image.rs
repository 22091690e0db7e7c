//! What is asked of the picture: its sides, its strides, where planes begin and how much memory is behind them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::reading::{Unknown, keeps_unknown};

keeps_unknown! {
    /// Demands on a picture's layout. [`Default`] demands nothing.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(default)]
    pub struct ImageTerms {
        /// Width in pixels.
        pub width: SideTerms,
        /// Height in pixels.
        pub height: SideTerms,
        /// Bytes from row to row.
        pub stride: StrideTerms,
        /// Where planes may begin: multiples of this many bytes.
        pub offset_alignment_bytes: u64,
        /// How large each plane's share of memory may be: multiples of this many bytes.
        pub plane_size_alignment_bytes: u64,
        /// Each plane has memory for a multiple of this many rows, as for codecs that write whole blocks below the picture.
        pub rows_multiple_of: u32,
        /// How large memories may be: multiples of this many bytes.
        pub size_alignment_bytes: u64,
        /// The least size of all memories together, in bytes.
        pub minimum_size_bytes: u64,
        /// The greatest size of all memories together, in bytes.
        pub maximum_size_bytes: u64,
        /// Bytes that must be there in each memory before its first plane.
        pub padding_before_bytes: u64,
        /// Bytes that must be there behind the last plane, as for importers that demand more than the image needs.
        pub padding_bytes: u64,
        /// The most planes that a picture may have.
        pub maximum_planes: u32,
        /// Whether the first plane of a memory begins at its start, and each other where the one before it ends, stride by
        /// stride, as V4L2's single-planar API has it.
        pub packed_planes: bool,
        /// Whether planes share one memory or have one each.
        pub placement: PlanePlacement,
        /// Fields of a newer version, those of sides and strides too.
        #[serde(skip)]
        pub unknown: Unknown,
    }
}

impl Default for ImageTerms {
    fn default() -> Self {
        Self {
            width: SideTerms::default(),
            height: SideTerms::default(),
            stride: StrideTerms::default(),
            offset_alignment_bytes: 1,
            plane_size_alignment_bytes: 1,
            rows_multiple_of: 1,
            size_alignment_bytes: 1,
            minimum_size_bytes: 0,
            maximum_size_bytes: u64::MAX,
            padding_before_bytes: 0,
            padding_bytes: 0,
            maximum_planes: u32::MAX,
            packed_planes: false,
            placement: PlanePlacement::Either,
            unknown: Unknown::default(),
        }
    }
}

/// Demands on one side of a picture, in pixels. [`Default`] demands nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SideTerms {
    /// The least.
    pub minimum: u32,
    /// The most.
    pub maximum: u32,
    /// Steps in between.
    pub multiple_of: u32,
}

impl Default for SideTerms {
    fn default() -> Self {
        Self {
            minimum: 1,
            maximum: u32::MAX,
            multiple_of: 1,
        }
    }
}

impl SideTerms {
    /// Demands this many pixels and no other.
    pub fn exactly(pixels: u32) -> Self {
        Self {
            minimum: pixels,
            maximum: pixels,
            multiple_of: 1,
        }
    }
}

/// Demands and wishes on strides, in bytes. [`Default`] has none.
///
/// Bounds and wishes are the first plane's, the others follow from it; the alignment holds for every plane. Whatever is asked,
/// a plane's stride is a whole number of its pixels, where these have a power of two of bytes; bounds in between are taken inward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrideTerms {
    /// The least.
    pub minimum: u32,
    /// The most.
    pub maximum: u32,
    /// Every plane's stride is a multiple of this.
    pub alignment: u32,
    /// Whether rows follow one another without a gap: each plane's stride is what its row needs, and no byte more.
    pub packed: bool,
    /// Multiples of this are better.
    pub preferred_alignment: u32,
    /// These strides are better than all others.
    pub preferred: BTreeSet<u32>,
    /// Multiples of these are worse.
    pub avoided_multiples: BTreeSet<u32>,
}

impl Default for StrideTerms {
    fn default() -> Self {
        Self {
            minimum: 0,
            maximum: u32::MAX,
            alignment: 1,
            packed: false,
            preferred_alignment: 1,
            preferred: BTreeSet::new(),
            avoided_multiples: BTreeSet::new(),
        }
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
