//! Deserialises files and requests within a memory budget, reports the path of each error, and keeps the fields that this version
//! does not know.
//!
//! The module is public for crates that define file formats of their own, such as `covalent-machine`.

pub mod budget;
mod extra_fields;
mod reader;
pub mod value;

#[doc(inline)]
pub use crate::keeps_extra_fields;
pub use extra_fields::ExtraFields;
pub use reader::{Reader, with_path};
