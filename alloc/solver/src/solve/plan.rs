//! The solved allocation. Only the solver makes one.

use serde::{Serialize, Serializer};

use super::internal_copies::DeviceCopy;
use super::layout;
use super::pools::PoolUse;
use super::work::LeftOut;
use crate::constraint::{MergedImage, PlanePlacement, SourceId, SyncMechanism};
use crate::model::{DeviceIdentity, Layout, Modifier};
use crate::text::printable;

/// What to allocate from which source, and which participants import it.
///
/// All fields are private, so nothing can be allocated that was not solved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) source_device: Option<DeviceIdentity>,
    pub(super) layout: Layout,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) more_layouts: Vec<Layout>,
    #[serde(serialize_with = "that_exist")]
    pub(super) modifiers: Vec<Modifier>,
    pub(super) count: u32,
    pub(super) steps: Vec<Step>,
    pub(super) handovers: Vec<Handover>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) needs_transfers: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) internal_copies: Vec<DeviceCopy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pools: Vec<PoolUse>,
    pub(super) verdict: Verdict,
    #[serde(rename = "doubts")]
    pub(super) caveats: Vec<String>,
    pub(super) reasons: Vec<String>,
    pub(super) rejections: Vec<Rejection>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<LeftOut>,
    #[serde(skip)]
    pub(super) merged: Box<MergedImage>,
}

/// Writes the modifiers without [`Modifier::NONE`].
fn that_exist<S: Serializer>(modifiers: &[Modifier], serializer: S) -> Result<S::Ok, S::Error> {
    let own = modifiers.iter().filter(|own| **own != Modifier::NONE);
    serializer.collect_seq(own)
}

/// How certain it is that every participant accepts the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The source guarantees everything that is demanded.
    Guaranteed,
    /// Some demand depends on what the source does not guarantee, such as the physical address or the driver's choice of layout.
    Possible,
    /// No source meets all demands. A plan never has this verdict, but a solution can.
    Impossible,
    /// The search was cut short before it found a plan, so there may be one. A plan never has this verdict, but a solution can.
    Undecided,
}

/// What one participant does with the buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The participant's name.
    pub participant: String,
    /// What it does.
    pub action: Action,
    /// The index of the alternative whose constraints the plan satisfies; 0 is the preferred one.
    #[serde(skip_serializing_if = "is_first")]
    pub alternative: usize,
    /// Whether it crops the picture out of a coded extent that others demand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub crops: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_first(alternative: &usize) -> bool {
    *alternative == 0
}

/// How a writer hands frames over to a reader, and how the reader hands the buffer back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Handover {
    /// The name of the writer.
    pub from: String,
    /// The name of the reader.
    pub to: String,
    /// The best mechanism that both have. If this is `None`, the CPU waits for each access to finish before the other one starts.
    pub sync: Option<SyncMechanism>,
}

/// What a participant does with the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The participant's own device allocates the buffers and exports them.
    Exports,
    /// The participant imports the buffers.
    Imports,
    /// The CPU maps the buffers.
    Maps,
    /// The participant does nothing with the buffers; it has only declared which formats it accepts.
    Accepts,
}

/// Why a source was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rejection {
    /// The source's identifier.
    pub source: SourceId,
    /// The source's name.
    pub source_name: String,
    /// The reason, as a clause that follows the source's name.
    pub words: String,
}

/// Why a plan's participants do not accept a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout is not one that the plan's participants accept: {}", printable(.0))]
pub struct PlanError(String);

impl Plan {
    /// Returns the identifier of the source that allocates.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Returns the source's name.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Returns the device that owns the memory; `None` for memory that belongs to no device.
    pub fn source_device(&self) -> Option<&DeviceIdentity> {
        self.source_device.as_ref()
    }

    /// Returns the layout of every buffer, for the request's first size.
    ///
    /// The source may allocate more memory, and choose another stride where [`Plan::accepts`] allows it. If the driver chooses
    /// the layout ([`Plan::is_laid_out_by_driver`]), this is the least layout that can be expected.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the layout for each of the request's sizes, in its order. All lie in the same dma-bufs.
    pub fn layouts(&self) -> impl Iterator<Item = &Layout> {
        std::iter::once(&self.layout).chain(&self.more_layouts)
    }

    /// Returns the modifiers among which the source may choose, in order. A linear layout has one.
    pub fn modifiers(&self) -> &[Modifier] {
        &self.modifiers
    }

    /// Returns whether the driver chooses the tiling, and with it strides, offsets and sizes.
    pub fn is_laid_out_by_driver(&self) -> bool {
        self.layout().format().modifier != Modifier::LINEAR
    }

