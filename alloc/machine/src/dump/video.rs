//! A V4L2 device that v4l2-ctl describes, and its declaration.

use std::collections::{BTreeMap, BTreeSet};

use covalent_solver::constraint::{
    Constraints, Contiguity, FormatSet, ImageConstraints, Imports, MemoryCost, Participant,
    PlanePlacement, Role, Source, SourceId, StrideConstraints,
};
use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc, Modifier};

use super::evidence::Evidence;
use crate::v4l2::{Disjoint, PixelFormat};
use crate::{ProvenanceByPath, RecordedParticipant, RecordedSource};

/// The number of buffers that a queue holds: the one that the device works on, and the next one.
const BUFFERS_HELD: u32 = 2;

/// Drivers whose queues use videobuf2-vmalloc: the processor reads or writes the buffers, and no device does so by DMA.
///
/// # References
/// Linux, `drivers/media/usb/uvc/uvc_queue.c`, `vb2_vmalloc_memops`.
const MAPPING_DRIVERS: [&str; 1] = ["uvcvideo"];

/// A V4L2 device that a dump describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Video {
    /// The path of the device node; `None` if no command line in the dump names it.
    pub(super) node: Option<String>,
    /// The driver's name; empty if the dump has only a list of formats.
    pub(super) driver: String,
    pub(super) bus: String,
    /// The kernel's version, which `VIDIOC_QUERYCAP` returns as the driver's version.
    pub(super) kernel: String,
    pub(super) queues: Vec<VideoQueue>,
}

/// A capture or output queue of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VideoQueue {
    pub(super) is_output: bool,
    /// The format that was set on the queue.
    pub(super) current: Option<CurrentFormat>,
    /// The formats that `--list-formats-ext` lists; `None` without such a list.
    pub(super) listed: Option<Vec<ListedFormat>>,
}

/// The format that VIDIOC_G_FMT returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CurrentFormat {
    pub(super) extent: Extent,
    pub(super) pixel_format: PixelFormat,
    /// The stride of each memory plane and the size of each memory plane, in bytes.
    pub(super) strides: Vec<u32>,
    pub(super) sizes: Vec<u32>,
}

/// A format of VIDIOC_ENUM_FMT with its frame sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedFormat {
    pub(super) pixel_format: PixelFormat,
    pub(super) discrete: Vec<Extent>,
    /// The minimum size, the maximum size, and the steps of width and height, in pixels.
    pub(super) stepwise: Option<(Extent, Extent, (u32, u32))>,
}

impl PixelFormat {
    /// Returns the DRM format and modifier, or V4L2's own code where DRM has none, and whether each colour plane has a memory
    /// plane of its own; `None` for a bitstream and for raw pixels.
    fn pair(self) -> Option<(FormatModifier, Disjoint)> {
        let rows = self.fourcc();
        let rows = rows.map(|(fourcc, disjoint)| (FormatModifier::linear(fourcc), disjoint));
        rows.or_else(|| self.tiled())
    }
}

impl Video {
    /// Returns the queue of a direction. If the device does not have it yet, an empty queue is added.
    pub(super) fn queue(&mut self, is_output: bool) -> &mut VideoQueue {
        let at = self
            .queues
            .iter()
            .position(|own| own.is_output == is_output);
        let at = at.unwrap_or_else(|| {
            self.queues.push(VideoQueue {
                is_output,
                current: None,
                listed: None,
            });
            self.queues.len().saturating_sub(1)
        });
        &mut self.queues[at]
    }

    /// Adds the values of the same device from another dump. A value that is already known stays.
    pub(super) fn merge(&mut self, other: Self) {
        let fill = |own: &mut String, new: String| {
            if own.is_empty() {
                *own = new;
            }
        };
        fill(&mut self.driver, other.driver);
        fill(&mut self.bus, other.bus);
        fill(&mut self.kernel, other.kernel);
        self.node = self.node.take().or(other.node);
        for queue in other.queues {
            let own = self.queue(queue.is_output);
            own.current = own.current.take().or(queue.current);
            own.listed = own.listed.take().or(queue.listed);
        }
    }

    /// Returns whether no value of the device has been read yet.
    pub(super) fn is_empty(&self) -> bool {
        self.driver.is_empty() && self.queues.is_empty()
    }
}

