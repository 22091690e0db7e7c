//! Devicetrees: where a board says which memory is set aside, and for whom.
//!
//! A tree comes as bytes ([`Tree::from_flat`]), or is read from `/proc/device-tree` by the backend `devicetree`. What of it matters to
//! buffers is [`ReservedMemory`], which a recorded machine keeps and [`ReservedMemory::refine`] makes demands and promises of.
//!
//! [`ReservedMemory`]: super::ReservedMemory
//! [`ReservedMemory::refine`]: super::ReservedMemory::refine

mod error;
mod flat;
mod lack;
mod refine;
mod reserved;
mod tree;

pub use error::TreeError;
pub use lack::{LackingPool, lacking_pools, pool_snippet};
pub use tree::{Excess, Node, Span, Tree, TreeBuilder, is_name};
