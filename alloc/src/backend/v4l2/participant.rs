//! A queue as plain data: the formats and strides that it takes at a size, and the memory that it works with.

use std::collections::BTreeMap;

use super::evidence::QueueMemory;
use super::pixel_format::{Disjoint, PixelFormat};
use super::queue::{Direction, Queue};
use super::strides;
use super::{Error, NegotiatedFormat, sys};
use crate::constraint::{
    AddressWindow, Constraints, Contiguity, ImageConstraints, Imports, MemoryCost, Participant,
    PlanePlacement, Role, SideConstraints, Source, SourceId, StrideConstraints,
};
use crate::model::{Extent, FormatModifier, Fourcc};

/// Buffers that a queue holds: the one that the device works on, and the one that is next.
const HELD: u32 = 2;

impl Queue {
    /// Declares what this queue takes for pictures of one size: in `fourcc` alone, or in every format that it has.
    ///
    /// The driver is asked with TRY_FMT, which changes nothing. The queue must be idle: its memory is found out by one buffer
    /// that is made and freed. Where another program streams, the memory stays unknown and all else is as told.
    ///
    /// A format that the queue does not have at this size is declared with the nearest size that it does have, so that a
    /// plan can say so.
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
            let Some(terms) = self.terms(extent, listed.pixel_format, disjoint)? else {
                continue;
            };
            formats
                .entry(known)
                .and_modify(|have| {
                    // Where no number serves both, the kind that the driver lists first is the one that is declared.
                    if let Some(both) = either(have, &terms) {
                        *have = both;
                    }
                })
                .or_insert(terms);
        }
        let pairs = formats.keys().map(|fourcc| FormatModifier::linear(*fourcc));
        // One more than the device cannot do without: the one that is next.
        let least = self.minimum_buffers().unwrap_or(0).saturating_add(1);
        let mut constraints = Constraints {
            formats: Some(pairs.collect()),
            per_fourcc: formats,
            buffers_held: HELD.max(least),
            ..Constraints::default()
        };
        match self.memory() {
            Ok(QueueMemory::Virtual) => {}
            Ok(QueueMemory::Scattered) => constraints.memory.address = self.reach(),
            Ok(QueueMemory::Contiguous) if self.has_iommu() => {}
            Ok(QueueMemory::Contiguous) => {
                constraints.memory.contiguity = Contiguity::Contiguous;
                constraints.memory.address = self.reach();
            }
            Ok(QueueMemory::Other(_) | QueueMemory::Unknown(_)) | Err(Error::Busy { .. }) => {
                constraints.memory.contiguity = Contiguity::Unknown;
            }
            Err(error) => return Err(error),
        }
        if self.imports()? == Some(false) {
            constraints.memory.imports = Imports::Nothing {
                reason: "its driver has no DMABUF buffers (VIDIOC_REQBUFS refuses them)".to_owned(),
            };
        }
        participant.set_constraints(constraints);
        Ok(participant)
    }

    /// Declares the queue's own memory (MMAP with EXPBUF), for what `participant` says of this queue; `None` where the
    /// driver exports none.
    ///
    /// # Errors
    /// [`Error::Busy`] when another program streams; [`Error::Gone`].
    pub fn source(&self, participant: &Participant) -> Result<Option<Source>, Error> {
        let memory = self.memory()?;
        // A codec's queue of bytes has no pictures to give.
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
                source.guarantees.address = self.reach();
            }
            _ => {}
        }
        Ok(Some(source))
    }

    pub(super) fn source_id(&self) -> SourceId {
        let device = self.device();
        // One driver can have several converters at one place, as vicodec has; each is a memory of its own.
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

    fn reach(&self) -> AddressWindow {
        AddressWindow::of_bits(self.dma_mask_bits())
    }

    /// Whether the queue takes dma-bufs; `None` while another program streams.
    fn imports(&self) -> Result<Option<bool>, Error> {
        match self.free_buffers(sys::MEMORY_DMABUF) {
            Ok(()) => Ok(Some(true)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(Error::Request { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// What the queue asks of pictures in one format; `None` for a format that it lists and does not have.
    fn terms(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        disjoint: Disjoint,
    ) -> Result<Option<ImageConstraints>, Error> {
        let Some(answered) = self.attempt(extent, pixel_format, 0)? else {
            return Ok(None);
        };
        let Some(Ok(layout)) = answered.layout() else {
            tracing::warn!(device = %self.device().path().display(), %answered, "the driver's numbers contradict each other");
            return Ok(None);
        };
        let several = layout.planes().len() > 1;
        Ok(Some(ImageConstraints {
            width: SideConstraints::exactly(answered.extent.width()),
            height: SideConstraints::exactly(answered.extent.height()),
            stride: self.strides(&answered)?,
            minimum_size_bytes: answered
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

    /// Learns in which steps and how far the driver lets rows grow.
    fn strides(&self, answered: &NegotiatedFormat) -> Result<StrideConstraints, Error> {
        let least = answered.strides_bytes.first().copied().unwrap_or(0);
        strides::learn(least, |stride| {
            let answer = self.attempt(answered.extent, answered.pixel_format, stride)?;
            Ok(answer.and_then(|answer| answer.strides_bytes.first().copied()))
        })
    }

    /// What the driver makes of a format; `None` where it takes another or refuses.
    fn attempt(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        stride_bytes: u32,
    ) -> Result<Option<NegotiatedFormat>, Error> {
        match self.try_format(extent, pixel_format, stride_bytes) {
            Ok(answered) => {
                Ok(Some(answered).filter(|answered| answered.pixel_format == pixel_format))
            }
            Err(Error::Request { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What serves a format that a queue has in one memory as well as in several; `None` where no stride or size does.
fn either(one: &ImageConstraints, two: &ImageConstraints) -> Option<ImageConstraints> {
    // The kinds may differ in their strides: what both take is what surely works.
    let mut terms = one.clone();
    terms.placement = if one.placement == two.placement {
        one.placement
    } else {
        PlanePlacement::Either
    };
    terms.packed_planes = one.packed_planes || two.packed_planes;
    terms.minimum_size_bytes = one.minimum_size_bytes.max(two.minimum_size_bytes);
    terms.stride = strides::both(&one.stride, &two.stride)?;
    Some(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_stride(minimum: u32, maximum: u32, alignment: u32) -> ImageConstraints {
        let stride = StrideConstraints {
            minimum,
            maximum,
            alignment,
            ..StrideConstraints::default()
        };
        ImageConstraints {
            stride,
            ..ImageConstraints::default()
        }
    }

    #[test]
    fn steps_of_two_kinds_are_joined_by_their_least_common_multiple() {
        let both = either(&with_stride(640, 20_480, 48), &with_stride(704, 10_240, 64));
        assert_eq!(both, Some(with_stride(704, 10_240, 192)));
    }

    #[test]
    fn kinds_that_no_stride_serves_are_not_joined() {
        let wide = with_stride(0, u32::MAX, 65_536);
        assert_eq!(either(&wide, &with_stride(0, u32::MAX, 65_537)), None);
        let narrow = with_stride(640, 640, 1);
        assert_eq!(either(&narrow, &with_stride(704, 704, 1)), None);
        assert_eq!(either(&narrow, &with_stride(0, u32::MAX, 512)), None);
    }
}
