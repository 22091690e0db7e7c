//! Makes the guest and runs things in it.
//!
//! Everything that depends on a distribution happens inside one *root*: a Debian tree in the cache. It holds the
//! libraries to compile against, the kernel, Mesa and QEMU; the project's programs are compiled in it, QEMU runs in it,
//! and the guest's disk is made from it. So the host's distribution and its glibc do not matter.

#[cfg(feature = "harness")]
pub mod accel;
#[cfg(feature = "harness")]
pub mod apt;
#[cfg(feature = "harness")]
pub mod build;
#[cfg(feature = "harness")]
pub mod cache;
#[cfg(feature = "harness")]
pub mod config;
#[cfg(feature = "harness")]
mod console;
#[cfg(feature = "harness")]
pub mod cross;
#[cfg(feature = "harness")]
pub mod devicetree;
#[cfg(feature = "harness")]
pub mod guest;
#[cfg(feature = "harness")]
pub mod image;
#[cfg(feature = "harness")]
pub mod initrd;
#[cfg(feature = "harness")]
pub mod link;
#[cfg(feature = "harness")]
pub mod manifest;
#[cfg(feature = "harness")]
pub mod mirror;
#[cfg(feature = "harness")]
pub mod modules;
#[cfg(feature = "harness")]
pub mod namespace;
#[cfg(feature = "harness")]
mod out;
#[cfg(feature = "harness")]
pub mod packages;
#[cfg(feature = "harness")]
pub mod platform;
#[cfg(feature = "harness")]
pub mod progress;
#[cfg(feature = "harness")]
pub mod qemu;
#[cfg(feature = "harness")]
pub mod qmp;
#[cfg(feature = "harness")]
pub mod root;
#[cfg(feature = "harness")]
pub mod task;
#[cfg(feature = "harness")]
pub mod toolchain;
#[cfg(feature = "harness")]
pub mod tree;
#[cfg(feature = "harness")]
pub mod views;
pub mod wire;
