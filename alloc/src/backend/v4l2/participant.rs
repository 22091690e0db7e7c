//! The declaration of a queue: its formats and strides for one frame size, and the memory that it imports and allocates.

use std::collections::BTreeMap;

use super::queue::{Direction, Queue};
use super::queue_memory::QueueMemory;
use super::visible::Cropping;
use super::{Disjoint, PixelFormat};
use super::{Error, NegotiatedFormat, sys};
use super::{range, strides};
use crate::backend::cma;
use crate::constraint::{
    AddressWindow, Constraints, Contiguity, ImageConstraints, Imports, MemoryCost, Participant,
    PlanePlacement, Role, Source, SourceId, StrideConstraints,
};
use crate::model::{Extent, FormatModifier, Fourcc, Modifier};

/// The minimum number of buffers that are queued at once: the buffer that the device reads or writes, and the next one.
const QUEUE_BUFFERS: u32 = 2;

impl Queue {
    /// Declares which buffers this queue accepts for frames of one size: in `fourcc` only, or in every format that the queue
    /// lists if `fourcc` is `None`.
    ///
    /// The formats are queried with VIDIOC_TRY_FMT, which does not change the queue. The queue must be idle, because one buffer
    /// is allocated and freed to find out whether the queue needs contiguous memory. If another program streams, the declaration
    /// says that this need is unknown.
    ///
    /// If the driver rounds the size up and supports cropping (VIDIOC_G_SELECTION and VIDIOC_S_SELECTION), `extent` is the size
    /// of the picture, and the coded sizes that the driver accepts are declared too. If the driver does not crop and does not
    /// support `extent` for a format, the format is declared with the nearest supported size, so that the solver can name that
    /// size in its explanation.
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
        let mut pairs: Vec<FormatModifier> = Vec::new();
        let mut cropping = None;
        for listed in self.formats()? {
            let pixel_format = listed.pixel_format;
            // A format with V4L2_FMT_FLAG_COMPRESSED can be a tiled picture format, which is declared, or a bitstream format,
            // which is not declared.
            let linear = pixel_format.fourcc().filter(|_| !listed.is_compressed);
            let linear =
                linear.map(|(fourcc, disjoint)| (FormatModifier::linear(fourcc), disjoint));
            let Some((pair, disjoint)) = linear.or_else(|| pixel_format.tiled()) else {
                continue;
            };
            if fourcc.is_some_and(|wanted| wanted != pair.fourcc) {
                continue;
            }
            let cropping = match cropping {
                Some(known) => known,
                None => *cropping.insert(self.cropping(extent)?),
            };
            let constraints = if pair.modifier == Modifier::LINEAR {
                self.image_constraints(extent, pixel_format, disjoint, cropping)?
            } else {
                self.tile_constraints(extent, pixel_format, disjoint, cropping)?
            };
            let Some(constraints) = constraints else {
                continue;
            };
            formats
                .entry(pair.fourcc)
                .and_modify(|declared| {
                    // If no stride satisfies both pixel formats of this fourcc, only the format that the driver lists first is
                    // declared.
                    if let Some(both) = merge_alternatives(declared, &constraints) {
                        *declared = both;
                    }
                })
                .or_insert(constraints);
            pairs.push(pair);
        }
        // The driver's minimum number of buffers, and one more buffer that can be prepared while the device holds the others.
        let least_buffers = self.minimum_buffers().unwrap_or(0).saturating_add(1);
        let mut constraints = Constraints {
            formats: Some(pairs.into()),
            per_fourcc: formats,
            buffers_held: QUEUE_BUFFERS.max(least_buffers),
            ..Constraints::default()
        };
        match self.memory() {
            Ok(QueueMemory::Virtual) => participant.maps = true,
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

    /// Declares the queue's own memory (MMAP buffers that VIDIOC_EXPBUF exports) as a source, with the constraints of
    /// `participant`, which is the declaration of this queue; `None` if the driver exports no buffers.
    ///
    /// # Errors
    /// [`Error::Busy`] if another program streams; [`Error::Gone`].
    pub fn source(&self, participant: &Participant) -> Result<Option<Source>, Error> {
        let memory = self.memory()?;
        // The buffers of a queue with only coded formats contain a bitstream and no frames, so they are not declared as a source.
        let is_coded = self
            .formats()?
            .iter()
            .all(|format| format.is_compressed && format.pixel_format.tiled().is_none());
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
                // If the devicetree assigns a reserved memory region to the device, that region replaces the default CMA region
                // later.
                source.guarantees.pools = cma::default_pool().into_iter().collect();
            }
            _ => {}
        }
        Ok(Some(source))
    }

    pub(super) fn source_id(&self) -> SourceId {
        let device = self.device();
        // A driver can have several memory-to-memory devices with the same bus_info, as vicodec has, so the source id also
        // contains the device's name in sysfs.
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
    pub(super) fn imports(&self) -> Result<Option<bool>, Error> {
        match self.free_buffers(sys::MEMORY_DMABUF) {
            Ok(()) => Ok(Some(true)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(Error::Request { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// Returns the constraints of one linear format; `None` if the driver lists the format but does not accept it in
    /// VIDIOC_TRY_FMT.
    fn image_constraints(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        disjoint: Disjoint,
        cropping: Cropping,
    ) -> Result<Option<ImageConstraints>, Error> {
        let Some(negotiated) = self.try_exactly(extent, pixel_format, 0)? else {
            return Ok(None);
        };
        let Some(Ok(layout)) = negotiated.layout() else {
            tracing::warn!(device = %self.device().path().display(), %negotiated, "VIDIOC_TRY_FMT returned an inconsistent format");
            return Ok(None);
        };
        let several = layout.planes().len() > 1;
        let mut image = ImageConstraints {
            stride: self.strides(&negotiated)?,
            minimum_size_bytes: negotiated.total_bytes(),
            packed_planes: several && disjoint == Disjoint::No,
            placement: match (several, disjoint) {
                (false, _) => PlanePlacement::Either,
                (true, Disjoint::No) => PlanePlacement::Together,
                (true, Disjoint::Yes) => PlanePlacement::Disjoint,
            },
            ..ImageConstraints::default()
        };
        self.add_sides(&mut image, extent, &negotiated, cropping)?;
        Ok(Some(image))
    }

    /// Returns the constraints of one tiled or compressed format: the sizes of the picture and of the memory planes, and no
    /// strides.
    fn tile_constraints(
        &self,
        extent: Extent,
        pixel_format: PixelFormat,
        disjoint: Disjoint,
        cropping: Cropping,
    ) -> Result<Option<ImageConstraints>, Error> {
        let Some(negotiated) = self.try_exactly(extent, pixel_format, 0)? else {
            return Ok(None);
        };
        let mut image = ImageConstraints {
            minimum_size_bytes: negotiated.total_bytes(),
            placement: match disjoint {
                Disjoint::No => PlanePlacement::Together,
                Disjoint::Yes => PlanePlacement::Disjoint,
            },
            ..ImageConstraints::default()
        };
        self.add_sides(&mut image, extent, &negotiated, cropping)?;
        Ok(Some(image))
    }

    /// Determines the alignment and the range of the strides that the driver accepts.
    fn strides(&self, negotiated: &NegotiatedFormat) -> Result<StrideConstraints, Error> {
        let smallest_stride = negotiated.strides_bytes.first().copied().unwrap_or(0);
        let range = range::probe(smallest_stride, |stride| {
            let returned = self.try_exactly(negotiated.extent, negotiated.pixel_format, stride)?;
            Ok(returned.and_then(|returned| returned.strides_bytes.first().copied()))
        })?;
        Ok(strides::of_range(range))
    }

    /// Returns the format that VIDIOC_TRY_FMT returns; `None` if it has another pixel format or the ioctl fails.
    pub(super) fn try_exactly(
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

/// Merges the constraints of the two V4L2 pixel formats of one fourcc, such as NV12 and NV12M (with separate memory planes);
/// `None` if no stride satisfies both.
fn merge_alternatives(one: &ImageConstraints, two: &ImageConstraints) -> Option<ImageConstraints> {
    // The two pixel formats can differ in their strides, so only strides that both accept are declared.
    let mut constraints = one.clone();
    constraints.placement = if one.placement == two.placement {
        one.placement
    } else {
        PlanePlacement::Either
    };
    // All known drivers accept the same frame sizes for both pixel formats. If a driver does not, only the format that it lists
    // first is declared.
    if (one.coded.as_ref(), one.crop) != (two.coded.as_ref(), two.crop) {
        return None;
    }
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
