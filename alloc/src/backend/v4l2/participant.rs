//! The declaration of a queue: its formats and strides for a size, and the memory that it works with.

use std::collections::BTreeMap;

use super::pixel_format::{Disjoint, PixelFormat};
use super::queue::{Direction, Queue};
use super::queue_memory::QueueMemory;
use super::strides;
use super::{Error, NegotiatedFormat, sys};
use crate::constraint::{
    AddressWindow, Constraints, Contiguity, ImageConstraints, Imports, MemoryCost, Participant,
    PlanePlacement, Role, SideConstraints, Source, SourceId, StrideConstraints,
};
use crate::model::{Extent, FormatModifier, Fourcc};

/// Buffers that a queue holds: the one that the device works on, and the next one.
const HELD: u32 = 2;

impl Queue {
    /// Declares what this queue accepts for frames of one size: in `fourcc` only, or in every format that it lists.
    ///
    /// The formats are queried with VIDIOC_TRY_FMT, which changes nothing. The queue must be idle, because one buffer is
    /// allocated and freed to determine its memory. If another program streams, the memory is declared as unknown.
    ///
    /// If the queue does not support this size for a format, the format is declared with the nearest supported size, so that the
    /// solver can report it.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    pub fn participant(
        &self,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<Participant, Error> {
        let role = match self.direction() {
            Direction::Capture => Role::Capture,
            Direction::Output => Role::Output,
        };
        let device = self.device();
        let name = format!("{} {}", device.driver(), self.direction());
        let mut participant = Participant::new(name, device.identity().clone(), role);
        let mut formats: BTreeMap<Fourcc, ImageConstraints> = BTreeMap::new();
        for listed in self.formats()? {
            let Some((known, disjoint)) = listed.pixel_format.fourcc() else {
                continue;
            };
            if listed.is_compressed || fourcc.is_some_and(|wanted| wanted != known) {
                continue;
            }
            let Some(constraints) =
                self.image_constraints(extent, listed.pixel_format, disjoint)?
            else {
                continue;
            };
            formats
                .entry(known)
                .and_modify(|have| {
                    // If no stride satisfies both, the pixel format that the driver lists first is declared.
                    if let Some(both) = merge_alternatives(have, &constraints) {
                        *have = both;
                    }
                })
                .or_insert(constraints);
        }
        let pairs = formats.keys().map(|fourcc| FormatModifier::linear(*fourcc));
        // The driver's minimum, and the next buffer.
        let least = self.minimum_buffers().unwrap_or(0).saturating_add(1);
        let mut constraints = Constraints {
            formats: Some(pairs.collect()),
            per_fourcc: formats,
            buffers_held: HELD.max(least),
            ..Constraints::default()
        };
        match self.memory() {
            Ok(QueueMemory::Virtual) => {}
            Ok(QueueMemory::Scattered) => constraints.memory.address = self.dma_window(),
            Ok(QueueMemory::Contiguous) if self.has_iommu() => {}
            Ok(QueueMemory::Contiguous) => {
                constraints.memory.contiguity = Contiguity::Contiguous;
                constraints.memory.address = self.dma_window();
            }
            Ok(QueueMemory::Other(_) | QueueMemory::Unknown(_)) | Err(Error::Busy { .. }) => {
                constraints.memory.contiguity = Contiguity::Unknown;
            }
            Err(error) => return Err(error),
        }
        if self.imports()? == Some(false) {
            constraints.memory.imports = Imports::Nothing {
                reason: "the driver does not support DMABUF buffers (VIDIOC_REQBUFS fails)"
                    .to_owned(),
            };
        }
        participant.set_constraints(constraints);
        Ok(participant)
    }

    /// Declares the queue's own memory (MMAP with VIDIOC_EXPBUF), with the constraints of this queue's `participant`; `None` if
    /// the driver exports no buffers.
    ///
    /// # Errors
    /// [`Error::Busy`] if another program streams; [`Error::Gone`].
    pub fn source(&self, participant: &Participant) -> Result<Option<Source>, Error> {
        let memory = self.memory()?;
        // A queue of coded formats has no frames to export.
        let is_coded = self.formats()?.iter().all(|format| format.is_compressed);
        if matches!(memory, QueueMemory::Unknown(_)) || is_coded {
            return Ok(None);
        }
        let mut source = Source::new(self.source_id(), self.source_name());
        source.device = Some(self.device().identity().clone());
        source.constraints.formats = participant.constraints().formats.clone();
        source.constraints.per_fourcc = participant.constraints().per_fourcc.clone();
        source.guarantees.cost = MemoryCost::Queue;
        match memory {
            QueueMemory::Virtual => source.guarantees.cached = Some(true),
            QueueMemory::Contiguous if !self.has_iommu() => {
                source.guarantees.contiguous_up_to_bytes = u64::MAX;
                source.guarantees.address = self.dma_window();
            }
            _ => {}
        }
        Ok(Some(source))
    }

