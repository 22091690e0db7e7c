//! The report on dma-bufs as data; its field names are those of `--json`.

use covalent_alloc::kernel::ListedFence;
use covalent_alloc::model::{Extent, FormatModifier};
use serde::Serialize;

/// The version of this report. It grows when a field is removed or changes its meaning, not when one is added.
pub(super) const VERSION: u32 = 1;

/// The whole report.
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

/// One dma-buf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct BufferReport {
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    pub(super) exporter: String,
    pub(super) name: Option<String>,
    /// How long ago it was created, in nanoseconds.
    pub(super) age_ns: Option<u64>,
    /// The number of references to its file.
    pub(super) references: u64,
    /// References that no scanned process accounts for: those of drivers and of processes that were not scanned.
    #[serde(rename = "elsewhere")]
    pub(super) unseen_references: u64,
    pub(super) holders: Vec<Holder>,
    pub(super) mappings: Vec<BufferMapping>,
    /// Devices that have it attached; `None` if debugfs could not be read.
    pub(super) attached: Option<Vec<String>>,
    /// Every fence of its reservation object; `None` if debugfs could not be read.
    pub(super) listed_fences: Option<Vec<ListedFence>>,
    /// Fences that were pending; `None` if no fd of it could be duplicated.
    pub(super) fences: Option<Fences>,
    /// The layout of its pixels, if it is known.
    #[serde(rename = "picture")]
    pub(super) pixel_layout: Option<PixelLayout>,
}

/// A process with fds that refer to a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    #[serde(rename = "process")]
    pub(super) pid: u32,
    /// Start time of the process in clock ticks since boot: it distinguishes the process from a later one with the same pid.
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

/// Fences that were pending when the watch started, by the kind of access that created them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fences {
    /// Fences of writers: every later access waits for them.
    pub(super) writers: Vec<FenceReport>,
    /// Fences of readers: later writes wait for them.
    pub(super) readers: Vec<FenceReport>,
}

/// One fence that was pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FenceReport {
    pub(super) driver: String,
    pub(super) timeline: String,
    #[serde(flatten)]
    pub(super) outcome: FenceOutcome,
}

/// What happened to a pending fence during the watch. The kernel exports when a fence signalled, but not when it was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum FenceOutcome {
    /// It was pending during the whole watch, and perhaps long before.
    Pending { at_least_ns: u64 },
    /// It signalled during the watch.
    Signalled { after_ns: u64 },
    /// It ended with an error during the watch.
    Failed { after_ns: u64, error: String },
}

/// The layout of pixels in a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PixelLayout {
    /// Where the layout is known from.
    #[serde(rename = "told_by")]
    pub(super) origin: LayoutOrigin,
    pub(super) size: Extent,
    #[serde(flatten)]
    pub(super) format: FormatModifier,
    /// Empty if strides and offsets are not known.
    pub(super) planes: Vec<PixelPlane>,
}

/// Where a pixel layout is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LayoutOrigin {
    /// Options on the command line.
    Options,
    /// A framebuffer that a card displays.
    Display,
    /// A report that a compositor wrote.
    Report,
    /// The name of the dma-buf, which any holder may have set.
    Name,
}

/// One plane of a pixel layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PixelPlane {
    pub(super) offset_bytes: u32,
    pub(super) stride_bytes: u32,
    /// The fd number, in the same process, of another dma-buf that has this plane; `None` for the reported dma-buf itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fd: Option<u32>,
}
