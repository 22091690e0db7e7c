//! What is known of dma-bufs, as data.

use covalent_alloc::kernel::ListedFence;
use covalent_alloc::model::{Extent, FormatModifier};
use serde::Serialize;

/// The version of this report: it grows when a field goes or changes its meaning, not when one comes.
pub(super) const VERSION: u32 = 1;

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) buffers: Vec<BufferReport>,
    /// What could not be seen.
    pub(super) hidden: Vec<Hidden>,
}

/// Something that could not be seen, and what would show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hidden {
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
    /// How long ago it was made.
    pub(super) age_ns: Option<u64>,
    /// References to its file.
    pub(super) references: u64,
    /// Those that no process that was seen has: drivers', and other processes'.
    pub(super) elsewhere: u64,
    pub(super) holders: Vec<Holder>,
    pub(super) mappings: Vec<Mapped>,
    /// Devices that have it attached; none where debugfs cannot be read.
    pub(super) attached: Option<Vec<String>>,
    /// Every fence that it carries; none where debugfs cannot be read.
    pub(super) listed_fences: Option<Vec<ListedFence>>,
    /// Fences that were pending; none where no fd could be had.
    pub(super) fences: Option<Fences>,
    /// How its pixels lie, where anybody told.
    pub(super) picture: Option<Picture>,
}

/// A process with fds of a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    pub(super) process: u32,
    /// When the process began: what has its number later is another.
    #[serde(skip)]
    pub(super) started: Option<u64>,
    pub(super) command: String,
    pub(super) fds: Vec<u32>,
}

/// A mapping of a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mapped {
    pub(super) process: u32,
    pub(super) command: String,
    pub(super) start: u64,
    pub(super) length_bytes: u64,
    pub(super) offset_bytes: u64,
    pub(super) permissions: String,
}

/// Fences that were pending at first, by who has to wait for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fences {
    /// Of writers: everybody waits.
    pub(super) writers: Vec<FenceReport>,
    /// Of readers: who writes waits.
    pub(super) readers: Vec<FenceReport>,
}

/// One fence that was pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FenceReport {
    pub(super) driver: String,
    pub(super) timeline: String,
    #[serde(flatten)]
    pub(super) state: FenceState,
}

/// What became of a fence that was pending. The kernel tells when one signalled, and not when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum FenceState {
    /// It was pending all the time that it was watched, and perhaps long before.
    Pending { at_least_ns: u64 },
    /// It signalled while it was watched.
    Signalled { after_ns: u64 },
    /// It ended with an error while it was watched.
    Failed { after_ns: u64, error: String },
}

/// How the pixels lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Picture {
    /// Who told.
    pub(super) told_by: ToldBy,
    pub(super) size: Extent,
    #[serde(flatten)]
    pub(super) format: FormatModifier,
    /// Empty where nobody told how rows lie.
    pub(super) planes: Vec<PicturePlane>,
}

/// Who told how pixels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ToldBy {
    /// Whoever started this.
    Options,
    /// A card that shows it.
    Display,
    /// A compositor's report.
    Report,
    /// Its name, which anybody may have set.
    Name,
}

/// One plane of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PicturePlane {
    pub(super) offset_bytes: u32,
    pub(super) stride_bytes: u32,
    /// Another fd of the same process in which it lies; none for the dma-buf itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fd: Option<u32>,
}