    pub(super) fn source_id(&self) -> SourceId {
        let device = self.device();
        // A driver can have several memory-to-memory devices with one bus_info, as vicodec has; each is a separate source.
        let converter = device
            .converter_name()
            .map_or_else(String::new, |name| format!(":{name}"));
        SourceId::new(format!(
            "v4l2:{}@{}{converter}:{}",
            device.driver(),
            device.bus(),
            self.direction()
        ))
    }

    fn dma_window(&self) -> AddressWindow {
        AddressWindow::of_bits(self.dma_mask_bits())
    }

    /// Whether the queue imports dma-bufs; `None` while another program streams.
    fn imports(&self) -> Result<Option<bool>, Error> {
        match self.free_buffers(sys::MEMORY_DMABUF) {
            Ok(()) => Ok(Some(true)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(Error::Request { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// Returns the constraints of one format; `None` for a format that the driver lists and does not set.
    fn image_constraints(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        disjoint: Disjoint,
    ) -> Result<Option<ImageConstraints>, Error> {
        let Some(negotiated) = self.try_exactly(extent, pixel_format, 0)? else {
            return Ok(None);
        };
        let Some(Ok(layout)) = negotiated.layout() else {
            tracing::warn!(device = %self.device().path().display(), %negotiated, "VIDIOC_TRY_FMT returned an inconsistent format");
            return Ok(None);
        };
        let several = layout.planes().len() > 1;
        Ok(Some(ImageConstraints {
            width: SideConstraints::exactly(negotiated.extent.width()),
            height: SideConstraints::exactly(negotiated.extent.height()),
            stride: self.strides(&negotiated)?,
            minimum_size_bytes: negotiated
                .sizes_bytes
                .iter()
                .fold(0, |sum, size| sum.saturating_add(u64::from(*size))),
            packed_planes: several && disjoint == Disjoint::No,
            placement: match (several, disjoint) {
                (false, _) => PlanePlacement::Either,
                (true, Disjoint::No) => PlanePlacement::Together,
                (true, Disjoint::Yes) => PlanePlacement::Disjoint,
            },
            ..ImageConstraints::default()
        }))
    }

    /// Determines the alignment and the range of the strides that the driver accepts.
    fn strides(&self, negotiated: &NegotiatedFormat) -> Result<StrideConstraints, Error> {
        let least = negotiated.strides_bytes.first().copied().unwrap_or(0);
        strides::probe(least, |stride| {
            let returned = self.try_exactly(negotiated.extent, negotiated.pixel_format, stride)?;
            Ok(returned.and_then(|returned| returned.strides_bytes.first().copied()))
        })
    }

    /// Returns what the driver would set for a format; `None` if it would set another pixel format or fails.
    fn try_exactly(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        stride_bytes: u32,
    ) -> Result<Option<NegotiatedFormat>, Error> {
        match self.try_format(extent, pixel_format, stride_bytes) {
            Ok(negotiated) => {
                Ok(Some(negotiated).filter(|negotiated| negotiated.pixel_format == pixel_format))
            }
            Err(Error::Request { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Merges the constraints of one fourcc with and without separate memory planes; `None` if no stride satisfies both.
fn merge_alternatives(one: &ImageConstraints, two: &ImageConstraints) -> Option<ImageConstraints> {
    // The two pixel formats can differ in their strides: only strides that both accept are safe.
    let mut constraints = one.clone();
    constraints.placement = if one.placement == two.placement {
        one.placement
    } else {
        PlanePlacement::Either
    };
    constraints.packed_planes = one.packed_planes || two.packed_planes;
    constraints.minimum_size_bytes = one.minimum_size_bytes.max(two.minimum_size_bytes);
    constraints.stride = strides::intersection(&one.stride, &two.stride)?;
    Some(constraints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_stride(minimum: u32, maximum: u32, alignment: u32) -> ImageConstraints {
        let stride = StrideConstraints {
            minimum,
            maximum,
            first_plane_alignment: alignment,
            ..StrideConstraints::default()
        };
        ImageConstraints {
            stride,
            ..ImageConstraints::default()
        }
    }

    #[test]
    fn stride_alignments_of_two_pixel_formats_merge_to_their_least_common_multiple() {
        let both = merge_alternatives(&with_stride(640, 20_480, 48), &with_stride(704, 10_240, 64));
        assert_eq!(both, Some(with_stride(704, 10_240, 192)));
    }

    #[test]
    fn pixel_formats_without_a_common_stride_are_not_merged() {
        let wide = with_stride(0, u32::MAX, 65_536);
        assert_eq!(
            merge_alternatives(&wide, &with_stride(0, u32::MAX, 65_537)),
            None
        );
        let narrow = with_stride(640, 640, 1);
        assert_eq!(merge_alternatives(&narrow, &with_stride(704, 704, 1)), None);
        assert_eq!(
            merge_alternatives(&narrow, &with_stride(0, u32::MAX, 512)),
            None
        );
    }
}
