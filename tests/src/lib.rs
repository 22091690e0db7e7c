//! The guest, an image of Debian in QEMU with cameras and displays; the suite that runs in it; and what judges the drivers and
//! programs there.

pub mod held;
pub mod interop;
pub mod judge;
pub mod picture;
pub mod pipeline;
pub mod suite;
pub mod vm;
pub mod witness;
