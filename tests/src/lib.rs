//! The guest: an image of Debian in QEMU with cameras and displays, and what runs in it.

pub mod held;
pub mod interop;
pub mod judge;
pub mod picture;
pub mod pipeline;
pub mod suite;
pub mod vm;
pub mod witness;
