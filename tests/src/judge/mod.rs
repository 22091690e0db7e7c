//! The kernel's own view of buffers, mappings and displays, read by a privileged process beside the ones under test.
//!
//! Nothing here asks Covalent's own code: a judge that shares code with the judged shares its mistakes. The parsers of the
//! kernel's texts alone are shared (`covalent_alloc::kernel`); they are held against texts of the kernel where they are.

pub mod bufinfo;
pub mod maps;
#[cfg(feature = "harness")]
pub mod pattern;
pub mod process;
pub mod scanout;
#[cfg(feature = "harness")]
pub mod schema;
