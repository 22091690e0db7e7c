//! Constraints of participants, guarantees of sources, and the rules by which constraints merge.
//!
//! All types can be serialised, so the declarations of one machine can be recorded and solved on another machine.

mod bound;
mod coded;
mod common_multiple;
mod copier;
mod demand;
mod field_kind;
mod field_table;
mod formats;
mod image;
mod memory;
mod merge;
mod owners;
mod participant;
mod pool;
mod sorted_pairs;
mod source;
mod source_kind;

pub use crate::reading::ExtraFields;
pub use crate::reading::value::ValueError;
pub use bound::Bound;
pub use coded::{CodedConstraints, Crop, MergedCoded, MergedOffset, OffsetConstraints};
pub use common_multiple::CommonMultiple;
pub(crate) use common_multiple::gcd;
pub use common_multiple::lcm;
pub use copier::{CopierKind, CopyDevice, InternalCopy};
pub use demand::{Demand, Field};
pub use field_kind::NotMerged;
pub(crate) use field_table::FieldTable;
pub use formats::FormatSet;
pub use image::{
    ImageConstraints, MergedImage, MergedSide, MergedStride, PlanePlacement, SideConstraints,
    StrideConstraints,
};
pub use memory::{
    AddressWindow, Coherency, Contiguity, CpuUse, Exports, Imports, MemoryConstraints,
    MergedAddress, MergedMemory, Protection,
};
pub use merge::{MergeRule, MergedUse, merge_table};
pub use owners::Owners;
pub use participant::{Constraints, Interface, Participant, Plane, PlaneKind, Role, SyncMechanism};
pub use pool::{FreeMemory, OwnMemory, Pool, PoolFallback, PoolId};
pub(crate) use sorted_pairs::{common_prefix_len, gallop};
pub use source::{DeviceGroup, Guarantees, MemoryCost, MemoryScope, Source, SourceId};
pub use source_kind::SourceKind;
