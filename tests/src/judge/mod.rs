//! The independent checker: a privileged process, which is not under test, reads which buffers, mappings and displays the kernel
//! reports.
//!
//! The checker does not use the code under test, because it would then have the same mistakes. It uses only the parsers of the
//! kernel's text files (`covalent_alloc::kernel`), whose unit tests parse recorded text of the kernel.

pub mod bufinfo;
pub mod kms_state;
pub mod maps;
#[cfg(feature = "harness")]
pub mod pattern;
pub mod process;
pub mod scanout;
#[cfg(feature = "harness")]
pub mod schema;
