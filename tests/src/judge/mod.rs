//! The independent checker: the kernel's view of buffers, mappings and displays, read by a privileged process that is not under test.
//!
//! The checker does not use the code under test, because it would share its mistakes. Only the parsers of the kernel's text files are
//! shared (`covalent_alloc::kernel`). Their unit tests compare them with recorded text of the kernel.

pub mod bufinfo;
pub mod kms_state;
pub mod maps;
#[cfg(feature = "harness")]
pub mod pattern;
pub mod process;
pub mod scanout;
#[cfg(feature = "harness")]
pub mod schema;
