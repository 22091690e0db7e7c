//! The solved allocation: only the solver makes one.

use serde::Serialize;

use super::layout;
use super::work::LeftOut;
use crate::constraint::{MergedImage, PlanePlacement, SourceId, SyncMechanism};
use crate::model::{DeviceIdentity, Layout, Modifier};
use crate::text::printable;

/// What to allocate from which source, and who imports it.
///
/// Its fields are private: what was not solved cannot be allocated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) source_device: Option<DeviceIdentity>,
    pub(super) layout: Layout,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) more_layouts: Vec<Layout>,
    pub(super) modifiers: Vec<Modifier>,
    pub(super) count: u32,
    pub(super) steps: Vec<Step>,
    pub(super) handovers: Vec<Handover>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) needs_transfers: bool,
    pub(super) verdict: Verdict,
    pub(super) caveats: Vec<String>,
    pub(super) reasons: Vec<String>,
    pub(super) rejections: Vec<Rejection>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<LeftOut>,
    #[serde(skip)]
    pub(super) merged: Box<MergedImage>,
}

/// How sure it is that every participant takes the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All demands are met by what the source promises.
    Guaranteed,
    /// A demand is met only if memory happens to lie well, or a driver happens to choose so.
    Possible,
    /// A demand is met by nothing that is there. No plan has this verdict; a request can.
    Impossible,
    /// The search ended before anything was found, and there may be something. No plan has this verdict; a request can, which
    /// asks for more work than is done for one.
    Undecided,
}

/// What one participant does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Who.
    pub participant: String,
    /// What.
    pub action: Action,
    /// Which of its alternatives it is held to; 0 is what it likes best.
    #[serde(skip_serializing_if = "is_first")]
    pub alternative: usize,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_first(alternative: &usize) -> bool {
    *alternative == 0
}

/// How one participant tells another that a frame is there, and is told that it is free again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Handover {
    /// Who writes.
    pub from: String,
    /// Who reads.
    pub to: String,
    /// The best language that both speak; where there is none the processor waits for each and then lets the other begin.
    pub sync: Option<SyncMechanism>,
}

/// What a participant does with the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Its own device allocates and exports them.
    Exports,
    /// It imports them.
    Imports,
    /// The processor maps them.
    Maps,
    /// Nothing: it has only said what it accepts.
    Accepts,
}

/// Why a source was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The source.
    pub source: SourceId,
    /// Its name in words.
    pub source_name: String,
    /// The reason, in words that follow its name.
    pub words: String,
}

/// Why a layout is not one that the participants of a plan accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout is not one that the plan's participants accept: {}", printable(.0))]
pub struct PlanError(String);

impl Plan {
    /// Returns the source that allocates.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Returns the source's name in words.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Returns the device whose memory it is; none for memory that belongs to no device.
    pub fn source_device(&self) -> Option<&DeviceIdentity> {
        self.source_device.as_ref()
    }

    /// Returns the layout of every buffer, for the request's first size.
    ///
    /// A source may give more memory than this, and another stride where [`Plan::accepts`] allows it. Where the source
    /// arranges the pixels by itself ([`Plan::is_arranged_by_source`]), this is the least that can be expected.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the layout for each of the request's sizes, in its order; all lie in the same memories.
    pub fn layouts(&self) -> impl Iterator<Item = &Layout> {
        std::iter::once(&self.layout).chain(&self.more_layouts)
    }

    /// Returns the modifiers among which the source may choose, in order; one alone for a layout that the solver chose.
    pub fn modifiers(&self) -> &[Modifier] {
        &self.modifiers
    }

    /// Returns whether the source chooses how the pixels are arranged, and so strides, offsets and sizes.
    pub fn is_arranged_by_source(&self) -> bool {
        self.layout().format().modifier != Modifier::LINEAR
    }

