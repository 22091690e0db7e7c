//! The kernel's own view of buffers, mappings and displays, read by a privileged process beside the ones under test.
//!
//! Nothing here uses Covalent's own code: a judge that shares code with the judged shares its mistakes.

pub mod bufinfo;
pub mod maps;
pub mod pattern;
pub mod process;
pub mod scanout;
