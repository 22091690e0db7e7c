//! The solved allocation. Only the solver can make a plan.

use serde::{Serialize, Serializer};

use super::internal_copies::DeviceCopy;
use super::layout;
use super::pools::PoolUse;
use super::work::LeftOut;
use crate::constraint::{MergedImage, PlanePlacement, SourceId, SyncMechanism};
use crate::model::{DeviceIdentity, Layout, Modifier};
use crate::text::printable;

/// A plan: the buffers to allocate, their source, and the participants that import them.
///
/// All fields are private, so buffers can be allocated only as the solver has determined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) source_device: Option<DeviceIdentity>,
    pub(super) layout: Layout,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) more_layouts: Vec<Layout>,
    #[serde(serialize_with = "serialize_modifiers")]
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

/// Writes the modifiers. [`Modifier::NONE`] is left out, because it is not a modifier.
fn serialize_modifiers<S: Serializer>(
    modifiers: &[Modifier],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let own = modifiers.iter().filter(|own| **own != Modifier::NONE);
    serializer.collect_seq(own)
}

/// How certain it is that every participant accepts the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The source guarantees that all demands are met.
    Guaranteed,
    /// Some demand depends on a property that the source does not guarantee, such as the physical address or the driver's choice
    /// of a layout.
    Possible,
    /// No source meets all demands. A solution can have this verdict, but a plan never has it.
    Impossible,
    /// The search was cut short before it found a plan, so there may be one. A solution can have this verdict, but a plan never
    /// has it.
    Undecided,
}

/// The use of the buffers by one participant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The name of the participant.
    pub participant: String,
    /// What the participant does with the buffers.
    pub action: Action,
    /// The index of the alternative whose constraints the plan satisfies. 0 is the preferred alternative.
    #[serde(skip_serializing_if = "is_first")]
    pub alternative: usize,
    /// Whether the participant crops the picture out of a coded extent that other participants demand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub crops: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
)]
fn is_first(alternative: &usize) -> bool {
    *alternative == 0
}

/// The synchronisation between a writer, which passes frames to a reader, and the reader, which returns the buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Handover {
    /// The name of the writer.
    pub from: String,
    /// The name of the reader.
    pub to: String,
    /// The best synchronisation mechanism that both participants have. If it is `None`, the CPU waits until each access has
    /// finished before the next one starts.
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
    /// The participant does nothing with the buffers. It has only declared the formats that it accepts, as a compositor does.
    Accepts,
}

/// A source that was rejected, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rejection {
    /// The identifier of the source.
    pub source: SourceId,
    /// The name of the source.
    pub source_name: String,
    /// The reason, as a clause that follows the source's name.
    pub words: String,
}

/// The error that a plan's participants do not accept a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout is not one that the plan's participants accept: {}", printable(.0))]
pub struct PlanError(String);

impl Plan {
    /// Returns the identifier of the source that allocates the buffers.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Returns the name of the source.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Returns the device that owns the memory; `None` if the memory belongs to no device.
    pub fn source_device(&self) -> Option<&DeviceIdentity> {
        self.source_device.as_ref()
    }

    /// Returns the layout of every buffer, for the request's first size.
    ///
    /// The source may allocate more memory, and may choose another stride that [`Plan::accepts`] allows. If the driver chooses
    /// the layout ([`Plan::is_laid_out_by_driver`]), the result is a lower bound for the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the layout for each of the request's sizes, in the request's order. All of them have the same dma-bufs.
    pub fn layouts(&self) -> impl Iterator<Item = &Layout> {
        std::iter::once(&self.layout).chain(&self.more_layouts)
    }

    /// Returns the modifiers among which the source may choose, in ascending order. A linear layout has only one modifier.
    pub fn modifiers(&self) -> &[Modifier] {
        &self.modifiers
    }

    /// Returns whether the driver chooses the tiling, and thereby also strides, offsets and sizes.
    pub fn is_laid_out_by_driver(&self) -> bool {
        self.layout().format().modifier != Modifier::LINEAR
    }

    /// Returns the hand-overs from each writer to each reader. At most the first 4,096 are listed.
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }

    /// Returns whether the source's device works on a shadow copy. If so, after another device has written a frame, the driver of
    /// the source's device has to be asked to transfer the frame.
    ///
    /// `backend::drm::HostTransfer` does so for textures, and mapping through GBM for GBM's buffers.
    pub fn needs_transfers(&self) -> bool {
        self.needs_transfers
    }

    /// Returns the internal copies, in the order of the participants. A device that cannot use the layout of the shared buffers
    /// copies each frame into memory of its own.
    pub fn internal_copies(&self) -> &[DeviceCopy] {
        &self.internal_copies
    }

    /// Returns the sum of the sizes of a frame's [internal copies](Self::internal_copies), in bytes.
    pub fn copied_bytes_per_frame(&self) -> u64 {
        let bytes = self.internal_copies.iter().map(|copy| copy.bytes_per_frame);
        bytes.fold(0, u64::saturating_add)
    }

    /// Returns the number of buffers to allocate.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the memory that is taken from each pool. It includes the participants' private memory, such as a decoder's
    /// reference frames. The list is empty if no pool is known.
    pub fn pools(&self) -> &[PoolUse] {
        &self.pools
    }

    /// Returns what each participant does, in the order of the request's participants.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns how certain it is that all participants accept the buffers.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns the uncertain properties of the plan as texts. The list is empty for a guaranteed plan.
    pub fn caveats(&self) -> &[String] {
        &self.caveats
    }

    /// Returns the reasons why other sources were rejected.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Returns what the solver did not try or does not list, and what that means for this plan. The list is empty unless the
    /// request exceeds [`BUDGET`](super::BUDGET) or another limit.
    ///
    /// The plan and its verdict are valid in any case.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Checks a layout that a source allocated against what the participants accept.
    ///
    /// # Errors
    /// [`PlanError`] with the constraint that the layout does not meet.
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
        // Tilings have no strides that the solver knows. A layout with an implicit modifier may be linear.
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
            // The driver may add planes, such as planes for compression metadata. The demands do not apply to their strides.
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
        self.check_plane_sizes(layout).map_err(PlanError)?;
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

    /// Returns the number of rows of a plane; 0 for an unknown format.
    fn rows(&self, layout: &Layout, plane: usize) -> u64 {
        layout.rows(plane).map_or(0, u64::from)
    }

    /// Checks that each plane has enough memory before the next plane of its dma-buf begins.
    fn check_plane_sizes(&self, layout: &Layout) -> Result<(), String> {
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
