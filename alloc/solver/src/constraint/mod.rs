//! What participants accept and sources guarantee, as plain data, and how demands merge.
//!
//! Everything here is serialisable: a machine's declarations can be recorded and solved elsewhere.

mod bound;
mod common_multiple;
mod demand;
mod field_table;
mod formats;
mod image;
mod kind;
mod memory;
mod merge;
mod owners;
mod participant;
mod runs;
mod source;
mod source_kind;

pub use crate::reading::ExtraFields;
pub use crate::reading::value::ValueError;
pub use bound::Bound;
pub use common_multiple::CommonMultiple;
pub(crate) use common_multiple::gcd;
pub use common_multiple::lcm;
pub use demand::{Demand, Field};
pub(crate) use field_table::FieldTable;
pub use formats::FormatSet;
pub use image::{
    ImageConstraints, MergedImage, MergedSide, MergedStride, PlanePlacement, SideConstraints,
    StrideConstraints,
};
pub use kind::NotMerged;
pub use memory::{
    AddressWindow, Coherency, Contiguity, CpuUse, Exports, Imports, MemoryConstraints,
    MergedAddress, MergedMemory, Protection,
};
pub use merge::{MergeRule, MergedUse, merge_table};
pub use owners::Owners;
pub use participant::{Constraints, Interface, Participant, Plane, PlaneKind, Role, SyncMechanism};
pub(crate) use runs::{lower, same};
pub use source::{Guarantees, MemoryCost, Source, SourceId};
pub use source_kind::SourceKind;