impl VideoQueue {
    /// Returns the sizes for which the dump describes the queue: first the size that was set, then each discrete size of its
    /// lists. A range of sizes adds none.
    pub(super) fn sizes(&self) -> Vec<Extent> {
        let listed = self.listed.iter().flatten().flat_map(|own| &own.discrete);
        let mut known = BTreeSet::new();
        let all = self.current.iter().map(|own| &own.extent).chain(listed);
        all.copied().filter(|size| known.insert(*size)).collect()
    }

    /// Returns the formats of the queue and the constraints of each format, at one size, or at every size for `None`.
    fn formats(&self, size: Option<Extent>) -> (FormatSet, BTreeMap<Fourcc, ImageConstraints>) {
        let mut pairs = Vec::new();
        let mut images: BTreeMap<Fourcc, ImageConstraints> = BTreeMap::new();
        let current = self.current.as_ref();
        let current = current.filter(|own| size.is_some_and(|size| size == own.extent));
        if let Some((own, (pair, disjoint))) =
            current.and_then(|own| Some((own, own.pixel_format.pair()?)))
        {
            pairs.push(pair);
            images.insert(pair.fourcc, own.constraints(pair, disjoint));
        }
        for listed in self.listed.iter().flatten() {
            let Some((pair, disjoint)) = listed.pixel_format.pair() else {
                continue;
            };
            let takes = listed.takes(size);
            if !takes || pairs.contains(&pair) {
                continue;
            }
            pairs.push(pair);
            images
                .entry(pair.fourcc)
                .or_insert_with(|| listed.constraints(pair, disjoint));
        }
        (pairs.into(), images)
    }
}

impl CurrentFormat {
    /// Returns constraints with the strides and the size that were set. The driver may accept others too.
    fn constraints(&self, pair: FormatModifier, disjoint: Disjoint) -> ImageConstraints {
        let mut image = placed(pair, disjoint);
        let total = self.sizes.iter().map(|bytes| u64::from(*bytes)).sum();
        image.minimum_size_bytes = total;
        let stride = self.strides.first().copied().filter(|stride| *stride > 0);
        if let Some(stride) = stride.filter(|_| pair.modifier == Modifier::LINEAR) {
            image.stride = StrideConstraints {
                minimum: stride,
                maximum: stride,
                ..StrideConstraints::default()
            };
        }
        image
    }
}

impl ListedFormat {
    /// Returns whether the format supports a size; `None` asks whether the format has no list of sizes.
    fn takes(&self, size: Option<Extent>) -> bool {
        let Some(size) = size else {
            return self.discrete.is_empty();
        };
        let is_in_range = self.stepwise.is_some_and(|(least, most, _)| {
            let (width, height) = (size.width(), size.height());
            (least.width()..=most.width()).contains(&width)
                && (least.height()..=most.height()).contains(&height)
        });
        let is_open = self.discrete.is_empty() && self.stepwise.is_none();
        is_open || is_in_range || self.discrete.contains(&size)
    }

    fn constraints(&self, pair: FormatModifier, disjoint: Disjoint) -> ImageConstraints {
        let mut image = placed(pair, disjoint);
        if let Some((least, most, (horizontal, vertical))) = self.stepwise {
            image.width.minimum = least.width();
            image.width.maximum = most.width();
            image.height.minimum = least.height();
            image.height.maximum = most.height();
            // The steps are counted from the minimum size. A step is an alignment only if the minimum size is a multiple of it.
            if least.width().checked_rem(horizontal) == Some(0) {
                image.width.multiple_of = horizontal;
            }
            if least.height().checked_rem(vertical) == Some(0) {
                image.height.multiple_of = vertical;
            }
        }
        image
    }
}

/// Makes the constraints of a format that say only in which memory planes its planes lie.
fn placed(pair: FormatModifier, disjoint: Disjoint) -> ImageConstraints {
    let several = pair.fourcc.info().is_none_or(|info| info.planes.len() > 1);
    ImageConstraints {
        packed_planes: several && disjoint == Disjoint::No && pair.modifier == Modifier::LINEAR,
        placement: match (several, disjoint) {
            (false, _) => PlanePlacement::Either,
            (true, Disjoint::No) => PlanePlacement::Together,
            (true, Disjoint::Yes) => PlanePlacement::Disjoint,
        },
        ..ImageConstraints::default()
    }
}