    /// Returns how each participant that writes hands over to each that reads: the first 4,096 of these, where there are more.
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }

    /// Returns whether the source's device works on a copy of its own: whoever else writes has its driver transfer each frame.
    ///
    /// `backend::drm::HostTransfer` does so for textures, and mapping through GBM for GBM's buffers.
    pub fn needs_transfers(&self) -> bool {
        self.needs_transfers
    }

    /// Returns how many buffers there are to be.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns what each participant does, in the request's order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns how sure it is that all take the buffers.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns what is not sure, in words; empty for a guaranteed plan.
    pub fn caveats(&self) -> &[String] {
        &self.caveats
    }

    /// Returns why other sources were not taken.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Returns what the solver did not look at or does not tell of, and what that means for this plan: empty but for requests
    /// that ask for more than [`BUDGET`](super::BUDGET) or one of the limits allows.
    ///
    /// The plan is one that works all the same, as sure as its verdict says.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Checks a layout that a source gave against what the participants accept.
    ///
    /// # Errors
    ///
    /// [`PlanError`] says which bound the layout breaks.
    pub fn accepts(&self, layout: &Layout) -> Result<(), PlanError> {
        let refuse = |words: String| Err(PlanError(words));
        let planned = self.layout();
        let format = layout.format();
        if !self
            .layouts()
            .any(|planned| planned.extent() == layout.extent())
            || format.fourcc != planned.format().fourcc
            || !self.modifiers.contains(&format.modifier)
        {
            return refuse(format!(
                "it is {format} of {} where {} of {} was planned",
                layout.extent(),
                planned.format(),
                planned.extent()
            ));
        }
        let merged = &self.merged;
        if let Some(first) = layout.planes().first() {
            let range = merged.stride.minimum.value..=merged.stride.maximum.value;
            if !range.contains(&first.stride_bytes) {
                return refuse(format!(
                    "its stride of {} bytes is not from {} to {}",
                    first.stride_bytes,
                    range.start(),
                    range.end()
                ));
            }
        }
        let (counted, most) = (layout.planes().len(), merged.maximum_planes.value);
        if !u32::try_from(counted).is_ok_and(|counted| counted <= most) {
            return refuse(format!(
                "it has {counted} planes, and at most {most} are taken"
            ));
        }
        let pixel_planes = format.fourcc.info().map(|info| info.planes.len());
        let mut ends = vec![0_u64; layout.memory_sizes().len()];
        for (number, plane) in layout.planes().iter().enumerate() {
            // What a driver keeps beside the pixels, as for compression, has strides that nobody's demands are about.
            let has_pixels = pixel_planes.is_none_or(|planes| number < planes);
            if has_pixels
                && !merged
                    .stride
                    .alignment
                    .value
                    .divides(plane.stride_bytes.into())
            {
                return refuse(format!(
                    "the stride of plane {number}, {} bytes, is not a multiple of {}",
                    plane.stride_bytes, merged.stride.alignment.value
                ));
            }
            let row = layout.row_bytes(number);
            if merged.stride.packed.value && row.is_some_and(|row| row != plane.stride_bytes) {
                return refuse(format!(
                    "the stride of plane {number}, {} bytes, leaves a gap between rows",
                    plane.stride_bytes
                ));
            }
            if !merged
                .offset_alignment_bytes
                .value
                .divides(plane.offset_bytes)
            {
                return refuse(format!(
                    "plane {number} begins at {}, which is not a multiple of {} bytes",
                    plane.offset_bytes, merged.offset_alignment_bytes.value
                ));
            }
            if plane.offset_bytes < merged.padding_before_bytes.value {
                return refuse(format!(
                    "plane {number} begins at {}, and {} bytes must be before it",
                    plane.offset_bytes, merged.padding_before_bytes.value
                ));
            }
            let rows = self.rows(layout, number);
            let end = &mut ends[plane.memory];
            if merged.packed_planes.value && plane.offset_bytes != *end {
                return refuse(format!(
                    "plane {number} begins at {} and not at {end}",
                    plane.offset_bytes
                ));
            }
            *end = plane
                .offset_bytes
                .saturating_add(u64::from(plane.stride_bytes).saturating_mul(rows));
        }
        self.accepts_room(layout).map_err(PlanError)?;
        let memories = layout.memory_sizes().len();
        let several = pixel_planes.unwrap_or(layout.planes().len()) > 1;
        let placed = match merged.placement.value {
            PlanePlacement::Either => true,
            PlanePlacement::Together => memories == 1,
            PlanePlacement::Disjoint => {
                !several || pixel_planes.is_none_or(|planes| memories >= planes)
            }
            PlanePlacement::SinglePlane => !several,
        };
        if !placed {
            return refuse(format!("its planes lie in {memories} dma-bufs"));
        }
        let range = merged.minimum_size_bytes.value..=merged.maximum_size_bytes.value;
        if !range.contains(&layout.total_bytes()) {
            return refuse(format!(
                "it has {} bytes, and from {} to {} are needed",
                layout.total_bytes(),
                range.start(),
                range.end()
            ));
        }
        for size in layout.memory_sizes() {
            if !merged.size_alignment_bytes.value.divides(*size) {
                return refuse(format!(
                    "one of its memories has {size} bytes, which is not a multiple of {}",
                    merged.size_alignment_bytes.value
                ));
            }
        }
        Ok(())
    }

    /// Rows of a plane; none for a format that is not known.
    fn rows(&self, layout: &Layout, plane: usize) -> u64 {
        layout.rows(plane).map_or(0, u64::from)
    }

    /// Checks that each plane has room for the rows and bytes that are demanded before the next begins.
    fn accepts_room(&self, layout: &Layout) -> Result<(), String> {
        let merged = &self.merged;
        let last = layout.planes().len().saturating_sub(1);
        for (number, plane) in layout.planes().iter().enumerate() {
            let behind = if number == last {
                merged.padding_bytes.value
            } else {
                0
            };
            let rows = self.rows(layout, number);
            let needed = layout::plane_bytes(merged, rows, plane.stride_bytes)
                .and_then(|size| size.checked_add(behind));
            let end = layout
                .planes()
                .iter()
                .filter(|other| {
                    other.memory == plane.memory && other.offset_bytes > plane.offset_bytes
                })
                .map(|other| other.offset_bytes)
                .fold(layout.memory_sizes()[plane.memory], u64::min);
            let room = end.saturating_sub(plane.offset_bytes);
            if needed.is_none_or(|needed| needed > room) {
                return Err(format!(
                    "plane {number} has {room} bytes, and {} are needed",
                    needed.map_or_else(
                        || "more than can be counted".to_owned(),
                        |needed| needed.to_string()
                    )
                ));
            }
        }
        Ok(())
    }
}
