//! The guest (an image of Debian in QEMU, with cameras and displays), the suite that runs in the guest, and the programs and
//! functions that check drivers and clients in it.
//!
//! The code that runs in the guest needs neither QEMU nor the suite. Both are compiled only with the feature `harness`.

pub mod bars;
#[cfg(feature = "harness")]
pub mod bench;
pub mod check_support;
pub mod interop;
pub mod judge;
#[cfg(feature = "harness")]
pub mod picture;
#[cfg(feature = "harness")]
pub mod pipeline;
#[cfg(feature = "harness")]
pub mod suite;
pub mod sw_sync;
pub mod verdict;
#[cfg(feature = "harness")]
pub mod vm;
pub mod wire;
