//! Reads descriptions: within bounds of memory, with the place of each error, and without dropping a field that is unknown.
//!
//! It is public for crates that define descriptions of their own, such as `covalent-machine`.

pub mod budget;
mod extra_fields;
mod reader;
pub mod value;

#[doc(inline)]
pub use crate::keeps_extra_fields;
pub use extra_fields::ExtraFields;
pub use reader::{Reader, with_place};
