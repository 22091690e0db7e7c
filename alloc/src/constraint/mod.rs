//! What participants accept and sources guarantee, as plain data, and how demands merge.
//!
//! Everything here is serialisable: a machine's declarations can be recorded and solved elsewhere.

#![forbid(unsafe_code)]

mod bound;
pub(crate) mod budget;
mod common_multiple;
mod demand;
mod formats;
mod image;
mod image_demand;
mod memory;
mod merge;
mod owners;
mod participant;
mod reader;
mod runs;
mod source;
mod source_kind;
mod unknown;
pub(crate) mod value;

pub use bound::Bound;
pub use common_multiple::CommonMultiple;
pub(crate) use common_multiple::{gcd, lcm};
pub use demand::{Demand, Field};
pub use formats::FormatSet;
pub use image::{ImageTerms, PlanePlacement, SideTerms, StrideTerms};
pub use memory::{
    AddressWindow, Coherency, Contiguity, CpuUse, Exports, Imports, MemoryTerms, Protection,
};
pub use merge::{MERGE_TABLE, MergeRule, MergedImage, MergedMemory, MergedUse};
pub use owners::Owners;
pub use participant::{Constraints, Interface, Participant, Plane, PlaneKind, Role, SyncLanguage};
pub(crate) use reader::{Reader, with_place};
pub(crate) use runs::{lower, same};
pub use source::{Guarantees, MemoryCost, Source, SourceId};
pub use source_kind::SourceKind;
pub use unknown::Unknown;
pub(crate) use unknown::keeps_unknown;
pub use value::ValueError;