impl Video {
    /// Declares a queue and the buffers that it allocates, at one size, or at every size for `None`.
    pub(super) fn declare(
        &self,
        queue: &VideoQueue,
        size: Option<Extent>,
        evidence: &Evidence,
    ) -> (RecordedParticipant, Option<RecordedSource>) {
        let (direction, role) = if queue.is_output {
            ("output", Role::Output)
        } else {
            ("capture", Role::Capture)
        };
        let device = DeviceIdentity {
            driver: self.driver.clone(),
            location: self.bus.clone(),
            node: self.node.clone().unwrap_or_default(),
        };
        let (formats, per_fourcc) = queue.formats(size);
        let maps = MAPPING_DRIVERS.contains(&self.driver.as_str());
        let mut constraints = Constraints {
            formats: Some(formats.clone()),
            per_fourcc: per_fourcc.clone(),
            buffers_held: BUFFERS_HELD,
            ..Constraints::default()
        };
        constraints.memory.imports = Imports::Unknown {
            reason: "v4l2-ctl does not print whether the driver supports DMABUF buffers".to_owned(),
        };
        if !maps {
            constraints.memory.contiguity = Contiguity::Unknown;
        }
        let name = format!("{} {direction}", self.driver);
        let mut participant = Participant::new(name, device.clone(), role);
        participant.maps = maps;
        participant.set_constraints(constraints);
        let recorded = RecordedParticipant {
            provenance: self.provenance(queue, size, evidence),
            ..RecordedParticipant::measured(participant)
        };
        if formats.is_empty() {
            // A queue of a bitstream exports no frames, so it is no source.
            return (recorded, None);
        }
        let id = format!("v4l2:{}@{}:{direction}", self.driver, self.bus);
        let mut source = Source::new(SourceId::new(id), format!("{} MMAP", self.driver));
        source.device = Some(device);
        source.constraints.formats = Some(formats);
        source.constraints.per_fourcc = per_fourcc;
        source.guarantees.cost = MemoryCost::Queue;
        source.guarantees.cached = maps.then_some(true);
        let what = "whether the driver exports its buffers (VIDIOC_EXPBUF), and whether they are contiguous";
        let provenance = evidence
            .reported()
            .and("source.guarantees", Evidence::unknown(what));
        let source = RecordedSource {
            provenance,
            ..RecordedSource::measured(source)
        };
        (recorded, Some(source))
    }

    /// Returns the provenance of the constraints of a queue.
    fn provenance(
        &self,
        queue: &VideoQueue,
        size: Option<Extent>,
        evidence: &Evidence,
    ) -> ProvenanceByPath {
        let path = |name: &str| format!("participant.constraints.{name}");
        let mut provenance = evidence.reported();
        let is_mapped = MAPPING_DRIVERS.contains(&self.driver.as_str());
        let contiguity = if is_mapped {
            Evidence::driver_source("Linux, drivers/media/usb/uvc/uvc_queue.c: vb2_vmalloc_memops")
        } else {
            Evidence::unknown("whether the device needs physically contiguous memory")
        };
        provenance = provenance.and(&path("memory.contiguity"), contiguity);
        let what = "whether the driver imports dma-bufs (VIDIOC_REQBUFS with DMABUF)";
        provenance = provenance.and(&path("memory.imports"), Evidence::unknown(what));
        let current = queue.current.as_ref();
        let what = match current.filter(|own| size == Some(own.extent)) {
            Some(own) => format!(
                "which strides the driver accepts for {} at {} besides those that are set",
                own.pixel_format, own.extent
            ),
            None => "which strides the driver accepts".to_owned(),
        };
        provenance = provenance.and(&path("per_fourcc"), Evidence::unknown(&what));
        if queue.listed.is_none() {
            let what = "which formats the driver has besides the one that is set: v4l2-ctl --list-formats-ext prints them";
            provenance = provenance.and(&path("formats"), Evidence::unknown(what));
        }
        provenance
    }
}
