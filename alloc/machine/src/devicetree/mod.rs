//! Devicetrees: the reserved memory of a board, and the devices that use it.
//!
//! A [`Tree`] is read from a flattened devicetree ([`Tree::from_flat`]) or from a source ([`Tree::from_source`]). The backend
//! `devicetree` of `covalent-alloc` builds a tree from `/proc/device-tree`. [`ReservedMemory::of`] extracts the reserved regions
//! and their users, which a recorded machine stores. [`ReservedMemory::refine`] adds them to a request as constraints of
//! participants and guarantees of sources.
//!
//! ```text
//! .dtb, .dts or /proc/device-tree ──▶ Tree ──▶ ReservedMemory ──▶ refine(request)
//! ```
//!
//! [`ReservedMemory`]: super::ReservedMemory
//! [`ReservedMemory::of`]: super::ReservedMemory::of
//! [`ReservedMemory::refine`]: super::ReservedMemory::refine

mod error;
mod flat;
mod missing_pools;
mod refine;
mod reserved;
mod source;
mod tree;

pub use error::TreeError;
pub use missing_pools::{MissingPool, missing_pools, missing_pools_in_tree, pool_snippet};
pub use tree::{Node, Span, Tree, TreeBuildError, TreeBuilder, is_name};