    /// Returns the hand-overs from each writer to each reader, at most the first 4,096.
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }

    /// Returns whether the source's device works on a shadow copy, so that each other writer has to ask its driver to transfer
    /// each frame.
    ///
    /// `backend::drm::HostTransfer` does so for textures, and mapping through GBM for GBM's buffers.
    pub fn needs_transfers(&self) -> bool {
        self.needs_transfers
    }

    /// Returns the copies of each frame that participants' devices make for themselves, in the order of the participants.
    pub fn internal_copies(&self) -> &[DeviceCopy] {
        &self.internal_copies
    }

    /// Returns the bytes that participants' devices copy for themselves of each frame.
    pub fn copied_bytes_per_frame(&self) -> u64 {
        let bytes = self.internal_copies.iter().map(|copy| copy.bytes_per_frame);
        bytes.fold(0, u64::saturating_add)
    }

    /// Returns the number of buffers to allocate.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns what the buffers take of each pool, with what participants allocate for themselves; empty if no pool is known.
    pub fn pools(&self) -> &[PoolUse] {
        &self.pools
    }

    /// Returns what each participant does, in the request's order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns how certain it is that all participants accept the buffers.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns what is uncertain, described in text; empty for a guaranteed plan.
    pub fn caveats(&self) -> &[String] {
        &self.caveats
    }

    /// Returns why other sources were rejected.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Returns what the solver did not try or does not list, and what that means for this plan. It is empty unless the request
    /// exceeds [`BUDGET`](super::BUDGET) or another limit.
    ///
    /// The plan is valid in any case, as its verdict says.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Checks a layout that a source allocated against what the participants accept.
    ///
    /// # Errors
    /// [`PlanError`] says which bound the layout breaks.
    pub fn accepts(&self, layout: &Layout) -> Result<(), PlanError> {
        let refuse = |words: String| Err(PlanError(words));
        let planned = self.layout();
        let format = layout.format();
        if !self.layouts().any(|planned| {
            planned.extent() == layout.extent() && planned.visible() == layout.visible()
        }) || format.fourcc != planned.format().fourcc
            || !self.modifiers.contains(&format.modifier)
        {
            return refuse(format!(
                "it has {format} and {}, and the plan has {} and {}",
                layout.extent(),
                planned.format(),
                planned.extent()
            ));
        }
        let merged = &self.merged;
        // Strides of tiles are the driver's own. An implicit modifier may stand for rows.
        let has_rows = format.modifier == Modifier::LINEAR || format.modifier.is_implicit();
        if let Some(first) = layout.planes().first().filter(|_| has_rows) {
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
                "it has {counted} planes, and at most {most} are accepted"
            ));
        }
        let pixel_planes = format.fourcc.info().map(|info| info.planes.len());
        let mut ends = vec![0_u64; layout.memory_sizes().len()];
        for (number, plane) in layout.planes().iter().enumerate() {
            // A driver's additional planes, as for compression, have strides to which no demand applies.
            let has_pixels = pixel_planes.is_none_or(|planes| number < planes);
            let mut step = merged.stride.alignment.value;
            if number == 0 {
                step = step.and(merged.stride.first_plane_alignment.value);
            }
            if has_pixels && has_rows && !step.divides(plane.stride_bytes.into()) {
                return refuse(format!(
                    "the stride of plane {number}, {} bytes, is not a multiple of {step}",
                    plane.stride_bytes
                ));
            }
            let row = layout.row_bytes(number);
            if merged.stride.packed.value && row.is_some_and(|row| row != plane.stride_bytes) {
                return refuse(format!(
                    "the stride of plane {number}, {} bytes, leaves a gap between rows",
                    plane.stride_bytes
                ));
            }
            let widened = merged.stride.rounded_up_to.value.iter().find(|step| {
                let step = step.max(&&1);
                let only = row.and_then(|row| row.checked_next_multiple_of(**step));
                number == 0 && row.is_some() && only != Some(plane.stride_bytes)
            });
            if let Some(step) = widened {
                return refuse(format!(
                    "its stride of {} bytes is not that of its row, rounded up to {step} bytes",
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
                    "plane {number} begins at {}, and needs {} bytes of padding before it",
                    plane.offset_bytes, merged.padding_before_bytes.value
                ));
            }
            let rows = self.rows(layout, number);
            let end = &mut ends[plane.memory];
            if merged.packed_planes.value && plane.offset_bytes != *end {
                return refuse(format!(
                    "plane {number} begins at {} instead of {end}, the end of the planes before it",
                    plane.offset_bytes
                ));
            }
            *end = plane
                .offset_bytes
                .saturating_add(u64::from(plane.stride_bytes).saturating_mul(rows));
        }
        self.accepts_room(layout).map_err(PlanError)?;
        let dmabufs = layout.memory_sizes().len();
        let several = pixel_planes.unwrap_or(layout.planes().len()) > 1;
        let placed = match merged.placement.value {
            PlanePlacement::Either => true,
            PlanePlacement::Together => dmabufs == 1,
            PlanePlacement::Disjoint => {
                !several || pixel_planes.is_none_or(|planes| dmabufs >= planes)
            }
            PlanePlacement::SinglePlane => !several,
        };
        if !placed {
            return refuse(format!(
                "its planes are in {dmabufs} dma-bufs, which the constraints on their placement rule out"
            ));
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
                    "one of its dma-bufs has {size} bytes, which is not a multiple of {}",
                    merged.size_alignment_bytes.value
                ));
            }
        }
        Ok(())
    }

    /// Returns the rows of a plane; 0 for an unknown format.
    fn rows(&self, layout: &Layout, plane: usize) -> u64 {
        layout.rows(plane).map_or(0, u64::from)
    }

    /// Checks that each plane has enough memory before the next plane starts.
    fn accepts_room(&self, layout: &Layout) -> Result<(), String> {
        let merged = &self.merged;
        let last = layout.planes().len().saturating_sub(1);
        for (number, plane) in layout.planes().iter().enumerate() {
            let padding = if number == last {
                layout::padding(merged, layout.extent())
            } else {
                Some(0)
            };
            let info = layout.format().fourcc.info();
            let shape = info.and_then(|info| info.planes.get(number));
            let rows = match shape {
                Some(shape) => layout::rows_held(merged, shape, layout.extent()),
                None => Some(0),
            };
            let needed = rows
                .and_then(|rows| layout::plane_bytes(merged, rows, plane.stride_bytes))
                .and_then(|size| size.checked_add(padding?));
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
                    needed.map_or_else(|| "more than 2^64".to_owned(), |needed| needed.to_string())
                ));
            }
        }
        Ok(())
    }
}
