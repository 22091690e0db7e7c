//! The report on dma-bufs as data. Its field names are those of `--json`.

use covalent_alloc::kernel::ListedFence;
use covalent_alloc::model::{Extent, FormatModifier};
use serde::Serialize;

/// The version of this report. It grows when a field is removed or changes its meaning, not when one is added.
pub(super) const VERSION: u32 = 1;

/// The report of `covalent inspect`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) buffers: Vec<BufferReport>,
    /// Information that could not be read.
    #[serde(rename = "hidden")]
    pub(super) missing: Vec<MissingInfo>,
}

/// Information that could not be read, and what would make it available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MissingInfo {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) remedy: String,
}

/// The report on one dma-buf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct BufferReport {
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    pub(super) exporter: String,
    pub(super) name: Option<String>,
    /// The age of the dma-buf in nanoseconds.
    pub(super) age_ns: Option<u64>,
    /// The number of references to the dma-buf's file.
    pub(super) references: u64,
    /// The number of references that are not fds of a scanned process. Drivers and processes that were not scanned hold them.
    #[serde(rename = "elsewhere")]
    pub(super) unseen_references: u64,
    pub(super) holders: Vec<Holder>,
    pub(super) mappings: Vec<BufferMapping>,
    /// The devices that have attached the dma-buf; `None` if debugfs could not be read.
    pub(super) attached: Option<Vec<String>>,
    /// All fences of the dma-buf's reservation object; `None` if debugfs could not be read.
    pub(super) listed_fences: Option<Vec<ListedFence>>,
    /// The fences that were pending when the watch started; `None` if no fd of the dma-buf could be duplicated.
    pub(super) fences: Option<Fences>,
    /// The layout of the pixels; `None` if it is not known.
    #[serde(rename = "picture")]
    pub(super) pixel_layout: Option<PixelLayout>,
}

/// A process with fds that refer to a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    #[serde(rename = "process")]
    pub(super) pid: u32,
    /// The start time of the process in clock ticks since boot. It distinguishes the process from a later process with the same
    /// pid.
    #[serde(skip)]
    pub(super) start_ticks: Option<u64>,
    pub(super) command: String,
    pub(super) fds: Vec<u32>,
}

/// A mapping of a dma-buf into a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BufferMapping {
    #[serde(rename = "process")]
    pub(super) pid: u32,
    pub(super) command: String,
    /// The address at which the mapping starts.
    pub(super) start: u64,
    pub(super) length_bytes: u64,
    pub(super) offset_bytes: u64,
    pub(super) permissions: String,
}

/// The fences that were pending when the watch started, separated by the access that added them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fences {
    /// Fences of writers: every later access waits for them.
    pub(super) writers: Vec<FenceReport>,
    /// Fences of readers: later writes wait for them.
    pub(super) readers: Vec<FenceReport>,
}

/// A fence that was pending when the watch started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FenceReport {
    pub(super) driver: String,
    pub(super) timeline: String,
    #[serde(flatten)]
    pub(super) outcome: FenceOutcome,
}

/// The state of a pending fence at the end of the watch. The kernel reports the time at which a fence signalled, but not the time
/// at which it was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum FenceOutcome {
    /// The fence was pending during the whole watch, and perhaps long before.
    Pending { at_least_ns: u64 },
    /// The fence signalled during the watch.
    Signalled { after_ns: u64 },
    /// The fence was signalled with an error during the watch.
    Failed { after_ns: u64, error: String },
}

/// The layout of pixels in a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PixelLayout {
    /// The origin of the layout.
    #[serde(rename = "told_by")]
    pub(super) origin: LayoutOrigin,
    pub(super) size: Extent,
    #[serde(flatten)]
    pub(super) format: FormatModifier,
    /// The planes; empty if strides and offsets are not known.
    pub(super) planes: Vec<PixelPlane>,
}

/// The origin of a pixel layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LayoutOrigin {
    /// The layout is given by options on the command line.
    Options,
    /// A card displays the dma-buf as a framebuffer with this layout.
    Display,
    /// The report file of a compositor contains the layout.
    Report,
    /// The name of the dma-buf encodes the layout. Any process that holds the dma-buf may have set the name.
    Name,
}

/// One plane of a pixel layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PixelPlane {
    pub(super) offset_bytes: u32,
    pub(super) stride_bytes: u32,
    /// The fd number of another dma-buf that contains this plane, in the process that holds the reported dma-buf; `None` if the
    /// reported dma-buf contains the plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fd: Option<u32>,
}
