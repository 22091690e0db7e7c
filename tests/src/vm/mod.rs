//! Builds and boots guests, and runs commands in them.
//!
//! Everything that depends on a distribution happens inside a *root*, which is a Debian tree in the cache. The root file system
//! contains the libraries to compile against, the kernel, Mesa and QEMU. The project's programs are compiled in the root file
//! system, QEMU runs in it, and the guest's disk is built from it. So the host's distribution and its glibc do not matter.

pub mod accel;
pub mod apt;
mod availability;
pub mod build;
mod c_example;
pub mod cache;
pub mod config;
mod console;
pub mod cross;
pub mod devicetree;
pub mod guest;
pub mod image;
pub mod initrd;
pub mod kernel;
mod kernel_image;
pub mod link;
pub mod manifest;
pub mod mirror;
pub mod modules;
pub mod namespace;
pub mod packages;
mod peers;
pub mod platform;
pub mod progress;
pub mod qemu;
pub mod qmp;
pub mod root;
mod shared_folder;
pub mod task;
pub mod toolchain;
pub mod tree;
pub mod views;
